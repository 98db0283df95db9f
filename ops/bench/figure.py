"""The figures of a measurement, and how they are added up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ops.bench.meter import OTHERS, Usage, total
from ops.bench.statement import Uses, together
from ops.bench.storage import Relation, Storage
from ops.bench.worker import STAGES


class StageTime(NamedTuple):
    """Seconds by the clock on the wall, and of the worker's thread on a core."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What tables and log took before and after a round, and what its statements used."""

    before: Storage = field(default_factory=Storage)
    after: Storage = field(default_factory=Storage)
    statements: Uses = field(default_factory=dict)

    def grown_bytes(self, relation: Relation) -> int:
        """By how much a table or an index grew; negative where its end was given back."""
        return self.after.bytes.get(relation, 0) - self.before.bytes.get(relation, 0)


@dataclass(frozen=True, slots=True)
class Round:
    """Commands that waited in the topic, answered: `count` of them were counted, in `seconds`.

    `cpu` are the seconds used meanwhile, by part. `stages` are what the workers' stages took over
    all of the round's `records`, those before and after the counted ones included; `load_cpu_s`
    is what publishing all of them took, `cost` what they cost the database. `checkpoint_s` is how
    long the checkpoint in its middle took; None where there was none.
    """

    count: int
    seconds: float
    cpu: Usage
    records: int = 0
    stages: Mapping[str, StageTime] = field(default_factory=dict)
    load_cpu_s: float = 0.0
    cost: Cost = field(default_factory=Cost)
    checkpoint_s: float | None = None

    @property
    def per_s(self) -> float | None:
        """Answers a second; None where too few were counted to tell."""
        return self.count / self.seconds if self.seconds else None

    @property
    def cores_of_others(self) -> float | None:
        """How many cores everything else on the machine kept busy meanwhile."""
        return self.cpu.get(OTHERS, 0.0) / self.seconds if self.seconds else None


def rate(rounds: Sequence[Round]) -> float | None:
    """Answers a second over all rounds."""
    seconds = sum(r.seconds for r in rounds)
    return sum(r.count for r in rounds) / seconds if seconds else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """How many times theirs ours is."""
    return None if ours is None or not theirs else ours / theirs


def cpu_s_per_1000(rounds: Sequence[Round]) -> Usage:
    """CPU seconds per 1,000 answers, by part."""
    count = sum(r.count for r in rounds)
    return {part: s / count * 1000 for part, s in total(r.cpu for r in rounds).items() if count}


def stages_per_1000(rounds: Sequence[Round]) -> dict[str, StageTime]:
    """What each stage of a worker took per 1,000 commands."""
    thousands = max(1, sum(r.records for r in rounds)) / 1000
    return {
        name: StageTime(
            sum(r.stages[name].wall_s for r in rounds) / thousands,
            sum(r.stages[name].cpu_s for r in rounds) / thousands,
        )
        for name in STAGES
    }


def statements_per_1000(rounds: Sequence[Round]) -> Uses:
    """What each statement used per 1,000 commands, most of the time first."""
    thousands = max(1, sum(r.records for r in rounds)) / 1000
    summed = together(r.cost.statements for r in rounds)
    return {name: use.per(thousands) for name, use in summed.items()}


@dataclass(frozen=True, slots=True)
class Latency:
    """From just before a command was produced to the moment its result was read, in seconds.

    `late_s_max`: by how much the generator missed its own timetable at worst.
    """

    rate_per_s: int
    seconds: int
    sorted_s: Sequence[float]
    late_s_max: float

    def percentile_ms(self, share: float) -> float:
        """The least latency that this share of all did not exceed (nearest rank)."""
        return _percentile(self.sorted_s, share) * 1000


@dataclass(frozen=True, slots=True)
class Growth:
    """A round before the tables grew and two after: of the same clients, and of all of them.

    `transactions` of `clients` more were loaded in `preload_s`.
    """

    small: Round
    same: Round
    spread: Round
    transactions: int
    clients: int
    preload_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """How things stood `at_s` seconds after the beginning of an endurance run.

    `read` results had been read by then; memory is by process, without what it shares.
    """

    at_s: float
    read: int
    outbox_rows: int
    outbox_bytes: int
    dead_tuples: int
    memory_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an endurance run: its samples, the first and the last at its ends, and the timed
    latencies of what was sent in it, in seconds.
    """

    name: str
    samples: Sequence[Sample]
    sorted_s: Sequence[float]

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.samples[-1].at_s - self.samples[0].at_s

    @property
    def per_s(self) -> float:
        """Results read a second."""
        return (self.samples[-1].read - self.samples[0].read) / self.seconds

    def percentile_ms(self, share: float) -> float | None:
        """As `Latency`'s; None where nothing was timed."""
        return _percentile(self.sorted_s, share) * 1000 if self.sorted_s else None


@dataclass(frozen=True, slots=True)
class Endurance:
    """`count` commands at an even rate, one in `timed_every` timed, while in the middle stretch,
    `open`, another session kept a transaction open. `late_s_max` is the load generator's.
    """

    rate_per_s: int
    seconds: float
    count: int
    timed_every: int
    late_s_max: float
    stretches: Sequence[Stretch]
    samples: Sequence[Sample]


def _percentile(sorted_values: Sequence[float], share: float) -> float:
    return sorted_values[max(1, math.ceil(share * len(sorted_values))) - 1]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured. `shared`, by how many workers shared the work, `others`, by
    their loads, `baseline` and `orders` are empty where they were left out; `orders` are by how
    long the fulfillment service took for each, in milliseconds. `latency_at_half` is at half of the
    rate of `ours`, None where that is not known. The ladders are latencies at rising rates, to
    saturation.

    `load_cpu_s_per_1000` are the load generator's per 1,000 commands of `ours`.
    """

    ours: Sequence[Round]
    shared: Mapping[int, Sequence[Round]]
    others: Mapping[str, Sequence[Round]]
    baseline: Sequence[Round]
    orders: Sequence[tuple[int, Round]]
    load_cpu_s_per_1000: float
    latency: Latency
    latency_at_half: Latency | None
    ladder: Sequence[Latency]
    baseline_ladder: Sequence[Latency]
    endurance: Endurance | None
    growth: Growth | None
    left_out: Sequence[str]
    books_hold: bool
