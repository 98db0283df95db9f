"""The reader: when the results of a round can be read by a read_committed consumer."""

import re
import time
from collections.abc import Iterator
from threading import Event
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ops.bench.crew import tell
from ops.bench.failure import BenchError
from schemas.settings import Settings

_POLL_S = 0.1
_TELL_S = 0.2
# The results that come in this time after the first were made before it, and are not counted.
_START_S = 0.05
_COMPLETED = b'"event":"order_completed"'
# A command's id, with the number at its end: much quicker than to parse each result.
_NUMBERED = re.compile(rb'"command_id":"([^"]*-(\d+))"')


def run_reader(settings: Settings, arguments: dict[str, Any], stop: Event) -> None:
    """Read `count` answers from the end of `topic` on; `each` notes when each one came.

    Says {"ready"}; then what `read_round`, `read_each`, with `orders` `read_orders` or, with
    `sample_every`, `read_samples` says.
    """
    consumer = _at_end(settings, arguments["topic"])
    tell({"ready": True})
    if arguments.get("orders"):
        read_orders(consumer, arguments["count"], stop)
    elif arguments.get("sample_every"):
        read_samples(consumer, arguments["count"], arguments["sample_every"], stop)
    elif arguments["each"]:
        read_each(consumer, arguments["count"], stop)
    else:
        read_round(consumer, arguments["count"], arguments["seconds"], stop)
    consumer.close()


def _at_end(settings: Settings, topic: str) -> Consumer:
    consumer = Consumer(
        {
            **settings.kafka_client(),
            # librdkafka wants a name; nothing is subscribed to and nothing committed.
            "group.id": f"{settings.topic_prefix}bench-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = [TopicPartition(topic, p) for p in partitions]
    for end in ends:
        end.offset = consumer.get_watermark_offsets(end, timeout=10)[1]
    consumer.assign(ends)
    return consumer


class _News:
    """When to say a count: now and then, and only where it has changed, so that whoever listens
    can tell that nothing comes any more.
    """

    def __init__(self) -> None:
        self._count, self._at_s = 0, 0.0

    def is_due(self, count: int) -> bool:
        """Whether to say it now."""
        now_s = time.monotonic()
        if count == self._count or now_s - self._at_s < _TELL_S:
            return False
        self._count, self._at_s = count, now_s
        return True


def read_round(consumer: Consumer, count: int, seconds: float | None, stop: Event) -> None:
    """Count answers until all have come, or `seconds` after the first.

    Says {"start": answers so far} a moment after the first, {"count"} now and then, and at last
    {"done", "count", "seconds"}: what came since the start, and in how long. {"seconds"} is 0
    where everything came at once.
    """
    seen, first, news = 0, 0.0, _News()
    start, start_count = 0.0, 0
    while not stop.is_set():
        seen += sum(map(_is_answer, _available(consumer)))
        if news.is_due(seen):
            tell({"count": seen})
        if not seen:
            continue
        now = time.monotonic()
        first = first or now
        if not start and now - first >= _START_S:
            start, start_count = now, seen
            tell({"start": seen})
        if seen >= count or (seconds is not None and now - first >= seconds):
            break
    now = time.monotonic()
    at_once = not start or start_count >= count
    tell(
        {
            "done": True,
            "total": seen,
            "count": 0 if at_once else seen - start_count,
            "seconds": 0.0 if at_once else now - start,
        }
    )


def read_each(consumer: Consumer, count: int, stop: Event) -> None:
    """Note the moment at which each answer came (monotonic clock), by command_id.

    Says {"count"} now and then and at last {"done", "read"}.
    """
    read: dict[str, float] = {}
    news = _News()
    while len(read) < count and not stop.is_set():
        read.update((command_id, at_s) for command_id, _, at_s in _answers(consumer))
        if news.is_due(len(read)):
            tell({"count": len(read)})
    tell({"done": True, "read": read})


def read_samples(consumer: Consumer, count: int, every: int, stop: Event) -> None:
    """Count answers until all have come, and note the moment of one in `every` (monotonic clock),
    by the number in its command's id.

    Says {"count", "read"} now and then, `read` being what was noted since, and at last {"done"}
    with them. What was told is forgotten.
    """
    seen, news = 0, _News()
    read: dict[str, float] = {}
    while seen < count and not stop.is_set():
        for command_id, number, at_s in _answers(consumer):
            seen += 1
            if number % every == 0:
                read[command_id] = at_s
        if news.is_due(seen):
            tell({"count": seen, "read": read})
            read = {}
    tell({"done": True, "count": seen, "read": read})


def read_orders(consumer: Consumer, count: int, stop: Event) -> None:
    """Count completed orders until all have come.

    Says {"start"} when the first answer to a request has come, {"count"} now and then, and at last
    {"done", "count", "seconds"}: the orders completed, and how long after that answer.
    """
    seen, began, news = 0, 0.0, _News()
    while seen < count and not stop.is_set():
        for message in _available(consumer):
            began = began or _say_start()
            seen += not _is_answer(message) and _COMPLETED in (message.value() or b"")
        if news.is_due(seen):
            tell({"count": seen})
    tell({"done": True, "count": seen, "seconds": time.monotonic() - began})


def _say_start() -> float:
    tell({"start": 0})
    return time.monotonic()


def _available(consumer: Consumer) -> Iterator[Message]:
    """Wait for a record, then take what else is there: never longer than it takes to come."""
    first = consumer.poll(_POLL_S)
    if first is not None:
        yield first
        yield from consumer.consume(999, 0)


def _answers(consumer: Consumer) -> Iterator[tuple[str, int, float]]:
    """Wait for an answer, then take what else is there: its command's id, the number at that id's
    end, and the moment it was read (monotonic clock). Raises BenchError for one that the load did
    not ask for.
    """
    for message in filter(_is_answer, _available(consumer)):
        found = _NUMBERED.search(message.value() or b"")
        if found is None:
            raise BenchError(f"an answer to a command that was not sent: {message.value()!r}")
        yield found[1].decode(), int(found[2]), time.monotonic()


def _is_answer(message: Message) -> bool:
    """Whether it answers an input: what a transfer's recipient is told does not."""
    error = message.error()
    if error is not None:
        if error.retriable():
            return False
        raise KafkaException(error)
    return b'"source":null' not in (message.value() or b"")
