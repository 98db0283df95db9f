"""Currencies: which codes are known, and how many decimals each has."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from iso4217 import Currency

SCALE_MAX: Final = 8

_CODE = re.compile(r"[A-Z][A-Z0-9]{2,11}")
# ISO 4217 has codes without a minor unit (gold, the testing code, "no currency"): nothing can be
# counted in them, so they are known to nobody, and no unit of the operator's may bear their name.
_ISO_CODES: Final = frozenset(str(c.code) for c in Currency)
ISO_SCALES: Final[Mapping[str, int]] = MappingProxyType(
    {str(c.code): int(c.exponent) for c in Currency if c.exponent is not None}
)


class CurrencyError(ValueError):
    """A unit of the operator's own can't be used; the text says which and why."""


class UnknownScaleError(Exception):
    """There are amounts of a currency whose number of decimals is not known here (any more)."""


def is_code(text: str) -> bool:
    """Whether the text has the form of a code, known or not: `USD`, `COIN`, `POINTS2026`."""
    return _CODE.fullmatch(text) is not None


def check_own_unit(code: str, scale: int) -> None:
    """CurrencyError unless the operator may have a unit of this name with that many decimals."""
    if not is_code(code):
        raise CurrencyError(f"{code!r} is no code: 3 to 12 of A-Z and 0-9, a letter first")
    if code in _ISO_CODES:
        raise CurrencyError(f"{code} is a code of ISO 4217's and can't be redefined")
    if not 0 <= scale <= SCALE_MAX:
        raise CurrencyError(f"{code}: a scale is 0 to {SCALE_MAX} decimals, not {scale}")


class Currencies:
    """ISO 4217's currencies and the operator's own units (code -> number of decimals).

    CurrencyError where an own unit is none.
    """

    __slots__ = ("_scales", "own")

    def __init__(self, own: Mapping[str, int] | None = None) -> None:
        self.own: Final = dict(own or {})
        for code, scale in self.own.items():
            check_own_unit(code, scale)
        self._scales: Final = {**ISO_SCALES, **self.own}

    def scale(self, code: str) -> int | None:
        """The currency's number of decimals, None where the code is unknown."""
        return self._scales.get(code)

    def scale_of_amounts(self, code: str) -> int:
        """The number of decimals of a currency that the ledger has amounts of.

        Raises UnknownScaleError where it is a unit of the operator's that was added since.
        """
        scale = self._scales.get(code)
        if scale is None:
            raise UnknownScaleError(f"no scale is known for {code}, of which there are amounts")
        return scale
