"""Where fuzzing begins: good records of every type, the bad ones we know, and what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.command import COMMANDS
from schemas.request import REQUESTS
from tests.consumers.bad_input import BAD_INPUTS

FOUND = Path(__file__).parent / "corpus"
_VALUES_BYTES_MAX = 4_000

# A value that is in order for every field there is; a new field without one fails the tests.
GOOD: dict[str, Any] = {
    "client_id": "alice",
    "currency": "USD",
    "amount": "10.50",
    "reference": "Müller \U0001f600",
    "description": "",
    "metadata": {"a": "ü", "b": "line\nbreak"},
    "occurred_at": "2026-03-01T13:30:00.25+01:30",
    "to_client_id": "bob",
    "merchant_id": "shop-1",
    "original_command_id": "c-0",
    "hold_id": "h-1",
    "expires_at": "2027-03-01T13:30:00Z",
    "name": "Ada",
    "email": "ada@example.org",
    "phone": "+4915112345678",
    "limit": 50,
    "before": "17",
    "order_id": "o-1",
    "items": [{"sku": "a", "count": 2}, {"sku": "b", "price": 1.25}],
}


def good_values() -> list[tuple[int, dict[str, Any]]]:
    """A full value of each type, with 0 for a command and 1 for a request."""
    found = []
    for choice, models in enumerate((COMMANDS, REQUESTS)):
        for name, model in models.items():
            fields = {f: GOOD[f] for f in model.model_fields if f not in ("command_id", "type")}
            found.append((choice, {"command_id": "c-1", "type": name, **fields}))
    return found


def seeds() -> list[bytes]:
    """Bytes for `edge.record_of`."""
    values = [(choice, json.dumps(value).encode()) for choice, value in good_values()]
    values += [(i % 2, bad.value) for i, bad in enumerate(BAD_INPUTS) if bad.value is not None]
    short = [bytes((c, 0)) + value for c, value in values if len(value) <= _VALUES_BYTES_MAX]
    return [*short, *found_inputs()]


def found_inputs() -> list[bytes]:
    """What fuzzing has found so far, kept for good: one file each in `corpus`."""
    return [path.read_bytes() for path in sorted(FOUND.iterdir()) if path.suffix == ".bin"]


def words() -> list[bytes]:
    """What mutations are made of: names of fields, types, and values at their limits."""
    texts = {*GOOD, *COMMANDS, *REQUESTS, "command_id", "type", "USD", "JPY", "KWD", "COIN", "XAU"}
    texts |= {"1.00", "0", "-1", "1e5", "null", "true", "NaN", "9000000000000000", "1" * 4_400}
    texts |= {
        "\\u0000",
        "\\ud800",
        "\\ud83d\\ude00",
        "\x00",
        "\u202e",
        "\uff11",
        "{",
        "}",
        "[",
        "]",
    }
    return [f'"{text}"'.encode() for text in sorted(texts)] + [t.encode() for t in sorted(texts)]
