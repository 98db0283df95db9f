"""Records that their transaction's end has not reached, though it has ended.

A broker that starts may take its own partitions for deleted, and end a transaction whose time is
over without a marker in them (seen with Kafka 4.3.1, killed with a transaction open and back after
its time-out: "these partitions are likely deleted already and hence can be skipped"). The records
stand there as if it went on, and the same producer's next commit would show them to everybody.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeAlias, cast

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from producers.log_end import Client, log_reader, read_to_end
from schemas.header import CE_ID, InputHeaders, letter_place

_TIMEOUT_S = 8.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

# A topic's name and a partition's number.
Place: TypeAlias = tuple[str, int]


def open_event_ids(
    client: Client,
    topics: Sequence[str],
    *,
    group_id: str,
) -> dict[Place, set[str]]:
    """The `ce_id`s of the records of these topics that no transaction's end has reached, by place.

    Those of a transaction that goes on are among them: of our own there is none after
    `init_transactions()` has returned. Blocks for up to about 16 s. Raises KafkaException where the
    broker does not answer.
    """
    admin = AdminClient({**client, "log_level": 0})
    known = admin.list_topics(timeout=_TIMEOUT_S).topics
    places = [TopicPartition(topic, p) for topic in topics for p in known[topic].partitions]
    stable = _ends(admin, places, IsolationLevel.READ_COMMITTED)
    ends = _ends(admin, places, IsolationLevel.READ_UNCOMMITTED)
    behind = [
        TopicPartition(*place, offset) for place, offset in stable.items() if offset < ends[place]
    ]
    return _read(client, behind, group_id) if behind else {}


def _ends(
    admin: AdminClient, places: Sequence[TopicPartition], isolation: IsolationLevel
) -> dict[Place, int]:
    asked = admin.list_offsets(
        dict.fromkeys(places, _LATEST),
        isolation_level=isolation,
        request_timeout=_TIMEOUT_S,
    )
    return {
        (place.topic, place.partition): answer.result(_TIMEOUT_S).offset
        for place, answer in asked.items()
    }


def _read(client: Client, starts: list[TopicPartition], group_id: str) -> dict[Place, set[str]]:
    """The `ce_id`s from these offsets to the ends, ended transactions' or not."""
    consumer = log_reader(client, group_id=group_id, isolation="read_uncommitted")
    found: dict[Place, set[str]] = {(start.topic, start.partition): set() for start in starts}
    try:
        for message in read_to_end(consumer, starts, time.monotonic() + _TIMEOUT_S):
            place = cast(str, message.topic()), cast(int, message.partition())
            found[place].add(_event_id(cast(InputHeaders, message.headers() or ())))
    finally:
        consumer.close()
    return found


def _event_id(headers: InputHeaders) -> str:
    """The event's id: a dead letter's is its input's place, whatever its input's headers say."""
    place = letter_place(headers)
    if place is not None:
        return place
    return next((v.decode() for name, v in headers if name == CE_ID and v is not None), "")
