"""How much the whole of a proof sustains, traffic and readers too: a soak runs at half of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from tests.faults.proof_traffic import Downstream, Upstream

_WARM_UP_S = 30.0
_MEASURED_S = 30.0
# Sent and not yet answered: more than one batch of each worker, less than a second's work.
_WINDOW = 2_000
_DUE_MAX = 200
_LOOK_S = 0.5
_DRAINED_TIMEOUT_S = 120.0
_DUE = "SELECT count(*) FROM fulfillments WHERE due_at <= statement_timestamp()"


def measure_rate(
    upstream: Upstream, downstream: Downstream, database_url: str, say: Callable[[str], None]
) -> float:
    """Send as fast as commands are answered and orders fulfilled, for a minute; answers per second
    in its second half. Returns when all is answered. Raises TimeoutError where that takes too long.
    """
    say(f"Measuring what is sustained, for {_WARM_UP_S + _MEASURED_S:.0f} s…")
    with psycopg.connect(database_url, autocommit=True) as session:
        began_s, is_behind, looked_at_s = time.monotonic(), False, 0.0
        warm_at_s, answered = 0.0, 0
        while (now_s := time.monotonic()) < began_s + _WARM_UP_S + _MEASURED_S:
            if now_s > looked_at_s + _LOOK_S:
                row = session.execute(_DUE).fetchone()
                is_behind, looked_at_s = row is not None and row[0] > _DUE_MAX, now_s
            if not warm_at_s and now_s > began_s + _WARM_UP_S:
                warm_at_s, answered = now_s, downstream.count
            waiting = upstream.sent - downstream.count
            upstream.send(0 if is_behind else min(_WINDOW - waiting, _WINDOW // 10))
            time.sleep(0.005)
        rate_per_s = (downstream.count - answered) / (now_s - warm_at_s)
    deadline = time.monotonic() + _DRAINED_TIMEOUT_S
    while downstream.count < upstream.sent:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{downstream.count} of {upstream.sent} commands are answered")
        upstream.send(0)
        time.sleep(0.05)
    say(f"{rate_per_s:.0f} commands/s are sustained, orders among them.")
    return rate_per_s
