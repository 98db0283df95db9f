"""Reading topics as an onlooker: from a place on, read_committed, as a member of no group."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self, cast

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.topic_log import TopicLog
from ops.topic import ASK_TIMEOUT_S
from producers.publisher import Delivered
from schemas.header import DLT_REASON, SPRING
from schemas.partition import partition_of
from schemas.settings import Settings
from schemas.topic import DEAD_LETTERS, ORDER_REQUEST, ORDER_RESULT, WALLET_RESULT, Topics

_POLL_S = 0.2
_QUIET_MAX_S = 15.0
_LEADERLESS = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)

# (topic, partition) -> offset
Places = Mapping[tuple[str, int], int]


class UnknownTopicError(Exception):
    """The broker has no such topic; the text names it."""


class Record(NamedTuple):
    """What was read: the real topic, where and when it was written, and its bytes.

    `headers` hold the last value of each name, `header_list` all of them as they stand.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]
    header_list: Sequence[tuple[str, bytes | None]] = ()


class Answer(NamedTuple):
    """The record that answers one input. `reason` is a dead letter's, None for a result."""

    record: Record
    reason: str | None


class Reader:
    """A consumer of some partitions that leaves no trace on the broker; a context manager.

    Raises KafkaException where the broker is away at the start; later on it waits for it, and
    calls `on_away` each time that it begins to.
    """

    def __init__(self, settings: Settings, on_away: Callable[[], None] | None = None) -> None:
        self._on_away = on_away
        self._started = False
        self._log = TopicLog({**settings.kafka_client(), "log_level": 0})
        self._consumer = Consumer(
            {
                **settings.kafka_client(),
                # librdkafka wants a name, but nothing is subscribed to and nothing committed.
                "group.id": f"{settings.topic_prefix}wallet-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "log_level": 0,
                "error_cb": self._on_error,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._consumer.close()

    def bounds(self, topics: Iterable[str]) -> tuple[Places, Places]:
        """Each partition's first offset, and the next one to be written.

        Raises UnknownTopicError; KafkaException where the broker is away.
        """
        found = self._consumer.list_topics(timeout=ASK_TIMEOUT_S).topics
        partitions = []
        for topic in topics:
            if topic not in found or found[topic].error is not None:
                raise UnknownTopicError(f"there is no topic {topic!r} on the broker")
            partitions += [(topic, partition) for partition in found[topic].partitions]
        both = self._bounds(partitions)
        return {k: low for k, (low, _) in both.items()}, {k: high for k, (_, high) in both.items()}

    def start(self, places: Places) -> None:
        """Read these partitions, each from its offset on."""
        self._started = True
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in places.items()])

    def records(self, timeout_s: float | None = None) -> Iterator[Record]:
        """The records as they come; without a timeout for ever.

        The timeout is for all of them. Raises KafkaException for errors that waiting can't mend.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while deadline is None or time.monotonic() < deadline:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield _record(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                continue
            elif error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:
                raise UnknownTopicError(f"the topic {message.topic()!r} was deleted")
            elif not error.retriable():
                raise KafkaException(error)

    def records_to_end(self, places: Places) -> Iterator[Record]:
        """The records that are there now, each partition from its offset on.

        Raises KafkaException, also where nothing comes for 15 s.
        """
        self.start(places)
        unread = set(places)
        for key, message in self._while_any(unread):
            if message.error() is None:
                yield _record(message)
            else:
                unread.discard(key)

    def without_records(self, starts: Places, ends: Places) -> set[tuple[str, int]]:
        """Those partitions where no committed record lies between the two offsets: only markers of
        transactions, or what was aborted.

        Raises KafkaException, also where nothing comes for 15 s.
        """
        found = set[tuple[str, int]]()
        self.start(starts)
        unread = set(starts)
        for key, message in self._while_any(unread):
            if message.error() is None:
                self._consumer.pause([TopicPartition(*key)])
            # An open transaction ends what can be read before the log's end.
            elif key in unread and (message.offset() or 0) >= ends[key]:
                found.add(key)
            unread.discard(key)
        return found

    def _while_any(self, unread: set[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], Message]]:
        """Records and partitions' ends (an error of their own), each with its partition, for as
        long as the caller leaves any partition in `unread`.
        """
        deadline = time.monotonic() + _QUIET_MAX_S
        while unread:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                if time.monotonic() > deadline:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "reading to the end"))
                continue
            deadline = time.monotonic() + _QUIET_MAX_S
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                yield (str(message.topic()), message.partition() or 0), message
            elif not error.retriable():
                raise KafkaException(error)

    def _bounds(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        """As TopicLog.bounds, asked again for a while where a partition has no leader yet: its
        topic was made a moment ago, or its broker is being replaced.
        """
        deadline = time.monotonic() + ASK_TIMEOUT_S
        while True:
            try:
                return self._log.bounds(partitions)
            except KafkaException as error:
                leaderless = error.args[0].code() in _LEADERLESS
                if not leaderless or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        away = error.code() == KafkaError._ALL_BROKERS_DOWN
        if away and self._started and self._on_away is not None:
            self._on_away()


class AnswerSearch:
    """Finds the very record that answers an input: made before the input is published.

    Made, it knows where the answers' topics end; `find` reads on from there.
    """

    def __init__(self, reader: Reader, settings: Settings, input_topic: str) -> None:
        topics = Topics(settings.topic_prefix)
        is_request = topics.logical(input_topic) == ORDER_REQUEST
        self._reader = reader
        self._results = topics.real(ORDER_RESULT if is_request else WALLET_RESULT)
        self._dead_letters = topics.dead_letter(input_topic)
        _, self._ends = reader.bounds([self._results, self._dead_letters])

    def find(self, source: Delivered, key: bytes, timeout_s: float) -> Answer | None:
        """The result or dead letter that names this place; None if none came in time."""
        count = sum(topic == self._results for topic, _ in self._ends)
        partitions = {
            (self._results, partition_of(key, count)),
            (self._dead_letters, source.partition),
        }
        self._reader.start({k: end for k, end in self._ends.items() if k in partitions})
        for record in self._reader.records(timeout_s):
            if record.topic == self._dead_letters:
                if dead_letter_source(record) == source:
                    return Answer(record, (record.headers.get(DLT_REASON) or b"").decode())
            elif result_source(record) == source:
                return Answer(record, None)
        return None


def dead_letter_source(record: Record) -> Delivered | None:
    """The place of the input that a dead letter buries; None where its headers do not say."""
    headers = record.headers
    topic = headers.get(f"{SPRING}original-topic")
    partition = headers.get(f"{SPRING}original-partition")
    offset = headers.get(f"{SPRING}original-offset")
    if topic is None or partition is None or offset is None:
        return None
    return Delivered(topic.decode(), int(partition), int(offset))


def result_source(record: Record) -> Delivered | None:
    """The place of the input that a result answers; None where it answers none."""
    source = orjson.loads(record.value or b"{}").get("source")
    if source is None:
        return None
    return Delivered(source["topic"], source["partition"], source["offset"])


def is_dead_letter(topics: Topics, topic: str) -> bool:
    """Whether the real name is that of a dead letter topic."""
    return topics.logical(topic) in DEAD_LETTERS


def _record(message: Message) -> Record:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("a record without its place")
    # The stub allows other shapes too, for headers that are to be sent.
    headers = cast(list[tuple[str, bytes | None]] | None, message.headers())
    return Record(
        topic,
        partition,
        offset,
        message.timestamp()[1],
        message.key(),
        message.value(),
        dict(headers or ()),
        tuple(headers or ()),
    )
