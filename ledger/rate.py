"""The rate limit: a bucket of tokens per client and topic, filled by the records' own times."""

from dataclasses import dataclass
from datetime import datetime

# How far ahead of the database's clock a record's time may be and still fill the bucket.
_AHEAD_MAX_MS = 5_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many commands in a period, and as many at once after a pause of one."""

    count: int
    period_ms: int


@dataclass(slots=True)
class Bucket:
    """What is left of a limit. `level` is in tokens times the period, so that it stays whole.

    `level` None is a bucket nothing was ever taken from: full. `filled_at_ms` is the time of the
    newest record that it has seen.
    """

    level: int | None = None
    filled_at_ms: int = 0
    changed: bool = False

    def take(self, limit: RateLimit, sent_at_ms: int, now: datetime) -> bool:
        """Fill it up to the record's time and take a token; False where there is none.

        Its time never goes backwards, whatever a record says of its own, and never more than 5 s
        beyond `now`: a record from the future would fill the bucket for those that follow. One
        that stands further ahead was filled before the database's clock was set back.
        """
        latest_ms = int(now.timestamp() * 1000) + _AHEAD_MAX_MS
        self.filled_at_ms = min(self.filled_at_ms, latest_ms)
        at_ms = max(min(sent_at_ms, latest_ms), self.filled_at_ms)
        full = limit.count * limit.period_ms
        level = full if self.level is None else self.level
        level = min(full, level + (at_ms - self.filled_at_ms) * limit.count)
        taken = level >= limit.period_ms
        self.level = level - limit.period_ms if taken else level
        self.filled_at_ms, self.changed = at_ms, True
        return taken
