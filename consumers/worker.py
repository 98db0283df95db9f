"""The worker: polls both input topics and applies batch after batch until told to stop."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import psycopg
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from consumers.assignment import Assignment
from consumers.batch import Item
from consumers.processor import Processor
from consumers.report import OnBatch
from consumers.session import Session
from consumers.topic_log import TopicLog
from ledger.currency import UnknownScaleError
from ledger.database import Failures
from ledger.position import Position
from ledger.rate import RateLimit
from ledger.rule import Rules
from schemas.partition import partition_of
from schemas.settings import Settings
from schemas.topic import Topics

_log = structlog.get_logger(__name__)

_FIRST_RECORD_S = 0.2
_SWEEP_INTERVAL_S = 1.0


class Worker:
    """One process of the group `wallet-worker`; any number of them share the partitions.

    `run` blocks until `stop` is set, then finishes the batch in hand, commits, gives its
    partitions back and leaves the group. While Postgres or Kafka is away it waits for them.
    Raises WorkerStoppedError where only a person can help: topics missing, or five poisoned
    records in a row.
    """

    def __init__(self, settings: Settings, *, database_url: str) -> None:
        self._settings = settings
        self._topics = Topics(settings.topic_prefix)
        self._prefix_length = len(settings.topic_prefix)
        self._session = Session(
            database_url,
            rules=_rules(settings),
            default_currency=settings.default_currency,
            nice=settings.worker_nice,
        )
        self._kafka_away = False
        self._consumer = Consumer(
            {**_consumer_config(settings, self._topics), "error_cb": self._on_kafka_error}
        )
        self.assignment = Assignment(
            self._consumer,
            TopicLog({**settings.kafka_client(), "log_level": 0}),
            self._session.connection,
            singly_count=settings.batch_records_max,
        )
        self._early: list[Item] = []
        self._sweep_at_s = 0.0
        self._misplaced_keys_seen = False
        self.misplaced_count = 0
        self.on_batch: OnBatch | None = None
        # When the loop last came round, by the monotonic clock: one that hangs stays behind.
        self.beat_at_s = time.monotonic()

    @property
    def failures(self) -> Failures:
        """What PostgreSQL did not do."""
        return self._session.failures

    @property
    def trouble(self) -> str | None:
        """Why no records are being taken, in a sentence; None where all is well."""
        stopped = self.assignment.stopped_topics
        if stopped:
            return "; ".join(f"{topic} is stopped: {why}" for topic, why in stopped.items())
        if not self.assignment.is_assigned:
            return "the group has not assigned partitions yet"
        if not self.assignment.is_complete:
            return "assigned partitions wait to be claimed in PostgreSQL"
        return self.failures.trouble

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        processor = Processor(self._session, self.assignment, self._wait, stop, self.on_batch)
        try:
            self.assignment.subscribe(self._topics.inputs)
            _log.info("worker started", topics=self._topics.inputs, group=self._topics.group_id)
            while not stop.is_set():
                self.assignment.tend()
                items = self._poll()
                if len(items) >= self._settings.batch_records_max:
                    self._read_ahead()
                if items:
                    processor.process(items)
                self._sweep()
        finally:
            self._close()
        _log.info("worker stopped")

    def _sweep(self) -> None:
        """Release holds whose time is over, once a second; every worker does, for all clients."""
        if time.monotonic() < self._sweep_at_s:
            return
        more = False
        try:
            more = self._session.release_expired_holds()
            self.failures.end()
        except psycopg.Error as error:  # the next sweep, or another worker's, finds them again
            self.failures.note(error)
            _log.warning("postgres: holds not swept, trying again", error=str(error).strip())
        except UnknownScaleError as error:
            _log.error("holds not swept: add the currency again", error=str(error))
        self._sweep_at_s = time.monotonic() + (0.0 if more else _SWEEP_INTERVAL_S)

    def _poll(self) -> list[Item]:
        """Wait for one record, then take what else is there.

        Never consume() with a timeout: it waits the timeout out, 68 ms instead of 9 at 100
        records/s.
        """
        self.beat_at_s = time.monotonic()
        most = self._settings.batch_records_max
        items, self._early = self._early[:most], self._early[most:]
        wanted = most - len(items)
        try:
            first = self._consumer.poll(0 if items else _FIRST_RECORD_S) if wanted > 0 else None
            if first is not None:
                if self._kafka_away:
                    self._kafka_away = False
                    _log.info("kafka is back")
                self._add(items, first)
                self._take(items, wanted - 1)
        except KafkaException as error:
            self._read_again(error)
            return []
        return rising(items, self.assignment.positions)

    def _read_ahead(self) -> None:
        """Take for the next batch what is there already: the session decodes it while PostgreSQL
        works on the batch in hand.
        """
        try:
            self._take(self._early, self._settings.batch_records_max)
            self._session.decode_meanwhile(self._early)
        except KafkaException as error:
            self._early.clear()
            self._read_again(error)

    def _take(self, items: list[Item], count: int) -> None:
        """Add up to so many records that are there already. Raises KafkaException."""
        for message in self._consumer.consume(count, 0):
            self._add(items, message)

    def _read_again(self, error: KafkaException) -> None:
        _log.warning("kafka: reading failed, going on at the positions", error=str(error))
        self.assignment.seek_to_positions()

    def _add(self, items: list[Item], message: Message) -> None:
        """Add the record as a batch takes it, if it is one, is ours and was not answered before.

        The epoch is noted as it is now: what was read before a loss must not pass for ours after
        a new claim.
        """
        if message.error() is not None:
            return self._on_error(message)
        topic, partition = cast(str, message.topic()), cast(int, message.partition())
        offset = cast(int, message.offset())
        ours = self.assignment.positions.get((topic, partition))
        if ours is None or offset < ours.next_offset:
            return None
        key, value = message.key(), message.value()
        headers = _headers(message)
        self._check_place(topic, partition, key)
        items.append(
            Item(
                topic[self._prefix_length :], topic, partition, offset, key, value, headers,
                message.timestamp()[1], ours.epoch,
            )
        )  # fmt: skip
        return None

    def _on_error(self, message: Message) -> None:
        error = cast(KafkaError, message.error())
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self.assignment.stop_topic(
                str(message.topic()), f"a position is outside the log: {error.str()}"
            )
        else:
            _log.warning("kafka", error=error.str(), topic=message.topic())

    def _on_kafka_error(self, error: KafkaError) -> None:
        """Called inside poll, for the client as a whole."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            _log.debug("kafka", error=error.str())
        elif not self._kafka_away:
            self._kafka_away = True
            _log.warning("kafka is away, waiting for it", error=error.str())

    def _check_place(self, topic: str, partition: int, key: bytes | None) -> None:
        """Count records that their key does not map to: applied all the same, but out of order."""
        if not key or partition_of(key, self._settings.partitions) == partition:
            return
        self.misplaced_count += 1
        if not self._misplaced_keys_seen:
            self._misplaced_keys_seen = True
            _log.warning(
                "a record's key does not map to its partition, so its client's order across "
                "partitions is lost: its producer does not partition with murmur2 "
                "(partitioner=murmur2_random in librdkafka)",
                topic=topic, partition=partition,
            )  # fmt: skip

    def _wait(self, seconds: float) -> None:
        """Wait without records, polling on so that the group does not evict us."""
        self.beat_at_s = time.monotonic()
        self.assignment.pause_all()
        message = self._consumer.poll(seconds)
        if message is not None:  # it was fetched before the pause; it is not lost
            self._add(self._early, message)
        self.assignment.resume_all()

    def _close(self) -> None:
        try:
            self.assignment.release()
        except (psycopg.Error, KafkaException) as error:
            _log.warning("partitions not given back", error=str(error).strip())
        self._consumer.close()
        self._session.close()


