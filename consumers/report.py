"""What a worker tells of each batch it has committed: for metrics and the log, once a batch."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class BatchReport(NamedTuple):
    """One committed batch.

    `outcomes` counts its records by real topic and outcome (`result`, `duplicate`, `query`,
    `dead_letter`), `stage_s` says how long each stage took. `age_s` is from when the broker or the
    producer stamped the first record to the commit, None where it has no timestamp.
    """

    outcomes: Mapping[tuple[str, str], int]
    stage_s: Mapping[str, float]
    age_s: float | None


# Called in the worker's thread after each commit: it must neither block nor raise.
OnBatch = Callable[[BatchReport], None]


class StageClock:
    """Splits a batch's time by its stages; `stage_s` is of the newest one, in seconds."""

    __slots__ = ("_at", "stage_s")

    def __init__(self) -> None:
        self.stage_s: dict[str, float] = {}
        self._at = time.perf_counter()

    def start(self) -> None:
        """A batch begins."""
        self.stage_s = {}
        self._at = time.perf_counter()

    def lap(self, stage: str) -> None:
        """This stage ends here, and another one begins; a stage may come more than once."""
        now = time.perf_counter()
        self.stage_s[stage] = self.stage_s.get(stage, 0.0) + now - self._at
        self._at = now
