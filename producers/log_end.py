"""Reading logs to their ends by a consumer of no group: what the relay finds in its own topics."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

Client = dict[str, str | int | float | bool]


def log_reader(client: Client, *, group_id: str, isolation: str) -> Consumer:
    """A consumer for `read_to_end`; `isolation` is Kafka's read_committed or read_uncommitted."""
    return Consumer(
        {
            **client,
            "group.id": group_id,  # the client asks for one; who only assigns joins no group
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "log_level": 0,
        }
    )


def read_to_end(
    consumer: Consumer, starts: list[TopicPartition], deadline: float
) -> Iterator[Message]:
    """The records from these offsets to the ends that the consumer's isolation lets it see.

    `deadline` is by the monotonic clock. Raises KafkaException, at the deadline too.
    """
    consumer.assign(starts)
    unread = {(start.topic, start.partition) for start in starts}
    while unread:
        message = consumer.poll(max(0.0, deadline - time.monotonic()))
        if message is None:
            if time.monotonic() < deadline:
                continue
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "reading a log to its end"))
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard((str(message.topic()), message.partition() or 0))
        else:
            raise KafkaException(error)
