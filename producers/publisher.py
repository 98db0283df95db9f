"""Publishes commands and requests, as an upstream service would: `wallet send`, and tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.settings import Settings
from schemas.topic import Topics

# Past this librdkafka gives a record up, and says so.
_DELIVERY_TIMEOUT_S = 30.0
_POLL_S = 0.1

_SETTINGS: dict[str, str | int | float | bool] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # as every producer of these topics
    "linger.ms": 5,
    "message.max.bytes": 5 * 1024 * 1024,
    "message.timeout.ms": int(_DELIVERY_TIMEOUT_S * 1000),
    "allow.auto.create.topics": False,
    "log_level": 0,
}


class PublishError(Exception):
    """A record did not reach its topic, or nobody can say whether it did; the text says why."""


class Input(NamedTuple):
    """One record to publish. `topic` is the name without the prefix, `key` the client's id."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Delivered(NamedTuple):
    """Where a record stands: the real topic, as `source` in its result names it."""

    topic: str
    partition: int
    offset: int


class Publisher:
    """An idempotent producer of inputs; one for as long as there is something to send."""

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.topic_prefix)
        self._producer = Producer({**settings.kafka_client(), **_SETTINGS})

    def publish(self, record: Input) -> Delivered:
        """Send one record and return where it stands. Blocks until the brokers have it.

        Raises PublishError: after "timed out" the record may be in the topic all the same, and
        should be sent again under the same `command_id`.
        """
        return self.publish_all([record])[0]

    def publish_all(self, records: Iterable[Input]) -> list[Delivered]:
        """Send records in this order, which each key's partition keeps; where each stands.

        Blocks until the brokers have them all. Raises PublishError for the first that failed;
        the others may have been delivered.
        """
        places: list[Delivered | KafkaError | None] = []
        with _interruptible():
            for record in records:
                self._send(record, places)
            self._wait(places)
        return [_checked(place) for place in places]

    def _send(self, record: Input, places: list[Delivered | KafkaError | None]) -> None:
        place = len(places)
        places.append(None)

        def delivered(error: KafkaError | None, message: Message) -> None:
            places[place] = error if error is not None else _delivered(message)

        topic = self._topics.real(record.topic)
        while True:
            try:
                self._producer.produce(
                    topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=delivered,
                )
            except BufferError:  # the queue is full: reports make room
                self._producer.poll(_POLL_S)
            except KafkaException as error:
                raise PublishError(f"{topic}: {error.args[0].str()}") from error
            else:
                self._producer.poll(0)
                return

    def _wait(self, places: list[Delivered | KafkaError | None]) -> None:
        """Every record has its report, by librdkafka's own timeout at the latest."""
        deadline = time.monotonic() + _DELIVERY_TIMEOUT_S + 5.0
        while self._producer.flush(_POLL_S) and time.monotonic() < deadline:
            if any(isinstance(place, KafkaError) for place in places):
                return


@contextmanager
def _interruptible() -> Iterator[None]:
    """Give back the KeyboardInterrupt of a Ctrl-C that came during a delivery report.

    confluent-kafka 2.16 loses an exception raised in a report's callback, and fails with a
    SystemError; ours raises none of its own.
    """
    try:
        yield
    except SystemError as error:
        raise KeyboardInterrupt from error


def _delivered(message: Message) -> Delivered:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise PublishError("a delivered record without its place")
    return Delivered(topic, partition, offset)


def _checked(place: Delivered | KafkaError | None) -> Delivered:
    if isinstance(place, Delivered):
        return place
    why = place.str() if place is not None else "timed out, and nobody knows whether it arrived"
    raise PublishError(f"the record could not be published: {why}")
