"""What the stub remembers: which keys it has fulfilled under which id, and when it was called."""

import time
from collections import Counter
from typing import Any


class Record:
    """A key is fulfilled once: whoever calls with it again is given the first id."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self.ids: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.without_key = 0
        self.per_second: Counter[int] = Counter()

    def call(self, key: str | None) -> None:
        """Count a call."""
        self.per_second[int(time.monotonic() - self._began_s)] += 1
        if key is None:
            self.without_key += 1
        else:
            self.calls[key] += 1

    def fulfill(self, key: str | None) -> str:
        """The id under which the key's order is fulfilled, now or before. No key, always anew."""
        known = None if key is None else self.ids.get(key)
        if known is not None:
            return known
        made = f"F-{len(self.ids) + self.without_key:08d}"
        if key is not None:
            self.ids[key] = made
        return made

    def summary(self) -> dict[str, Any]:
        """The counts, and how many calls came in each second since the start, the last 600."""
        now = int(time.monotonic() - self._began_s)
        seconds = range(max(0, now - 599), now + 1)
        return {
            "calls": sum(self.calls.values()) + self.without_key,
            "keys": len(self.calls),
            "fulfilled": len(self.ids),
            "without_key": self.without_key,
            "calls_per_second": [self.per_second[second] for second in seconds],
        }

    def orders(self) -> dict[str, dict[str, Any]]:
        """Each key's calls, and its id once it is fulfilled."""
        return {key: {"calls": calls, "id": self.ids.get(key)} for key, calls in self.calls.items()}
