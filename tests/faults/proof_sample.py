"""What the processes of a proof use: memory, file handles, connections, and the outbox's depth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil
import psycopg

from tests.faults.proof_crew import Crew

# Orders whose next call should be made by now.
DUE = "SELECT count(*) FROM fulfillments WHERE due_at <= statement_timestamp()"
_QUERIES = {
    "sessions": "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'wallet%'",
    "outbox": "SELECT coalesce(sum(record_count), 0)::bigint FROM outbox",
    "due": DUE,
}
# What a process may use more of in a run's last quarter than in its third. Before, it grows to what
# its largest backlog takes: memory that was freed goes back to the system in part only. A run
# whose last quarter is earlier than this says nothing.
_LEAK_AFTER_S = 1_000.0
_MEMORY_GROWTH = 1.08
_COUNT_GROWTH = 2.0


class Sample(NamedTuple):
    """What a process used at a moment, counted from the beginning; `pid` tells lives apart."""

    at_s: float
    pid: int
    memory_mb: float
    handles: float
    connections: float


class Growth(NamedTuple):
    """What a process used in the third quarter of a run and in the last, in the mean."""

    early: Sample
    late: Sample


@dataclass(slots=True)
class Sampler:
    """Looks every few seconds; a process or database that is away leaves a gap. `waiting` tells how
    many commands are sent and not answered.
    """

    crew: Crew
    database_url: str
    interval_s: float
    waiting: Callable[[], int]
    processes: dict[str, list[Sample]] = field(default_factory=dict)
    # What the database says (sessions of ours, records in the outbox, orders that are due), and
    # what waits.
    counts: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def growth(self, name: str) -> Growth | None:
        """Of a process that lived from the first half on; None where it did not."""
        samples = self.processes.get(name, [])
        quarter = len(samples) // 4
        if quarter < 2 or samples[2 * quarter].pid != samples[-1].pid:
            return None
        return Growth(_mean(samples[2 * quarter : 3 * quarter]), _mean(samples[-quarter:]))

    def leaks(self, names: Iterable[str]) -> list[str]:
        """A sentence for each thing that a process used more and more of."""
        found = []
        for name in names:
            growth = self.growth(name)
            if growth is None or growth.late.at_s < _LEAK_AFTER_S:
                continue
            early, late = growth
            if late.memory_mb > early.memory_mb * _MEMORY_GROWTH:
                found.append(f"{name} grew from {early.memory_mb:.0f} to {late.memory_mb:.0f} MB")
            if late.handles > early.handles + _COUNT_GROWTH:
                found.append(f"{name} had {early.handles:.0f}, then {late.handles:.0f} handles")
            if late.connections > early.connections + _COUNT_GROWTH:
                found.append(
                    f"{name} had {early.connections:.0f}, then {late.connections:.0f} connections"
                )
        return found

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.wait(self.interval_s):
            at_s = time.monotonic() - began_s
            for name, pid in self.crew.pids().items():
                sample = _look(at_s, pid)
                if sample is not None:
                    self.processes.setdefault(name, []).append(sample)
            for name, count in (self._ask() | {"waiting": self.waiting()}).items():
                self.counts.setdefault(name, []).append((at_s, count))

    def _ask(self) -> dict[str, int]:
        try:
            with psycopg.connect(self.database_url, autocommit=True, connect_timeout=2) as session:
                rows = {n: session.execute(q.encode()).fetchone() for n, q in _QUERIES.items()}
        except psycopg.OperationalError:  # killed, and not back yet
            return {}
        return {name: row[0] for name, row in rows.items() if row}


def _look(at_s: float, pid: int) -> Sample | None:
    try:
        process = psutil.Process(pid)
        memory_mb = process.memory_info().rss / 2**20
        connections = len(process.net_connections(kind="all"))
        return Sample(at_s, pid, memory_mb, process.num_fds(), connections)
    except psutil.Error:  # it was killed just now
        return None


def _mean(samples: list[Sample]) -> Sample:
    """The mean of each; all of one life."""
    at_s, _, *used = (sum(values) / len(samples) for values in zip(*samples, strict=True))
    return Sample(at_s, samples[0].pid, *used)
