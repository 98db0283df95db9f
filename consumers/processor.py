"""A batch's way through trouble: tried again, waited for, halved, or forgotten."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import psycopg
import structlog

from consumers.assignment import Assignment
from consumers.batch import Item, Tallies
from consumers.decode import DeadRecord
from consumers.failure import Fault, WorkerStoppedError, fault_of, place_of
from consumers.report import BatchReport, OnBatch
from consumers.session import Session
from ledger import position

_log = structlog.get_logger(__name__)

# How often a record is tried alone before it is dead.
ATTEMPTS_MAX = 3
# As many dead in a row are our bug, not the data's.
POISONED_IN_A_ROW_MAX = 5
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.1, 5.0
_AGAIN_MAX = 50


class _StoppedWaiting(Exception):  # noqa: N818 - no error: unwinds to the top, so that nothing after it is applied
    """`stop` was set while a batch could not be applied."""


class Processor:
    """Sees to it that every record handed in is answered, or is no longer ours, or `stop` was set.

    `wait(seconds)` waits while the consumer keeps its place in the group.
    """

    def __init__(
        self,
        session: Session,
        assignment: Assignment,
        wait: Callable[[float], None],
        stop: threading.Event,
        on_batch: OnBatch | None = None,
    ) -> None:
        self._on_batch = on_batch
        self._session = session
        self._assignment = assignment
        self._wait = wait
        self._stop = stop
        self._poisoned_in_a_row = 0

    def process(self, items: Sequence[Item]) -> None:
        """Apply records, in offset order per partition. Blocks for as long as Postgres is away.

        Raises WorkerStoppedError at the fifth poisoned record in a row.
        """
        try:
            self._process(items)
        except _StoppedWaiting:
            _log.info("stopped while waiting: what was not applied is read again at the next start")

    def _process(self, items: Sequence[Item]) -> None:
        singly = self._assignment.singly
        if not singly:
            return self._apply(items)
        for item in items:
            if (item.topic, item.partition) in singly:
                self._apply([item])
                self._count_single(item)
        return self._apply([item for item in items if (item.topic, item.partition) not in singly])

    def _apply(self, items: Sequence[Item]) -> None:
        """The same batch for as long as it takes, less what is lost meanwhile."""
        tries = 0
        while items := self._due(items):
            try:
                self._try(items)
            except (WorkerStoppedError, _StoppedWaiting):
                raise
            except Exception as error:
                tries += 1
                if _is_a_records(error, tries):
                    return self._search(items, error)
                self._get_over(error, tries)
                if self._stop.is_set():
                    raise _StoppedWaiting from error
            else:
                self._session.failures.end()
                if tries:
                    _log.info("batch applied after trouble", tries=tries + 1, records=len(items))
                if any(not _is_poisoned(item) for item in items):
                    self._poisoned_in_a_row = 0
                return None
        return None

    def _try(self, items: Sequence[Item]) -> None:
        singly = self._assignment.singly
        for item in items if singly else ():
            if (item.topic, item.partition) in singly and not item.trial_begun:
                self._begin_trial(item)
        tallies = self._session.apply(items, self._assignment.positions)
        stage_s = self._session.clock.stage_s
        _log.debug("batch applied", records=len(items), seconds=round(sum(stage_s.values()), 4))
        if self._on_batch is not None:
            self._on_batch(_report(items, tallies, stage_s))

    def _get_over(self, error: Exception, tries: int) -> None:
        """Do what the fault asks for before the next try."""
        fault = fault_of(error)
        if fault is Fault.FENCED:
            try:
                self._assignment.forget_fenced()
            except psycopg.Error as away:
                error, fault = away, Fault.SURROUNDINGS
        if fault is Fault.AGAIN:
            self._wait(random.uniform(0, 0.02))
        elif isinstance(error, psycopg.Error) and fault is Fault.SURROUNDINGS:
            self._session.failures.note(error)
            if tries == 1:
                _log.warning(
                    "postgres: batch not applied, trying until it is", error=str(error).strip()
                )
            longest = min(_BACKOFF_S_MAX, _BACKOFF_S_MIN * 2 ** min(tries, 10))
            self._wait(random.uniform(longest / 2, longest))

    def _search(self, items: Sequence[Item], error: Exception) -> None:
        """Halve until the record at fault is alone, then try that one until it is dead."""
        if len(items) > 1:
            middle = len(items) // 2
            self._apply(items[:middle])
            self._apply(items[middle:])
            return
        [item] = items
        item.attempts += 1
        _log.error(
            "a record failed alone",
            topic=item.topic,
            partition=item.partition,
            offset=item.offset,
            attempt=item.attempts,
            error=type(error).__name__,
            at=place_of(error),
        )
        if item.attempts >= ATTEMPTS_MAX:
            self._poison(
                item,
                f"The worker failed on this record {item.attempts} times: {type(error).__name__}.",
            )
        self._apply([item])

    def _begin_trial(self, item: Item) -> None:
        """Count the try before it is made: one that kills the process can't be counted then."""
        ours = self._assignment.positions[item.topic, item.partition]
        trials = position.begin_trial(self._session.connection(), ours, item.offset)
        item.trial_begun = True
        if trials is not None and trials > ATTEMPTS_MAX:
            item.attempts = ATTEMPTS_MAX
            self._poison(item, f"The worker did not survive this record, {ATTEMPTS_MAX} times.")

    def _poison(self, item: Item, detail: str) -> None:
        where = f"{item.topic}/{item.partition}/{item.offset}"
        if _is_poisoned(item):
            raise WorkerStoppedError(
                f"not even the dead letter of {where} can be written: {detail}"
            )
        self._poisoned_in_a_row += 1
        if self._poisoned_in_a_row >= POISONED_IN_A_ROW_MAX:
            raise WorkerStoppedError(
                f"{POISONED_IN_A_ROW_MAX} poisoned records in a row, the last one {where}: this is "
                "the worker's fault, not theirs. Nothing of the last one was written; the log has "
                "the errors."
            )
        _log.error("poison: the record goes to the dead letters", record=where, detail=detail)
        item.content = DeadRecord("poison", detail)

    def _due(self, items: Sequence[Item]) -> list[Item]:
        """Those still ours under the epoch they were read in, and not yet answered."""
        due: list[Item] = []
        fenced: set[tuple[str, int]] = set()
        for item in items:
            key = (item.topic, item.partition)
            ours = self._assignment.positions.get(key)
            if ours is None or ours.epoch != item.epoch:
                fenced.add(key)
            elif item.offset >= ours.next_offset:
                due.append(item)
        if fenced:
            self._assignment.count_dropped(fenced)
            _log.warning(
                "fenced: others took partitions of the batch in hand; nothing of those was written",
                partitions=[f"{topic}/{partition}" for topic, partition in sorted(fenced)],
            )
        return due

    def _count_single(self, item: Item) -> None:
        key = (item.topic, item.partition)
        left = self._assignment.singly.get(key, 0) - 1
        if left > 0:
            self._assignment.singly[key] = left
        else:
            self._assignment.singly.pop(key, None)


def _report(items: Sequence[Item], tallies: Tallies, stage_s: dict[str, float]) -> BatchReport:
    outcomes: Counter[tuple[str, str]] = Counter()
    for (topic, _), tally in tallies.items():
        outcomes[topic, "result"] += tally.results
        outcomes[topic, "duplicate"] += tally.duplicates
        outcomes[topic, "query"] += tally.queries
        outcomes[topic, "dead_letter"] += tally.dead_letters
    stamped_ms = items[0].timestamp_ms
    age_s = max(0.0, time.time() - stamped_ms / 1000) if stamped_ms > 0 else None
    return BatchReport(outcomes, stage_s, age_s)


def _is_a_records(error: Exception, tries: int) -> bool:
    fault = fault_of(error)
    # Two batches don't meet so often: what looks like another's row is then our own mistake.
    return fault is Fault.RECORD or (fault is Fault.AGAIN and tries >= _AGAIN_MAX)


def _is_poisoned(item: Item) -> bool:
    return isinstance(item.content, DeadRecord) and item.content.reason == "poison"
