"""What a measurement is to measure."""

from collections.abc import Sequence
from dataclasses import dataclass

# The baseline is so much slower that a round of its own with fewer commands takes about as long.
_BASELINE_SHARE = 20
_BASELINE_COUNT_MIN = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: `seconds` ends a round early, `baseline` has it compared.

    `warm_up` commands go before the first round and count for nothing; 0 for none.
    `workers` are how many work at a time: of several counts the first is everything's, and each
    has rounds of its own. `orders` is the number of a round of orders, `preload` of transactions
    that make the tables grow, with `preload_clients` more clients, `endure_minutes` how long half
    of the rate is kept up; 0 for none. `others` adds rounds
    of other loads. What a round left behind would be counted as the next one's: with `others`,
    `preload` or several counts of workers `seconds` has to be None.
    """

    commands: int
    clients: int
    seconds: float | None
    latency_rate_per_s: int
    latency_seconds: int
    workers: Sequence[int]
    baseline: bool
    others: Sequence[str] = ()
    orders: int = 0
    ladder: bool = False
    preload: int = 0
    preload_clients: int = 0
    warm_up: int = 0
    endure_minutes: float = 0.0

    @property
    def baseline_commands(self) -> int:
        """How many commands a round of the baseline has."""
        return min(self.commands, max(_BASELINE_COUNT_MIN, self.commands // _BASELINE_SHARE))
