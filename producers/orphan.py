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

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from schemas.header import CE_ID, InputHeaders, letter_place

_TIMEOUT_S = 8.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

# A topic's name and a partition's number.
Place: TypeAlias = tuple[str, int]


def open_event_ids(
    client: dict[str, str | int | float | bool],
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


def _read(
    client: dict[str, str | int | float | bool], starts: list[TopicPartition], group_id: str
) -> dict[Place, set[str]]:
    """The `ce_id`s from these offsets to the ends, ended transactions' or not."""
    consumer = Consumer(
        {
            **client,
            "group.id": group_id,  # the client asks for one; who only assigns joins no group
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "log_level": 0,
        }
    )
    found: dict[Place, set[str]] = {(start.topic, start.partition): set() for start in starts}
    unread = set(found)
    deadline = time.monotonic() + _TIMEOUT_S
    try:
        consumer.assign(starts)
        while unread:
            message = consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, "reading what transactions left open")
                )
            place = cast(str, message.topic()), cast(int, message.partition())
            error = message.error()
            if error is None:
                found[place].add(_event_id(cast(InputHeaders, message.headers() or ())))
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(place)
            else:
                raise KafkaException(error)
    finally:
        consumer.close()
    return found


def _event_id(headers: InputHeaders) -> str:
    """The event's id: a dead letter's is its input's place, whatever its input's headers say."""
    place = letter_place(headers)
    if place is not None:
        return place
    return next((v.decode() for name, v in headers if name == CE_ID and v is not None), "")
