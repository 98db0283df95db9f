"""A command's content as 32 bytes: equal where the contract calls two contents the same."""

from hashlib import sha256
from typing import Any

import orjson

from consumers.strict_json import write_json

# They are about the sending, not about what is asked for.
_NOT_CONTENT = ("client_id", "occurred_at", "metadata")


def fingerprint(
    kind: str, content: dict[str, Any], *, currency: str | None, amount: str | None
) -> bytes:
    """The SHA-256 of a value without its nulls, sent to the topic `kind`.

    `currency` is filled in where the content names none, unless it is None; `amount` is the
    shortest text of a readable amount. An amount that can't be read stays as it came, in a list,
    so that it equals no readable one.
    """
    canonical = content.copy()
    for field in _NOT_CONTENT:
        canonical.pop(field, None)
    if currency is not None:
        canonical.setdefault("currency", currency)
    if amount is not None:
        canonical["amount"] = amount
    elif "amount" in canonical:
        canonical["amount"] = [canonical["amount"]]
    return sha256(f"{kind}\n".encode() + write_json(canonical, orjson.OPT_SORT_KEYS)).digest()
