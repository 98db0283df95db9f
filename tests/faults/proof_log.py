"""The faults of the input topics themselves: partitions added, records cut off."""

from __future__ import annotations

import random
import time

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from tests.faults.checker_evidence import INPUTS, Reader, System
from tests.faults.proof_field import Done, Field

_TIMEOUT_S = 20.0


def add_partition(field: Field, chance: random.Random) -> Done:
    """A person adds a partition to an input topic, and to its dead letters' first: these keep
    their numbers. Some clients' records go to the new one from then on.
    """
    topic, admin = chance.choice(INPUTS), field.new_admin()
    number = len(admin.list_topics(timeout=_TIMEOUT_S).topics[topic].partitions)
    for name in (f"{topic}-dlt", topic):
        [asked] = admin.create_partitions([NewPartitions(name, number + 1)]).values()
        asked.result(_TIMEOUT_S)
    field.downstream.watch(f"{topic}-dlt", number)
    # It counts as back when a record in it is answered.
    field.upstream.delivered.setdefault((topic, number), -1)
    return Done(f"{topic}/{number}", time.monotonic())


def cut_off_records(field: Field, chance: random.Random) -> Done:
    """An input topic loses all that is before the workers' positions, up to the last record.

    What is lost is kept as evidence first.
    """
    topic = chance.choice(INPUTS)
    with psycopg.connect(field.servers.database_url) as session:
        rows = session.execute(
            "SELECT partition, next_offset FROM consumer_positions WHERE topic = %s", (topic,)
        ).fetchall()
    positions: dict[int, int] = dict(rows)
    system = System(field.servers.bootstrap_servers, "", field.servers.database_url)
    with Reader(system) as reader:
        before = {
            seen.place: seen
            for seen in reader.read(topic, {})
            if seen.place.offset < positions.get(seen.place.partition, 0)
        }
    field.kept |= before
    ends = [TopicPartition(topic, *position) for position in positions.items() if position[1] > 0]
    admin = field.new_admin()
    for asked in admin.delete_records(ends).values():
        asked.result(_TIMEOUT_S)
    return Done(f"{topic}, {len(before)} records", time.monotonic())
