"""What is done to the input topics and the group's offsets under the workers' positions."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from producers.failure import RelayStoppedError
from producers.publisher import Input
from producers.relay import Relay
from schemas.topic import WALLET_COMMAND
from tests.faults.traffic import RECOVERY_S_MAX
from tests.ops.shell import Shell
from tests.producers.world import PARTITIONS, eventually
from tests.scene import Scene, command

_CLIENTS = 12


def _credits(first: int, count: int) -> list[Input]:
    return [
        command(f"client-{n % _CLIENTS}", command_id=f"c-{n}", type_="credit", amount="1")
        for n in range(first, first + count)
    ]


def _paid_in(scene: Scene) -> int:
    return int(scene.scalar("SELECT coalesce(sum(balance), 0) FROM accounts"))


def _add_partitions(admin: AdminClient, topic: str) -> None:
    [asked] = admin.create_partitions([NewPartitions(topic, PARTITIONS + 2)]).values()
    asked.result(10)
    eventually(lambda: PARTITIONS + 1 in admin.list_topics(topic).topics[topic].partitions)


def test_the_groups_offsets_in_kafka_do_not_matter(scene: Scene, admin_client: AdminClient) -> None:
    topic, group = scene.topics.real(WALLET_COMMAND), scene.topics.group_id
    count = 0
    # The workers' own offsets, then the logs' beginning, beyond their ends, and none at all.
    for offset in (None, 0, 10_000):
        if offset is not None:
            asked = ConsumerGroupTopicPartitions(
                group, [TopicPartition(topic, p, offset) for p in range(PARTITIONS)]
            )
            for future in admin_client.alter_consumer_group_offsets([asked]).values():
                future.result(10)
        with scene.running():
            scene.publish(*_credits(count, 40))
            count += 40
            scene.answered(count)
    for deleted in admin_client.delete_consumer_groups([group]).values():
        deleted.result(10)
    with scene.running():
        scene.publish(*_credits(count, 40))
        answers = scene.answered(count + 40)
    results = [result for [result] in answers.results.values()]
    assert len(results) == count + 40
    assert not any(result["duplicate"] for result in results)
    assert _paid_in(scene) == 100 * len(results)


def test_a_log_cut_off_before_the_position_is_stopped_until_a_person_decides(
    scene: Scene, admin_client: AdminClient
) -> None:
    topic = scene.topics.real(WALLET_COMMAND)
    with scene.running():
        scene.publish(*_credits(0, 40))
        scene.answered(40)
    scene.publish(*_credits(40, 40))
    # Retention, or a person, deletes what no worker has read.
    ends = [TopicPartition(topic, p, -1) for p in range(PARTITIONS)]
    for future in admin_client.delete_records(ends).values():
        future.result(10)
    with scene.running() as worker:
        eventually(lambda: topic in worker.assignment.stopped_topics)
        assert "outside the log" in worker.assignment.stopped_topics[topic]
        # The other topic goes on.
        scene.command("client-0", "order-request", command_id="q", type_="get_wallet")
        scene.answered(41)
    shell = Shell({**scene.env.env, **scene.extra})
    shell.fine("offsets", "reset", WALLET_COMMAND, "--to", "beginning", "--yes")
    with scene.running():
        scene.publish(*_credits(80, 40))
        scene.answered(81)
    assert _paid_in(scene) == 100 * 80


def test_partitions_added_are_read_and_answered_too(
    scene: Scene, admin_client: AdminClient
) -> None:
    topic = scene.topics.real(WALLET_COMMAND)
    with scene.running():
        scene.publish(*_credits(0, 40))
        scene.answered(40)
        _add_partitions(admin_client, topic)
        added_at = time.monotonic()
        scene.publish(*_credits(40, 200))
        answers = scene.answered(240, RECOVERY_S_MAX)
        print(f"recovery\tpartitions added\t{time.monotonic() - added_at:.1f} s")  # noqa: T201
    assert answers.count == 240
    assert _paid_in(scene) == 100 * 240
    added = {place for place in answers.results if place[1] >= PARTITIONS}
    assert added


def test_a_dead_letter_from_an_added_partition_passes_a_relay_that_was_there_before(
    scene: Scene, admin_client: AdminClient
) -> None:
    topic = scene.topics.real(WALLET_COMMAND)
    with scene.running():
        scene.publish_to((0, "client-0", b"broken"))
        scene.answered(1)
        for name in (f"{topic}-dlt", topic):
            _add_partitions(admin_client, name)
        scene.publish_to((PARTITIONS + 1, "client-0", b"broken"))
        answers = scene.answered(2, RECOVERY_S_MAX)
    assert (topic, PARTITIONS + 1, 0) in answers.dead


def test_a_dead_letter_from_an_added_partition_waits_until_its_own_topic_has_it_too(
    scene: Scene, admin_client: AdminClient
) -> None:
    _add_partitions(admin_client, scene.topics.real(WALLET_COMMAND))
    scene.publish_to((PARTITIONS + 1, "client-0", b"broken"))
    with scene.worker():
        eventually(lambda: scene.positions_count() == 1)
    relay = Relay(scene.settings, database_url=scene.env.database_url)
    with pytest.raises(RelayStoppedError, match=f"/{PARTITIONS + 1}/0"):
        relay.run(threading.Event())
    _add_partitions(admin_client, scene.topics.real(f"{WALLET_COMMAND}-dlt"))
    with scene.running():
        answers = scene.answered(1)
    [[letter]] = answers.dead.values()
    assert letter["wallet-dlt-reason"] == "not_json"