def _headers(message: Message) -> list[tuple[str, bytes | None]] | None:
    try:
        return cast(list[tuple[str, bytes | None]] | None, message.headers())
    except UnicodeDecodeError:
        # Kafka's protocol wants names in UTF-8; the binding gives none of them if one is not. That
        # must not stop the partition: the record is answered without them.
        _log.warning("a header's name is not UTF-8: the record's headers are left aside")
        return None


def rising(items: Sequence[Item], positions: Mapping[tuple[str, int], Position]) -> list[Item]:
    """The items less what was read before a loss, and what a seek gave a second time: each
    partition's offsets rise.
    """
    last: dict[tuple[str, int], int] = {}
    kept = []
    for item in items:
        key = (item.topic, item.partition)
        ours = positions.get(key)
        # What an older claim had read must not hide what the position is followed by now.
        if ours is not None and ours.epoch == item.epoch and item.offset > last.get(key, -1):
            last[key] = item.offset
            kept.append(item)
    return kept


def _rules(settings: Settings) -> Rules:
    limit = settings.rate_limit
    return Rules(
        auto_create=settings.auto_create,
        transfer_refund=settings.transfer_refund,
        rate_limit=None if limit is None else RateLimit(*limit),
    )


def _consumer_config(settings: Settings, topics: Topics) -> dict[str, Any]:
    config: dict[str, Any] = {
        **settings.kafka_client(),
        "group.id": topics.group_id,
        "client.id": "wallet-worker",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "fetch.min.bytes": 1,
        # What is fetched ahead; also the bound of one batch's memory.
        "queued.max.messages.kbytes": 32 * 1024,
        "max.poll.interval.ms": 60_000,
        "allow.auto.create.topics": False,
        # librdkafka writes a line per try to connect, past our log; the worker says it once.
        "log_level": 0,
        "reconnect.backoff.max.ms": 2_000,
        # Partitions that were added are noticed within this time, by default after 5 minutes.
        "topic.metadata.refresh.interval.ms": 5_000,
    }
    if settings.group_protocol == "consumer":
        # The same numbers of both topics to one worker. The broker's other assignor, like the
        # classic sticky one, may give all of wallet-command to one of two workers (seen), which
        # then has all the work.
        return config | {"group.protocol": "consumer", "group.remote.assignor": "range"}
    return config | {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": min(3_000, settings.session_timeout_ms // 3),
    }
