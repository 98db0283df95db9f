"""The worker, by its answers: everything is published to Kafka and read back read_committed."""

from __future__ import annotations

import json
import uuid
from collections import Counter

import pytest
from confluent_kafka import Producer

from consumers.decode import DEAD_REASONS
from producers.publisher import Input
from schemas.partition import partition_of
from schemas.result import ORDER_RESULT_SHAPE, WALLET_BALANCE_SHAPE, WALLET_RESULT_SHAPE
from schemas.topic import ORDER_REQUEST, ORDER_RESULT, WALLET_BALANCE, WALLET_COMMAND, WALLET_RESULT
from tests.consumers.bad_input import BAD_INPUTS
from tests.producers.world import PARTITIONS, eventually
from tests.scene import Scene, command


@pytest.mark.contract
def test_every_kind_of_bad_input_gets_the_contracts_answer_and_the_good_ones_pass(
    scene: Scene,
) -> None:
    records = []
    for number, bad in enumerate(BAD_INPUTS):
        records.append(command("good", command_id=f"g-{number}", type_="credit", amount="0.01"))
        records.append(Input(bad.topic_kind, bad.key, bad.value))
    with scene.running():
        places = scene.publish(*records)
        answers = scene.answered(len(records))
    for bad, place in zip(BAD_INPUTS, places[1::2], strict=True):
        if bad.expected_kind == "dead":
            assert answers.reason(place) == bad.expected_reason, bad.name
        else:
            assert answers.only(place)["reason"] == bad.expected_reason, bad.name
    for place in places[::2]:
        assert answers.only(place)["status"] == "applied"
    assert scene.balance("good") == len(BAD_INPUTS)
    assert {bad.expected_reason for bad in BAD_INPUTS if bad.expected_kind == "dead"} == {
        *DEAD_REASONS
    } - {"poison"}


@pytest.mark.contract
def test_a_dead_letter_is_the_record_byte_for_byte_in_its_own_partition(scene: Scene) -> None:
    value = b'{"command_id": "\xff"}'
    headers = [("trace", b"\x00\x01"), ("empty", None)]
    with scene.running():
        [place] = scene.publish(Input(WALLET_COMMAND, b"alice", value, headers))
        scene.answered(1)
    [letter] = scene.read("wallet-command-dlt")
    assert (letter.key(), letter.value(), letter.partition()) == (b"alice", value, place.partition)
    assert list(letter.headers() or [])[:2] == headers


@pytest.mark.contract
def test_what_was_read_ahead_of_a_full_batch_is_answered_once_and_in_order(scene: Scene) -> None:
    scene.extra["WALLET_BATCH_RECORDS_MAX"] = "7"
    clients = [f"client-{number}" for number in range(5)]
    records = [
        command(client, command_id=f"{number}", type_="deposit", amount="1")
        for number in range(40)
        for client in clients
    ]
    # Repeats, among them some of the same batch, and one that can't be read.
    records[60:60] = [*records[50:55], Input(WALLET_COMMAND, b"client-0", b"{")]
    places = scene.publish(*records)
    with scene.running():
        answers = scene.answered(len(records))
    assert answers.reason(places[65]) == "not_json"
    for client in clients:
        told = [
            answers.only(place)["balance_after"]
            for record, place in zip(records, places, strict=True)
            if record.key == client.encode() and place != places[65]
        ]
        assert len(told) == 41
        assert list(dict.fromkeys(told)) == [f"{number}.00" for number in range(1, 41)]
        assert scene.balance(client) == 4_000


@pytest.mark.contract
def test_results_have_the_published_shape(scene: Scene) -> None:
    with scene.running():
        scene.command("alice", command_id="1", type_="deposit", amount="12.50", reference="r")
        scene.command("alice", command_id="1", type_="deposit", amount="12.5")
        scene.command("alice", command_id="1", type_="deposit", amount="12.51")
        scene.command("bob", command_id="2", type_="register_client", name="Bob")
        scene.answered(4)
        scene.command("alice", command_id="3", type_="transfer", amount="2", to_client_id="bob")
        scene.command("alice", command_id="4", type_="get_wallet")
        scene.command("alice", ORDER_REQUEST, command_id="5", type_="get_wallet")
        scene.command("nobody", ORDER_REQUEST, command_id="6", type_="get_wallet", currency="EUR")
        scene.answered(8)
        eventually(lambda: scene.waiting() == 0)
    for topic, shape in (
        (WALLET_RESULT, WALLET_RESULT_SHAPE),
        (ORDER_RESULT, ORDER_RESULT_SHAPE),
        (WALLET_BALANCE, WALLET_BALANCE_SHAPE),
    ):
        messages = scene.read(topic)
        assert messages
        for message in messages:
            shape.validate_json(message.value() or b"")


