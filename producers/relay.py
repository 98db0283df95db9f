"""The relay: outbox rows become Kafka records, each once to a read_committed reader, by their ids.

Take over (lock, fence, read the progress, delete what it names), then for ever: read a batch,
publish it in one Kafka transaction whose last record says what it held, commit, delete. After any
error that neither the same call again nor an abort can help, the producer and the session are
dropped and it starts from the lock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import NamedTuple, TypeVar

import psycopg
import structlog
from confluent_kafka import KafkaException

from ledger.currency import Currencies
from ledger.database import Failures
from ledger.outbox import Batch, Outbox
from ledger.parcel import RECORDS_MAX
from producers.failure import (
    NotReadyError,
    RelayStoppedError,
    Remedy,
    is_fenced,
    kafka_error,
    may_hide_impassable,
    remedy,
)
from producers.orphan import Place, open_event_ids
from producers.progress import Progress, ProgressError, event_hash, read_progress
from producers.record import balance_records, real_names
from producers.sender import Sender
from schemas.settings import Settings
from schemas.topic import (
    DEAD_LETTERS,
    ORDER_RESULT,
    WALLET_RELAY_PROGRESS,
    WALLET_RESULT,
    Topics,
)

_LOCK_POLL_S = 0.25
_OWNER_CHECK_S = 1.0
# Looks for news are far apart where there was none for long. Most of a lone command's time between
# commit and publishing was the wait for the next look (5 ms at first: p50 24 ms, 20 with 1 ms).
_PAUSES_S = ((0.02, 0.001), (2.0, 0.005))
_QUIET_PAUSE_S = 0.025
# A transaction costs the broker a request and a marker for each partition, for ten records as for a
# thousand. So the busier it is, and the more partitions, the longer more may come together.
_GATHER_PER_RECORD_S = 0.000_2
_GATHER_PER_PARTITION_S = 0.002
_GATHER_MAX_S = 0.05
_RECORDS_ENOUGH = 1_000
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 5.0

_T = TypeVar("_T")


@dataclass(slots=True)
class RelayStats:
    """What this relay has done since it was made. The last four speak of trouble."""

    takeovers: int = 0
    transactions: int = 0
    published: int = 0
    # Rows deleted when taking over, because the progress record named them.
    found_published: int = 0
    aborted: int = 0
    fenced: int = 0
    # Partitions in which the broker had left records of an aborted transaction open.
    orphaned: int = 0
    # Rows that the progress record named with other `ce_id`s: the database was restored.
    mismatches: int = 0


class RelayReport(NamedTuple):
    """One transaction that readers see: its results and dead letters, when the oldest was decided,
    and how long the transaction took.
    """

    record_count: int
    oldest_at: datetime
    duration_s: float


class Relay:
    """One part of the outbox, as its owner or as a standby in the queue. Any number may run."""

    def __init__(self, settings: Settings, *, database_url: str, part: int = 0) -> None:
        if not 0 <= part < settings.relay_part_count:
            raise ValueError(f"part {part} of {settings.relay_part_count}")
        self.stats = RelayStats()
        self.failures = Failures()
        self._settings = settings
        written = 2 * settings.partitions + 1  # of results, of balances, and the progress
        self._gather_max_s = min(_GATHER_PER_PARTITION_S * written, _GATHER_MAX_S)
        self._database_url = database_url
        self._part = part
        self._names = real_names(Topics(settings.topic_prefix))
        self._log = structlog.get_logger(__name__).bind(part=part)
        self._currencies = Currencies()
        self._outbox: Outbox | None = None
        self._sender: Sender | None = None
        self._trouble: str | None = None
        self._failures = 0
        # Called after each transaction, in the relay's thread: it must neither block nor raise.
        self.on_batch: Callable[[RelayReport], None] | None = None
        # Whether the part is ours, None before the first try to take it.
        self.is_owner: bool | None = None
        # When the loop last came round, by the monotonic clock: one that hangs stays behind.
        self.beat_at_s = time.monotonic()
        self._suspects = 0  # so many of the next rows are sent one by one

    def run(self, stop: Event) -> None:
        """Relay until `stop` is set; the transaction under way is finished first.

        Blocks. With Kafka or Postgres away it tries again for as long as it takes.
        Raises RelayStoppedError where only a person can help.
        """
        while not stop.is_set():
            self.beat_at_s = time.monotonic()
            failed = True
            try:
                if self.take_over(stop):
                    self._relay(stop)
                failed = False
            except ProgressError as error:
                raise RelayStoppedError(str(error)) from error
            except (psycopg.Error, KafkaException, BufferError, NotReadyError) as error:
                self._report(error)
                _let_go(error)
            finally:
                self._drop()
            if failed:
                stop.wait(self._backoff_s())

    def take_over(self, stop: Event) -> bool:
        """Wait for the part's lock, fence whoever had it, delete what is published already.

        False if `stop` came first. The order is the guarantee: the progress is read when the last
        owner's transaction has been ended, and the outbox when all that it committed is deleted.
        """
        self._outbox = Outbox(
            self._database_url, part=self._part, part_count=self._settings.relay_part_count
        )
        if not self._wait_for_lock(self._outbox, stop):
            return False
        self._sender = Sender(self._settings, part=self._part)
        if not self._sender.fence_others(stop):
            return False
        self._sender.check_topics()
        progress = read_progress(
            self._settings.kafka_client(),
            self._names[WALLET_RELAY_PROGRESS],
            self._part,
            group_id=Topics(self._settings.topic_prefix).transactional_id(self._part),
        )
        if progress is not None:
            self._delete_published(self._outbox, progress)
        self._abort_orphans()
        self.stats.takeovers += 1
        self.is_owner = True
        self._log.info("the relay owns its part", after=self._trouble)
        self._trouble = None
        return True

    def read_batch(self) -> Batch:
        """The oldest rows and their clients' accounts, in one snapshot; it may be empty."""
        outbox = _made(self._outbox)
        settings = self._settings
        records_max = settings.relay_records_max
        if self._suspects:
            records_max = min(records_max, RECORDS_MAX)
        batch = outbox.read(records_max=records_max, bytes_max=settings.relay_bytes_max)
        if self._unknown_currencies(batch):
            self._currencies = Currencies(outbox.read_own_units())
            unknown = self._unknown_currencies(batch)
            if unknown:
                raise RelayStoppedError(
                    f"accounts are kept in {', '.join(unknown)}, neither a currency of ISO 4217's "
                    "nor in the table of currencies: add it there with its number of decimals."
                )
        return batch

    def publish(self, batch: Batch) -> None:
        """Send rows, their clients' balances and the progress in one transaction, left open."""
        balances = balance_records(batch.accounts, self._currencies, self._names)
        _made(self._sender).send(batch.rows, balances, singly=self._suspects > 0)

    def commit(self) -> None:
        """Commit the Kafka transaction: from here on every read_committed reader sees the batch."""
        _made(self._sender).commit()

    def delete(self, batch: Batch) -> None:
        """Delete what has just been committed. The next transaction begins only after this."""
        deleted = _made(self._outbox).delete(batch.ids)
        self.stats.transactions += 1
        self.stats.published += batch.record_count
        self._suspects = max(0, self._suspects - len(batch.rows))
        if deleted != len(batch.rows):
            self._log.error(
                "somebody else deletes from the outbox", rows=len(batch.rows), deleted=deleted
            )

    def _relay(self, stop: Event) -> None:
        worked_at, idle = time.monotonic(), False
        while not stop.is_set():
            self.beat_at_s = time.monotonic()
            batch = Batch((), ()) if idle and not self._has_news() else self.read_batch()
            idle = not batch.rows
            if idle:
                stop.wait(_pause_s(time.monotonic() - worked_at))
                continue
            if self._relay_batch(batch):
                self._failures = 0
                stop.wait(self._gather_s(batch.record_count))
            else:
                stop.wait(self._backoff_s())
            worked_at = time.monotonic()

    def _gather_s(self, record_count: int) -> float:
        """How long to wait for more after a transaction of so many records; not at all after one
        that may have left some behind.
        """
        if record_count >= min(_RECORDS_ENOUGH, self._settings.relay_records_max // 2):
            return 0.0
        return min(record_count * _GATHER_PER_RECORD_S, self._gather_max_s)

    def _has_news(self) -> bool:
        return _made(self._outbox).has_news()

    def _relay_batch(self, batch: Batch) -> bool:
        """Publish, commit, delete; False if the transaction was aborted, and nothing is visible."""
        began_s = time.monotonic()
        try:
            self.publish(batch)
            self.commit()
        except KafkaException as error:
            if remedy(error) is not Remedy.ABORT:
                raise
            self.stats.aborted += 1
            self._failures += 1
            self._log.warning("a transaction is aborted", error=kafka_error(error).str())
            if may_hide_impassable(kafka_error(error)):
                self._suspects = max(self._suspects, len(batch.rows))
            _let_go(error)
            _made(self._sender).abort()
            self._abort_orphans()
            return False
        self.delete(batch)
        if self.on_batch is not None:
            duration_s = time.monotonic() - began_s
            oldest_at = batch.rows[0].created_at
            self.on_batch(RelayReport(batch.record_count, oldest_at, duration_s))
        return True

    def _wait_for_lock(self, outbox: Outbox, stop: Event) -> bool:
        """Wait until the part's lock is ours; an owner without a sign of life is ended."""
        waiting, looked_at = False, time.monotonic()
        while not stop.is_set():
            if outbox.try_lock():
                return True
            self.beat_at_s = time.monotonic()
            if not waiting:
                self._log.info("standing by: another relay owns the part")
                waiting, self.is_owner = True, False
            if time.monotonic() - looked_at > _OWNER_CHECK_S:
                self._end_stuck_owner(outbox)
                looked_at = time.monotonic()
            stop.wait(_LOCK_POLL_S)
        return False

    def _end_stuck_owner(self, outbox: Outbox) -> None:
        try:
            stuck = outbox.end_stuck_owner()
        except psycopg.errors.InsufficientPrivilege as error:
            self._log.warning("the owner's session can't be ended", error=str(error).strip())
            return
        if stuck is not None:
            self._log.warning(
                "the owner gave no sign of life: its session is ended",
                pid=stuck.pid,
                state=stuck.state,
            )

    def _delete_published(self, outbox: Outbox, progress: Progress) -> None:
        """Delete what the last owner had committed: rows whose id and hash both match."""
        found = {i: event_hash(told) for i, told in outbox.read_event_ids(progress.ids).items()}
        named = dict(zip(progress.ids, progress.hashes, strict=True))
        published = [row_id for row_id, hash_ in found.items() if named[row_id] == hash_]
        if published:
            self.stats.found_published += outbox.delete(published)
            self._log.info("rows that were published already are deleted", rows=len(published))
        others = sorted(found.keys() - set(published))
        if others:
            self.stats.mismatches += len(others)
            self._log.error(
                "restored? Rows have the ids of published ones but tell of other events; "
                "they are published",
                rows=len(others),
                first_id=others[0],
                last_id=others[-1],
            )

    def _abort_orphans(self) -> None:
        """Have nothing become visible of a transaction whose rows are still to be published."""
        if not (orphaned := self._orphaned()):
            return
        self.stats.orphaned += len(orphaned)
        self._log.warning(
            "the broker has ended a transaction, but not in these partitions: it is aborted there",
            partitions=[f"{topic}/{partition}" for topic, partition in orphaned],
        )
        _made(self._sender).abort_in(orphaned)
        if self._orphaned():
            raise NotReadyError("records of an ended transaction are still open")

    def _orphaned(self) -> list[Place]:
        """Where records stand open that tell of rows in the outbox: what was committed is deleted
        from it. Balances and progress may be seen once more: what they say is true all the same.
        """
        opened = open_event_ids(
            self._settings.kafka_client(),
            [self._names[name] for name in (WALLET_RESULT, ORDER_RESULT, *DEAD_LETTERS)],
            group_id=Topics(self._settings.topic_prefix).transactional_id(self._part),
        )
        told = {event_id for ids in opened.values() for event_id in ids}
        waiting = _made(self._outbox).find_event_ids(told) if told else set()
        return sorted(place for place, ids in opened.items() if ids & waiting)

    def _unknown_currencies(self, batch: Batch) -> list[str]:
        codes = {account[1] for account in batch.accounts}
        return sorted(code for code in codes if self._currencies.scale(code) is None)

    def _report(self, error: Exception) -> None:
        """Log a failure, once for each change of what is wrong."""
        self._failures += 1
        if isinstance(error, psycopg.Error):
            self.failures.note(error)
        if isinstance(error, KafkaException) and is_fenced(error):
            self.stats.fenced += 1
            self._log.warning("fenced: another relay took over", error=kafka_error(error).str())
            return
        trouble = _trouble(error)
        if trouble != self._trouble:
            self._log.warning("the relay starts over", why=trouble, error=str(error).strip())
            self._trouble = trouble

    def _backoff_s(self) -> float:
        # Full jitter, so that two relays that fence each other in turn don't stay in step.
        longest = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 10))
        return random.uniform(0.0, longest)

    def _drop(self) -> None:
        """Let go of the session, and so of the lock, and of the producer."""
        self.is_owner = None
        outbox, self._outbox, self._sender = self._outbox, None, None
        if outbox is not None:
            outbox.close()


def _pause_s(idle_s: float) -> float:
    """How long to wait before the next look for news, so long after the last work."""
    return next((pause_s for until_s, pause_s in _PAUSES_S if idle_s < until_s), _QUIET_PAUSE_S)


def _made(thing: _T | None) -> _T:
    """What `take_over` has made."""
    if thing is None:
        raise RuntimeError("the relay has not taken over")
    return thing


def _let_go(error: BaseException | None) -> None:
    """Have an error, and those it came from, hold no frame any more, and so no client of Kafka's
    with its threads and sockets.

    A future that failed keeps its error, whose traceback has the future: a cycle, for which our
    processes look rarely. And confluent-kafka 2.16 keeps the error of a commit for ever where the
    abort after it fails, too (seen: one reference that nobody has).
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _trouble(error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return f"Postgres: {error.sqlstate or type(error).__name__}"
    if isinstance(error, KafkaException):
        return f"Kafka: {kafka_error(error).name()}"
    return str(error)
