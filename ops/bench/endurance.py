"""Endurance: half of the sustained rate for long, a transaction open in the middle of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection

from ops.bench.crew import Message
from ops.bench.failure import BenchError
from ops.bench.figure import Endurance, Sample, Stretch
from ops.bench.ground import Ground
from ops.bench.rig import STALL_S, Rig

_WARM_UP_S = 2
# The transaction is open from here to there, as shares of the time: a sixth, in the middle.
_OPENS, _ENDS = 5 / 12, 7 / 12
_INTERVAL_S_MAX = 5.0
_INTERVAL_S_MIN = 0.5
_SAMPLES = 60
# Of more commands than these not every one is timed, so that nobody has to remember millions.
_TIMED = 100_000
_TICK_S = 0.1
_LOAD, _READER = "load generator", "reader"

_OUTBOX = """
SELECT /* uncounted */ (SELECT count(*) FROM outbox), pg_total_relation_size('outbox'),
       (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = 'outbox'::regclass)
"""


def endure(rig: Rig, per_s: int, minutes: float) -> Endurance:
    """Run at this rate by an even timetable, after 2 s that don't count, and look what piles up.

    Raises BenchError where a result does not come.
    """
    ground, seconds = rig.ground, minutes * 60
    count = int(per_s * (_WARM_UP_S + seconds))
    every = -(-count // _TIMED)
    with rig.system(), ground.connect() as session:
        rig.await_workers("endurance")
        rig.read_from(ground.result_topic, count=count, sample_every=every)
        rig.start_load(ground.command_topic, "endure", count, rate_per_s=per_s, sample_every=every)
        watch = _Watch(rig, session, count, seconds)
        begins_s = watch.until(0.0)
        opens_s = watch.until(seconds * _OPENS)
        with _transaction(ground):
            ends_s = watch.until(seconds * _ENDS)
        over_s = watch.until(seconds)
        watch.finish()
        rig.crew.end(_LOAD, _READER)
        rig.published += count
        rig.settle("endurance: the outbox")
    moments = {"before": (begins_s, opens_s), "open": (opens_s, ends_s), "after": (ends_s, over_s)}
    stretches = [watch.stretch(name, *ends) for name, ends in moments.items()]
    return Endurance(per_s, seconds, count, every, watch.late_s_max, stretches, watch.samples)


@contextmanager
def _transaction(ground: Ground) -> Iterator[None]:
    """A report's or pg_dump's: from its query on, nothing deleted since is vacuumed away."""
    with ground.connect() as session:
        for timeout in ("idle_in_transaction_session_timeout", "transaction_timeout"):
            session.execute("SELECT set_config(%s, '0', false)", (timeout,))
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with session.transaction():
            session.execute("SELECT count(*) FROM accounts")
            yield


@dataclass(slots=True)
class _Watch:
    """Hears load generator and reader, matches what they tell, and samples what piles up."""

    rig: Rig
    session: Connection[Any]
    count: int
    seconds: float
    samples: list[Sample] = field(default_factory=list)
    late_s_max: float = 0.0
    _begins_s: float | None = None
    _read: int = 0
    _moved_at_s: float = field(default_factory=time.monotonic)
    _done: set[str] = field(default_factory=set)
    # When each was sent or its result came, where the other is not known yet; then both, matched:
    # the moment of sending and how long it took.
    _sent: dict[str, float] = field(default_factory=dict)
    _came: dict[str, float] = field(default_factory=dict)
    _waits: list[tuple[float, float]] = field(default_factory=list)

    def until(self, at_s: float) -> float:
        """Listen and sample until this moment, and once more then; when that was."""
        interval_s = min(_INTERVAL_S_MAX, max(_INTERVAL_S_MIN, self.seconds / _SAMPLES))
        while self._now_s() < at_s:
            self._listen()
            if self.samples and self._now_s() >= self.samples[-1].at_s + interval_s:
                self._sample()
        self._sample()
        return self.samples[-1].at_s

    def finish(self) -> None:
        """Listen until all is sent and read. Raises BenchError where a result does not come."""
        while len(self._done) < 2:
            self._listen()
        missing = len(self._sent) + len(self._came)
        if missing:
            raise BenchError(f"endurance: {missing} of {len(self._waits)} timed results are amiss")

    def stretch(self, name: str, begin_s: float, end_s: float) -> Stretch:
        """What was seen from one moment to another."""
        samples = [sample for sample in self.samples if begin_s <= sample.at_s <= end_s]
        origin_s = self._begins_s or 0.0
        waits = [wait for sent_s, wait in self._waits if begin_s <= sent_s - origin_s < end_s]
        return Stretch(name, samples, sorted(waits))

    def _now_s(self) -> float:
        """Seconds since the beginning, which is 2 s after the first command; below 0 before."""
        if self._begins_s is None:
            return float("-inf")
        return time.monotonic() - self._begins_s

    def _listen(self) -> None:
        """Take in what both have said meanwhile; waits for a moment. Raises BenchError."""
        for name, take in ((_LOAD, self._take_sent), (_READER, self._take_read)):
            timeout_s = _TICK_S
            while name not in self._done:
                message = self.rig.crew.receive(name, timeout_s)
                if message is None:
                    break
                take(message)
                if "done" in message:
                    self._done.add(name)
                timeout_s = 0.0
        for command_id in self._sent.keys() & self._came.keys():
            sent_s = self._sent.pop(command_id)
            self._waits.append((sent_s, self._came.pop(command_id) - sent_s))
        self.rig.progress.move(self._read)
        if time.monotonic() > self._moved_at_s + STALL_S:
            left = self.count - self._read
            raise BenchError(f"endurance: {left} results to come, and none for {STALL_S:.0f} s")

    def _take_sent(self, message: Message) -> None:
        self._sent |= message["sent"]
        if self._begins_s is None:
            self._begins_s = min(self._sent.values()) + _WARM_UP_S
            self.rig.progress.begin("endurance", self.count)
        self.late_s_max = message.get("late_s_max", self.late_s_max)

    def _take_read(self, message: Message) -> None:
        self._came |= message["read"]
        if message["count"] != self._read:
            self._read, self._moved_at_s = message["count"], time.monotonic()

    def _sample(self) -> None:
        rows, size, dead = self.session.execute(_OUTBOX).fetchone() or (0, 0, 0)
        memory = self.rig.meter.memory(self.rig.crew.pids())
        self.samples.append(Sample(self._now_s(), self._read, rows, size, dead or 0, memory))
