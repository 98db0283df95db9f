"""What the processes of a proof use: memory, file handles, connections, and the outbox's depth."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil
import psycopg

from tests.faults.proof_crew import Crew

_QUERIES = {
    "sessions": "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'wallet%'",
    "outbox": "SELECT coalesce(sum(record_count), 0)::bigint FROM outbox",
}


class Sample(NamedTuple):
    """What a process used at a moment, counted from the beginning; `pid` tells lives apart."""

    at_s: float
    pid: int
    memory_mb: float
    handles: int
    connections: int


@dataclass(slots=True)
class Sampler:
    """Looks every few seconds; a process or database that is away leaves a gap."""

    crew: Crew
    database_url: str
    interval_s: float
    processes: dict[str, list[Sample]] = field(default_factory=dict)
    # What the database says: sessions of ours, records in the outbox.
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

    def growth_mb(self, name: str) -> tuple[float, float] | None:
        """Of a process that lived from the first quarter on: its memory then and in the last one,
        in the mean; None where it did not.
        """
        samples = self.processes.get(name, [])
        quarter = len(samples) // 4
        if quarter < 2 or samples[quarter].pid != samples[-1].pid:
            return None
        early, late = samples[quarter : 2 * quarter], samples[-quarter:]
        return _mean([s.memory_mb for s in early]), _mean([s.memory_mb for s in late])

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.wait(self.interval_s):
            at_s = time.monotonic() - began_s
            for name, pid in self.crew.pids().items():
                sample = _look(at_s, pid)
                if sample is not None:
                    self.processes.setdefault(name, []).append(sample)
            for name, count in self._ask().items():
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


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
