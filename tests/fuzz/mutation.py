"""Changes to records: of a value's fields, and of its bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from schemas.command import COMMANDS
from schemas.request import REQUESTS
from tests.fuzz.seed import GOOD, seeds, words

_WORDS = words()
_TYPES = [*COMMANDS, *REQUESTS]
_AT_LIMITS: list[Any] = [
    *("", " ", "0", "-1", "1.00", "1.005", "1e5", "90000000000000.00", "x" * 64, "x" * 256),
    *(0, 1, 100, 101, -1, 1.5, 1e300, 10**18, 10**400, True, None, [], {}, ["a"], {"a": "b"}),
    *({"a": 1}, {"a": None}, {"a": {"b": "c"}}, {"a": "m" * 4_090}, "USD", "JPY", "COIN", "XXX"),
    *(
        "alice",
        "bob",
        "c-0",
        "c-1",
        "h-1",
        "o-1",
        "o-2",
        "o-3",
        "2026-02-30T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ),
    *("9999-12-31T23:59:59.999999999-14:00", "2026-03-01T12:00:60Z", [[[[]]]], "9" * 19),
]


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """So many inputs, the same for the same seed: known ones, changed as values or as bytes."""
    chance, known = random.Random(seed), seeds()
    for _ in range(count):
        data = chance.choice(known)
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            data = mutate(chance, data)
        yield data


def mutate(chance: random.Random, data: bytes) -> bytes:
    """One change. Two of three leave the value an object of JSON, so that it goes on from there."""
    if chance.random() < 2 / 3:
        try:
            value = json.loads(data[2:])
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            _change_field(chance, value)
            return data[:2] + json.dumps(value).encode()
    damaged = bytearray(data)
    _damage(chance, damaged)
    return bytes(damaged)


def _change_field(chance: random.Random, value: dict[str, Any]) -> None:
    names = sorted({*value, *GOOD})
    name = chance.choice(names)
    match chance.randrange(6):
        case 0:
            value.pop(chance.choice(sorted(value)), None) if value else None
        case 1:
            value[name] = GOOD.get(name)
        case 2:
            value[name] = value.get(chance.choice(names))
        case 3:
            value[name] = chance.choice(_AT_LIMITS)
        case 4:
            value["type"] = chance.choice(_TYPES)
        case _:
            text = str(value.get(name))
            at = chance.randrange(len(text) + 1)
            value[name] = text[:at] + chance.choice("\x00\ud800 aZ0.9-+@é\u202e") + text[at:]


def _damage(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + int(chance.expovariate(0.1)))
    match chance.randrange(6):
        case 0:
            data[start:end] = b""
        case 1:
            data[start:end] = chance.choice(_WORDS)
        case 2:
            data[start:start] = chance.choice(_WORDS)
        case 3:
            data[start:end] = chance.randbytes(chance.randrange(1, 5))
        case 4:
            data[start:start] = bytes(data[start:end]) * chance.randrange(1, 40)
        case _:
            data[0:2] = chance.randbytes(2)
