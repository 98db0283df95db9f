"""Amounts: text to minor units and back. Never a float, anywhere."""

import re
from typing import Final

# The largest amount and the largest balance, in minor units: a signed 64-bit integer and a JSON
# reader's double both hold it exactly.
AMOUNT_MINOR_MAX: Final = 9_000_000_000_000_000

_AMOUNT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
# No valid amount of any scale up to 8 is as long; int() never sees more.
_CHARACTERS_MAX = 32
_SIGNIFICANT_DIGITS_MAX = 15
_TENS = tuple(10**n for n in range(20))


def parse_text(text: str, scale: int) -> int | None:
    r"""The minor units of an amount written as a string, such as `1000.50`; None: invalid.

    Valid is ASCII `(0|[1-9][0-9]*)(\.[0-9]+)?`, above zero, at most AMOUNT_MINOR_MAX, with no
    more decimals written than `scale` (0 to 8), the currency's number of decimals.
    """
    if len(text) > _CHARACTERS_MAX or _AMOUNT.fullmatch(text) is None:
        return None
    whole, _, decimals = text.partition(".")
    missing = scale - len(decimals)
    if missing < 0:
        return None
    minor = int(whole + decimals) * _TENS[missing]
    return minor if 0 < minor <= AMOUNT_MINOR_MAX else None


def parse_number_text(text: str, scale: int) -> int | None:
    """The minor units of an amount written as a JSON number, by that number's own text.

    Valid is what `parse_text` takes (so no exponent and no sign) with at most 15 significant
    digits, counted from the first that is not 0 to the last that is written: what more digits
    become in a sender's double can't be trusted.
    """
    if len(text) > _CHARACTERS_MAX:
        return None
    if len(text.replace(".", "").lstrip("0")) > _SIGNIFICANT_DIGITS_MAX:
        return None
    return parse_text(text, scale)


def format_amount(minor: int, scale: int) -> str:
    """The amount with the currency's full scale: (100050, 2) is `1000.50`, (-5, 3) is `-0.005`."""
    text = str(minor)
    if scale == 0:
        return text
    if minor < _TENS[scale]:
        text = text.zfill(scale + 1 if minor >= 0 else scale + 2)
    return text[:-scale] + "." + text[-scale:]


def shortest_text(text: str) -> str:
    """A valid amount's text without trailing decimal zeros: `10.50` is `10.5`, `10.00` is `10`.

    Two valid amounts of one currency have the same shortest text exactly where they have the same
    minor units, whatever the currency's scale.
    """
    return text.rstrip("0").removesuffix(".") if "." in text else text
