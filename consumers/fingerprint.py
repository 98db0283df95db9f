"""A command's content as 32 bytes: equal where the contract calls two contents the same."""

from hashlib import sha256
from typing import Any

import orjson
from jiter import LosslessFloat

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
    return sha256(f"{kind}\n".encode() + _canonical_json(canonical)).digest()


def _canonical_json(content: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(content, _number_as_written, orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits, which only refused content has
        return orjson.dumps(_with_integers_as_written(content), option=orjson.OPT_SORT_KEYS)


def _number_as_written(value: object) -> orjson.Fragment:
    if isinstance(value, LosslessFloat):
        return orjson.Fragment(bytes(value))
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def _with_integers_as_written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_integers_as_written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_integers_as_written(item) for item in value]
    if type(value) is int:
        return orjson.Fragment(str(value))
    return _number_as_written(value) if isinstance(value, LosslessFloat) else value
