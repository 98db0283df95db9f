"""For other services in Python: send commands, wait for their results, read all results."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from producers.publisher import Delivered, Input, Publisher
from schemas.header import CE_ID, CE_TYPE, CORRELATION_ID, DLT_REASON, SPRING
from schemas.partition import partition_of
from schemas.settings import Settings
from schemas.topic import ORDER_REQUEST, ORDER_RESULT, WALLET_COMMAND, WALLET_RESULT, Topics

_ASK_TIMEOUT_S = 10.0
_POLL_S = 0.1


class NoAnswerError(Exception):
    """No answer came in time. The command may be applied all the same: send it again, under the
    same `command_id`.
    """


class DeadLetterError(Exception):
    """The record could not be answered; `reason` is the contract's."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Result(NamedTuple):
    """A record of `wallet-result` or `order-result`.

    `event_id` is the same however often the record is sent, which readers deduplicate by.
    `event_type` is such as `wallet.command.applied.v1`. `place` is where the record stands.
    """

    value: dict[str, Any]
    event_id: str
    event_type: str
    correlation_id: str | None
    place: Delivered


class WalletClient:
    """Sends commands, and waits for their results. One for as long as there is something to send;
    not to be shared by threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = Topics(settings.topic_prefix)
        self._publisher = Publisher(settings)
        self._consumer = Consumer(_reader_config(settings, f"{settings.topic_prefix}wallet-client"))

    def send(
        self, client_id: str, command: Mapping[str, Any], *, topic: str = WALLET_COMMAND
    ) -> tuple[str, Delivered]:
        """Publish a command and return its id and its place; its result is not waited for.

        `command` holds the contract's fields; a missing `command_id` is made. Amounts are strings
        such as "10.50". Blocks until the brokers have it. Raises PublishError; sending it again
        under the same id is safe.
        """
        value = {"command_id": f"py-{secrets.token_hex(10)}", **command}
        headers = [(CORRELATION_ID, str(value["command_id"]).encode())]
        record = Input(topic, client_id.encode(), orjson.dumps(value), headers)
        return value["command_id"], self._publisher.publish(record)

    def call(
        self,
        client_id: str,
        command: Mapping[str, Any],
        *,
        topic: str = WALLET_COMMAND,
        timeout_s: float = 30.0,
    ) -> Result:
        """Publish a command and wait for the one record that answers it, applied or rejected.

        Raises PublishError, NoAnswerError after `timeout_s`, DeadLetterError, KafkaException
        where the broker is away.
        """
        ends = self._ends(client_id, topic)
        _, place = self.send(client_id, command, topic=topic)
        self._consumer.assign(ends)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = _checked(self._consumer.poll(_POLL_S))
            answer = None if message is None else self._answer(message, place)
            if answer is not None:
                return answer
        raise NoAnswerError(f"no answer to {place.topic}/{place.partition}/{place.offset}")

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ends(self, client_id: str, topic: str) -> list[TopicPartition]:
        """Where the client's partition of results and of dead letters ends at this moment."""
        results = ORDER_RESULT if topic == ORDER_REQUEST else WALLET_RESULT
        ends = []
        for real in (
            self._topics.real(results),
            self._topics.dead_letter(self._topics.real(topic)),
        ):
            partitions = self._consumer.list_topics(real, timeout=_ASK_TIMEOUT_S).topics[real]
            number = partition_of(client_id.encode(), len(partitions.partitions) or 1)
            at = TopicPartition(real, number)
            watermarks = self._consumer.get_watermark_offsets(at, timeout=_ASK_TIMEOUT_S)
            if watermarks is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{real}: no offsets"))
            ends.append(TopicPartition(real, number, watermarks[1]))
        return ends

    def _answer(self, message: Message, place: Delivered) -> Result | None:
        headers = _headers(message)
        if DLT_REASON in headers:
            if _dead_place(headers) == place:
                detail = headers.get(f"{SPRING}exception-message", "")
                raise DeadLetterError(headers[DLT_REASON], detail)
            return None
        result = _result(message, headers)
        source = result.value["source"]
        if source is None:
            return None
        found = Delivered(source["topic"], source["partition"], source["offset"])
        return result if found == place else None


class ResultReader:
    """Reads all results as a consumer group: several processes of one group share them.

    At least once: `commit` after the work is done, and do nothing twice for an `event_id` that was
    seen before.
    """

    def __init__(self, settings: Settings, *, group_id: str, topic: str = WALLET_RESULT) -> None:
        self._consumer = Consumer(_reader_config(settings, group_id))
        self._consumer.subscribe([Topics(settings.topic_prefix).real(topic)])

    def results(self, *, idle_s: float | None = None) -> Iterator[Result]:
        """Results as they come, in each client's order; ends when none came for `idle_s`.

        Raises KafkaException for errors that waiting can't mend.
        """
        heard_at = time.monotonic()
        while idle_s is None or time.monotonic() - heard_at < idle_s:
            message = _checked(self._consumer.poll(_POLL_S))
            if message is not None:
                yield _result(message, _headers(message))
                heard_at = time.monotonic()

    def commit(self, result: Result) -> None:
        """Say that this result and all before it in its partition are done with."""
        place = result.place
        after = TopicPartition(place.topic, place.partition, place.offset + 1)
        self._consumer.commit(offsets=[after], asynchronous=False)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def _reader_config(settings: Settings, group_id: str) -> dict[str, Any]:
    return {
        **settings.kafka_client(),
        "group.id": group_id,
        # What the relay has aborted is no result.
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "allow.auto.create.topics": False,
    }


def _checked(message: Message | None) -> Message | None:
    """The message, None where there is none yet."""
    error = None if message is None else message.error()
    if error is None:
        return message
    if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:
        return None
    raise KafkaException(error)


def _result(message: Message, headers: Mapping[str, str]) -> Result:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("a record without its place")
    return Result(
        orjson.loads(message.value() or b""),
        headers[CE_ID],
        headers[CE_TYPE],
        headers.get(CORRELATION_ID),
        Delivered(topic, partition, offset),
    )


def _headers(message: Message) -> dict[str, str]:
    """The last value of each header, as text."""
    found: Any = message.headers() or ()
    return {name: (value or b"").decode("utf-8", "replace") for name, value in found}


def _dead_place(headers: Mapping[str, str]) -> Delivered:
    at = f"{SPRING}original-"
    topic, partition, offset = (headers[at + part] for part in ("topic", "partition", "offset"))
    return Delivered(topic, int(partition), int(offset))
