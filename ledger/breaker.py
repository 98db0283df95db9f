"""The circuit breaker of the fulfillment API: opened by a run of failures, probed, ramped up."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, NamedTuple

# So many transient failures in a row, over at least two orders, open it: a lone order whose every
# call fails is that order's trouble.
FAILURES_IN_A_ROW: Final = 5
# After it has closed: so many calls in the first second, and so many more in each further one.
RAMP_START_PER_S: Final = 20.0
RAMP_GROWTH_PER_S: Final = 40.0
_RAMP_SAVED_S: Final = 0.2


class Pace(NamedTuple):
    """The operator's settings: seconds between two probes, and for how long calls ramp up."""

    probe_s: float = 1.0
    ramp_s: float = 30.0


class BreakerState(IntEnum):
    """As the metric shows it."""

    CLOSED = 0
    RAMPING = 1
    OPEN = 2


@dataclass(slots=True)
class Breaker:
    """The one row. Its methods are called under the row's lock, with the database's clock.

    `failures` is the length of the run of transient failures, `run_order` its first order,
    `run_is_lone` that there was no other in it. It is open where `opened_at` is set; `probe_at` is
    then when the next probe may be made. `ramp_from` is when it last closed, None once calls are
    free again, `granted` how many have been handed out since.
    """

    failures: int = 0
    run_order: str | None = None
    run_is_lone: bool = True
    opened_at: datetime | None = None
    probe_at: datetime | None = None
    ramp_from: datetime | None = None
    granted: int = 0

    @property
    def state(self) -> BreakerState:
        """Closed, ramping up, or open."""
        if self.opened_at is not None:
            return BreakerState.OPEN
        return BreakerState.CLOSED if self.ramp_from is None else BreakerState.RAMPING

    @property
    def is_calm(self) -> bool:
        """Whether it is closed and without a failure, so that an answer changes nothing of it."""
        return self.opened_at is None and self.failures == 0

    def fail(self, order: str, now: datetime, pace: Pace) -> bool:
        """Count a transient failure of an order's call; whether it has opened just now."""
        if self.opened_at is not None:
            return False
        if self.failures == 0:
            self.run_order, self.run_is_lone = order, True
        self.failures += 1
        self.run_is_lone = self.run_is_lone and order == self.run_order
        if self.failures < FAILURES_IN_A_ROW or self.run_is_lone:
            return False
        self.opened_at, self.probe_at = now, now + timedelta(seconds=pace.probe_s)
        self.ramp_from, self.granted = None, 0
        return True

    def answer(self, now: datetime) -> bool:
        """The API has answered, be it with a refusal; whether it has closed just now."""
        self.failures, self.run_order, self.run_is_lone = 0, None, True
        if self.opened_at is None:
            return False
        self.opened_at = self.probe_at = None
        self.ramp_from, self.granted = now, 0
        return True

    def grant(self, wanted: int, now: datetime, pace: Pace) -> int:
        """How many of the wanted calls may begin now; they count as handed out."""
        if self.opened_at is not None:
            if wanted < 1 or self.probe_at is None:
                return 0
            # Further ahead than that it was set before the clock was set back.
            if now < self.probe_at <= now + timedelta(seconds=pace.probe_s):
                return 0
            self.probe_at = now + timedelta(seconds=pace.probe_s)
            return 1
        if self.ramp_from is None:
            return wanted
        if now < self.ramp_from:  # it closed before the clock was set back
            self.ramp_from, self.granted = now, 0
        seconds = (now - self.ramp_from).total_seconds()
        if seconds >= pace.ramp_s:
            self.ramp_from, self.granted = None, 0
            return wanted
        rate_per_s = RAMP_START_PER_S + RAMP_GROWTH_PER_S * seconds
        allowed = (RAMP_START_PER_S + rate_per_s) / 2 * seconds
        # What was not asked for in time is gone: it would come as a burst.
        self.granted = max(self.granted, int(allowed - rate_per_s * _RAMP_SAVED_S))
        granted = max(0, min(wanted, int(allowed) - self.granted))
        self.granted += granted
        return granted
