"""A measurement with all that is around it: ground, processes, signals, and an end in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ops.bench.condition import conditions
from ops.bench.crew import Crew
from ops.bench.figure import Figures
from ops.bench.ground import ground
from ops.bench.measure import Measurement
from ops.bench.meter import Meter
from ops.bench.plan import Plan
from ops.bench.progress import progress
from ops.bench.rig import Rig
from ops.bench.statement import Statements
from ops.cli.place import Place

_TERMINATED = 128 + signal.SIGTERM


def run_bench(place: Place, plan: Plan) -> tuple[dict[str, Any], Figures]:
    """Measure on the place's servers; gives the conditions and the figures.

    Makes a database and topics and deletes them. However this process ends, SIGKILL included, its
    processes end too; after SIGKILL database and topics stay. Raises BenchError, psycopg.Error,
    KafkaException.
    """
    with _sigterm_as_exit(), ground(place, plan) as made:
        found = conditions(made, plan)
        with (
            Meter(made) as meter,
            made.connect() as session,
            Crew(made.environ) as crew,
            progress() as shown,
        ):
            rig = Rig(plan, made, crew, meter, shown)
            return found, Measurement(rig, Statements(session)).run()


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Have SIGTERM unwind the stack, so that what was made is deleted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
