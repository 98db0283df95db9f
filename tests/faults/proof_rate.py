"""How much the whole of a proof sustains, traffic and readers too: a soak runs at half of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from tests.faults.proof_sample import DUE
from tests.faults.proof_traffic import Downstream, Upstream

_WARM_UP_S = 30.0
_MEASURED_S = 30.0
# Sent and not yet answered: more than one batch of each worker, less than a second's work. What is
# answered is made up for so often, and the orders that are due are counted so often.
_WINDOW = 2_000
_TICK_S = 0.005
_DUE_MAX = 200
_LOOK_S = 0.5
_DRAINED_TIMEOUT_S = 120.0


def measure_rate(
    upstream: Upstream, downstream: Downstream, database_url: str, say: Callable[[str], None]
) -> float:
    """Send as fast as commands are answered and orders fulfilled, for a minute; answers per second
    in its second half. Returns when all is answered. Raises TimeoutError where that takes too long.
    """
    say(f"Measuring what is sustained, for {_WARM_UP_S + _MEASURED_S:.0f} s…")
    with psycopg.connect(database_url, autocommit=True) as session:
        _press(upstream, downstream, session, _WARM_UP_S)
        began_s, answered = time.monotonic(), downstream.count
        _press(upstream, downstream, session, _MEASURED_S)
        rate_per_s = (downstream.count - answered) / (time.monotonic() - began_s)
    if not downstream.await_count(upstream.sent, _DRAINED_TIMEOUT_S):
        raise TimeoutError(f"{downstream.count} of {upstream.sent} commands are answered")
    say(f"{rate_per_s:.0f} commands/s are sustained, orders among them.")
    return rate_per_s


def _press(
    upstream: Upstream, downstream: Downstream, session: psycopg.Connection, seconds: float
) -> None:
    """Keep the window full, but for while too many orders are due."""
    ends_at_s = time.monotonic() + seconds
    is_behind, looked_at_s = False, 0.0
    while (now_s := time.monotonic()) < ends_at_s:
        if now_s > looked_at_s + _LOOK_S:
            row = session.execute(DUE).fetchone()
            is_behind, looked_at_s = row is not None and row[0] > _DUE_MAX, now_s
        room = _WINDOW - (upstream.sent - downstream.count)
        upstream.send(0 if is_behind else min(room, _WINDOW // 10))
        time.sleep(_TICK_S)