@pytest.mark.contract
def test_a_repeated_command_repeats_its_first_outcome_field_by_field(scene: Scene) -> None:
    with scene.running():
        first = scene.command("alice", command_id="1", type_="credit", amount="10")
        refused = scene.command("alice", command_id="2", type_="debit", amount="99")
        scene.answered(2)
        scene.command("alice", command_id="3", type_="credit", amount="90")
        again = [
            scene.command("alice", command_id="1", type_="credit", amount=10, currency="USD"),
            scene.command("alice", command_id="2", type_="debit", amount="99.00"),
        ]
        answers = scene.answered(5)
    for before, after in zip((first, refused), again, strict=True):
        expected = answers.only(before) | {
            "duplicate": True,
            "source": {"topic": after.topic, "partition": after.partition, "offset": after.offset},
        }
        assert answers.only(after) == expected


def test_own_units_are_known_as_soon_as_they_are_added(scene: Scene) -> None:
    with scene.running():
        before = scene.command("alice", command_id="1", type_="credit", amount="5", currency="COIN")
        scene.answered(1)
        with scene.connect() as session:
            session.execute("INSERT INTO currencies (code, scale) VALUES ('COIN', 0)")
        after = scene.command("alice", command_id="2", type_="credit", amount="5", currency="COIN")
        answers = scene.answered(2)
    assert answers.only(before)["reason"] == "unknown_currency"
    assert answers.only(after)["balance_after"] == "5"


def test_a_record_that_its_key_does_not_map_to_is_applied_and_counted(scene: Scene) -> None:
    wrong = (partition_of(b"alice", PARTITIONS) + 1) % PARTITIONS
    with scene.running() as worker:
        for number in range(2):
            value = json.dumps({"command_id": str(number), "type": "credit", "amount": "1"})
            scene.publish_to((wrong, "alice", value.encode()))
        scene.answered(2)
        assert worker.misplaced_count == 2
    assert scene.balance("alice") == 200


@pytest.mark.contract
def test_records_of_an_aborted_transaction_are_no_input(scene: Scene) -> None:
    producer = Producer(
        {
            **scene.settings.kafka_client(),
            "transactional.id": f"upstream-{uuid.uuid4().hex}",
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions(20)
    topic = scene.topics.real(WALLET_COMMAND)
    with scene.running():
        for number, end in enumerate((producer.abort_transaction, producer.commit_transaction)):
            producer.begin_transaction()
            value = {"command_id": str(number), "type": "credit", "amount": "1"}
            producer.produce(topic, json.dumps(value).encode(), b"alice")
            assert producer.flush(10) == 0  # an abort would drop what is not sent yet
            end(20)
        scene.command("alice", command_id="2", type_="credit", amount="1")
        answers = scene.answered(2)
    assert answers.count == 2
    assert scene.balance("alice") == 200
    # The aborted record, and the marker at the end of each transaction.
    assert scene.scalar("SELECT sum(skipped) FROM consumer_positions") == 3


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_workers_share_the_partitions_and_take_over_from_each_other(
    scene: Scene, protocol: str
) -> None:
    scene.extra["WALLET_GROUP_PROTOCOL"] = protocol
    clients = [f"client-{number}" for number in range(20)]

    def send(batch: int) -> None:
        scene.publish(
            *(command(c, command_id=f"{batch}", type_="credit", amount="1") for c in clients)
        )

    with scene.running() as first:
        send(0)
        scene.answered(20)
        with scene.worker() as second:
            eventually(lambda: len(second.assignment.positions) == PARTITIONS)
            eventually(lambda: len(first.assignment.positions) == PARTITIONS)
            send(1)
            scene.answered(40)
            if protocol == "consumer":
                topics = Counter(topic for topic, _ in second.assignment.positions)
                assert set(topics.values()) == {PARTITIONS // 2}
        eventually(lambda: len(first.assignment.positions) == 2 * PARTITIONS)
        send(2)
        answers = scene.answered(60)
    assert answers.count == 60
    assert {scene.balance(client) for client in clients} == {300}
    assert scene.scalar("SELECT max(takings) FROM consumer_positions") == 0


def test_transfers_meet_across_partitions_of_different_workers(scene: Scene) -> None:
    clients = [f"client-{number}" for number in range(8)]
    with scene.running() as first, scene.worker() as second:
        eventually(lambda: first.assignment.positions and second.assignment.positions)
        scene.publish(*(command(c, command_id="0", type_="credit", amount="1000") for c in clients))
        scene.answered(8)
        transfers = [
            command(sender, command_id=f"{number}", type_="transfer", amount="1", to_client_id=to)
            for number in range(1, 41)
            for sender in clients
            for to in clients
            if (number + len(sender) + hash_of(to)) % 3 == 0 and to != sender
        ]
        unique = {
            (record.key, json.loads(record.value or b"")["command_id"]): record
            for record in transfers
        }
        scene.publish(*unique.values())
        scene.answered(8 + len(unique))
        # What a recipient is told may stand in another partition, read before it was there.
        eventually(lambda: len(scene.answers().others) >= len(unique))
        answers = scene.answers()
    statuses = {r["status"] for [r] in answers.results.values()}
    assert statuses == {"applied"}
    assert len(answers.others) == len(unique)
    assert sum(scene.balance(client) for client in clients) == 8 * 100_000


def hash_of(text: str) -> int:
    """The same on every run, unlike hash()."""
    return sum(text.encode())
