"""Which fault comes when, drawn from a seed: the same seed, the same schedule."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.faults.proof_fault import FAULTS, PARTS

_TWO_AT_ONCE = 0.25
_PAUSE_S = (0.5, 4.0)


class Step(NamedTuple):
    """One fault, or two at the same time, after a pause. `seeds` draws the details of each."""

    pause_s: float
    kinds: tuple[str, ...]
    seeds: tuple[int, ...]


def schedule(seed: int, kinds: Iterable[str] = FAULTS) -> Iterator[Step]:
    """Steps without end: every kind alone first, in a drawn order, then drawn kinds."""
    chance = random.Random(seed)
    names = list(kinds)
    chance.shuffle(names)
    for name in names:
        yield _step(chance, (name,))
    while True:
        first = chance.choice(names)
        others = [name for name in names if not PARTS[name] & PARTS[first]]
        both = chance.random() < _TWO_AT_ONCE
        yield _step(chance, (first, chance.choice(others)) if both else (first,))


def _step(chance: random.Random, kinds: tuple[str, ...]) -> Step:
    pause_s = chance.uniform(*_PAUSE_S)
    return Step(pause_s, kinds, tuple(chance.randrange(2**32) for _ in kinds))
