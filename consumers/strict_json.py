"""JSON as the contract takes it: strict, each number known by its own text."""

import re
from typing import Any

import orjson
from jiter import LosslessFloat, from_json

# Python's own limit on the digits of an integer, which jiter keeps to.
_DIGITS_MAX = 4_300
# A string (to the end of the value if nothing closes it, so that the search stays linear), or a
# number in its parts.
_STRING_OR_NUMBER = re.compile(
    rb'"(?:[^"\\]|\\.)*+"?|(-?)([0-9]++)((?:\.[0-9]++)?)((?:[eE][+-]?[0-9]++)?)', re.DOTALL
)


def parse_json(value: bytes) -> object:
    """The value as Python has it; a number with a point or an exponent is a LosslessFloat.

    Raises ValueError for anything but one UTF-8 JSON text: also for a byte order mark, NaN and
    Infinity, lone surrogates, duplicate keys at any depth and nesting beyond 200.
    """
    try:
        return _parse(value)
    except ValueError as error:
        if "number out of range" not in str(error):
            raise
    # Such a number is JSON all the same, only no amount: it goes in with another spelling.
    return _parse(_STRING_OR_NUMBER.sub(_respelt, value))


def _parse(value: bytes) -> object:
    return from_json(
        value, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="lossless-float"
    )


def _respelt(found: re.Match[bytes]) -> bytes:
    """A number of thousands of digits before its point as `1.234…e0`; all else as it is."""
    sign, whole, decimals, exponent = found.groups()
    if whole is None or len(whole) < _DIGITS_MAX or whole.startswith(b"0"):
        return found[0]
    return b"%b%b.%b%b%b" % (sign, whole[:1], whole[1:], decimals[1:], exponent or b"e0")


def number_text(value: object) -> str | None:
    """The text of a JSON number as `parse_json` gave it, None for everything else (true, too)."""
    if type(value) is LosslessFloat:
        return str(value)
    return str(value) if type(value) is int else None


def write_json(value: Any, option: int | None = None) -> bytes:
    """What `parse_json` gave as JSON again, each number as it was written; `option` is orjson's."""
    try:
        return orjson.dumps(value, _number_as_written, option)
    except TypeError:  # an integer beyond 64 bits
        return orjson.dumps(_with_integers_as_written(value), option=option)


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
