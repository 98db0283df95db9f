"""The worker as it is deployed, with a clock around each stage: none is built into its hot path."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from threading import Event
from typing import Any

from consumers.batch import Ledger
from consumers.precedence import take_nice
from consumers.session import Session
from consumers.worker import Worker
from ops.bench.crew import tell
from schemas.settings import Settings

# What a batch goes through, in order, and which methods do it.
_STAGES: dict[str, tuple[tuple[type, str], ...]] = {
    "poll": ((Worker, "_poll"), (Worker, "_read_ahead")),
    "decode": ((Session, "_decode"),),
    "load": ((Ledger, "load"),),
    "decide": ((Ledger, "decide"),),
    "write": ((Ledger, "write"),),
    "commit": ((Ledger, "commit"),),
}
STAGES = tuple(_STAGES)


@dataclass(slots=True)
class Stage:
    """The time that one stage took so far: by the clock on the wall, and of this thread's CPU."""

    calls: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


def run_worker(settings: Settings, _arguments: dict[str, Any], stop: Event) -> None:
    """Work as `wallet run worker` does until `stop` is set.

    Says {"assigned"} when it has partitions, and at last {"records", "stages"}.
    """
    if settings.database_url is None:
        raise ValueError("the worker is started with DATABASE_URL")
    take_nice(settings.worker_nice)
    records, assigned = 0, False

    def polled(items: Any) -> bool:
        nonlocal records, assigned
        records += len(items)
        if not assigned and worker.assignment.positions:
            assigned = True
            tell({"assigned": True})
        return bool(items)

    stages, clock = {name: Stage() for name in _STAGES}, _Clock()
    for name, methods in _STAGES.items():
        for owner, method in methods:
            counts = polled if method == "_poll" else _always
            setattr(owner, method, clock.timed(getattr(owner, method), stages[name], counts))
    worker = Worker(settings, database_url=settings.database_url.get_secret_value())
    worker.run(stop)
    tell({"records": records, "stages": {name: asdict(s) for name, s in stages.items()}})


@dataclass(slots=True)
class _Clock:
    """Times calls that may be made within each other: each stage without the others."""

    wall_s: float = 0.0  # of all stages that have ended
    cpu_s: float = 0.0

    def timed(
        self, call: Callable[..., Any], stage: Stage, counts: Callable[[Any], bool]
    ) -> Callable[..., Any]:
        """The same call, its time added to the stage's where what it returns counts."""

        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            wall_s, cpu_s = time.perf_counter() - self.wall_s, time.thread_time() - self.cpu_s
            result = call(*args, **kwargs)
            wall_s = time.perf_counter() - self.wall_s - wall_s
            cpu_s = time.thread_time() - self.cpu_s - cpu_s
            self.wall_s += wall_s
            self.cpu_s += cpu_s
            if counts(result):  # a poll that waited for nothing is no work
                stage.calls += 1
                stage.wall_s += wall_s
                stage.cpu_s += cpu_s
            return result

        return timed


def _always(_result: Any) -> bool:
    return True
