"""`wallet lag`: the distance from PostgreSQL's positions to the end of the logs."""

from __future__ import annotations

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.topic import WALLET_COMMAND
from tests.ops.shell import Shell, until
from tests.scene import Scene, command


def test_the_lag_is_what_no_worker_has_read(desk: Shell, scene: Scene) -> None:
    topic = scene.topics.real(WALLET_COMMAND)
    for number in range(5):
        scene.command("anna", type_="deposit", command_id=f"d-{number}", amount="1")
    assert desk.json("lag")["lag"][topic] == 5
    assert desk.json("lag", "--max", "4", code=1)["lag"][topic] == 5
    assert desk.json("lag", "--max", "5")["lag"][topic] == 5
    with scene.running():
        scene.answered(5)
        until(lambda: desk.json("lag", "--max", "0")["lag"][topic] == 0)
    shown = [p for p in desk.json("lag")["partitions"] if p["end_offset"] == 5]
    assert [(p["position"], p["lag"], p["kafka_offset"]) for p in shown] == [(5, 0, 5)]
    assert "In Kafka" in desk.fine("lag", "--partitions")


def test_the_marker_of_an_upstream_transaction_is_no_lag(desk: Shell, scene: Scene) -> None:
    topic = scene.topics.real(WALLET_COMMAND)
    producer = Producer({**scene.settings.kafka_client(), "transactional.id": topic})
    producer.init_transactions(20)
    record = command("anna", type_="deposit", command_id="d", amount="1")
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(topic, record.value, record.key, 1)
        producer.flush(20)
        end(20)
    until(lambda: desk.json("lag")["lag"][topic] == 4)  # a marker is written a little later
    with scene.running():
        scene.answered(1)
    [shown] = [p for p in desk.json("lag", "--max", "0")["partitions"] if p["end_offset"]]
    assert (shown["position"], shown["end_offset"], shown["lag"]) == (1, 4, 0)
    producer.begin_transaction()
    producer.produce(topic, record.value, record.key, 1)
    producer.flush(20)
    shown = desk.json("lag", "--max", "0", code=1)
    assert shown["lag"][topic] > 0, "an open transaction holds up what is behind it"
    producer.abort_transaction(20)


def test_a_topic_made_anew_is_told_and_code_1(
    desk: Shell, scene: Scene, admin_client: AdminClient
) -> None:
    topic = scene.topics.real(WALLET_COMMAND)
    with scene.running():
        scene.command("anna", type_="deposit", command_id="d", amount="1")
        scene.answered(1)
    [gone] = admin_client.delete_topics([topic]).values()
    gone.result(10)
    scene.make_topic_again(admin_client, topic)
    ran = desk.wallet("lag")
    assert ran.returncode == 1
    assert "the topic was made anew" in ran.stderr
    assert "wallet offsets reset" in ran.stderr


def test_missing_topics_are_told(shell: Shell) -> None:
    for line in (["lag"], ["offsets", "show"]):
        ran = shell.wallet(*line)
        assert ran.returncode == 1
        assert "wallet topics apply" in ran.stderr
