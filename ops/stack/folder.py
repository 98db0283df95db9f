"""The files of one stack's data folder, and the locks that keep two processes apart."""

from __future__ import annotations

import fcntl
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Folder:
    """The paths below one data folder; nothing is made by asking for one."""

    root: Path

    @property
    def plan(self) -> Path:
        """What the supervisor is to run, written anew at each start."""
        return self.root / "plan.json"

    @property
    def state(self) -> Path:
        """What the supervisor says about its processes."""
        return self.root / "state.json"

    @property
    def ready(self) -> Path:
        """Names the supervisor whose servers have answered."""
        return self.root / "ready"

    @property
    def start_lock(self) -> Path:
        """Held by whoever starts or stops this stack."""
        return self.root / "start.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor for as long as it lives: no process id can say that as surely."""
        return self.root / "supervisor.lock"

    @property
    def kafka(self) -> Path:
        """Kafka's data."""
        return self.root / "kafka"

    @property
    def kafka_properties(self) -> Path:
        """Kafka's settings."""
        return self.root / "kafka.properties"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data."""
        return self.root / "postgres"

    @property
    def log(self) -> Path:
        """The folder of all logs."""
        return self.root / "log"


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the file, or an empty one if there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content


def read_tail(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last lines of a log, or none if there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as log:
            return tuple(line.rstrip() for line in deque(log, maxlen=lines))
    except FileNotFoundError:
        return ()


def is_locked(path: Path) -> bool:
    """Say whether some process holds the lock at this moment."""
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock; where another process has it, call `waiting` once and wait for it."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
