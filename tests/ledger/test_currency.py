"""Currencies: ISO 4217's table and the operator's own units."""

import pytest

from ledger.currency import ISO_SCALES, Currencies, CurrencyError, is_code


@pytest.mark.parametrize(("code", "scale"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_iso_currencies_have_the_decimals_of_the_standard(code: str, scale: int) -> None:
    assert Currencies().scale(code) == scale


@pytest.mark.parametrize("code", ["XXX", "XAU", "XTS", "usd", "US", "ABC", "", "COIN"])
def test_what_is_no_currency_one_can_count_in_is_unknown(code: str) -> None:
    assert Currencies().scale(code) is None


def test_the_operators_own_unit_has_the_scale_it_was_given() -> None:
    currencies = Currencies({"COIN": 0, "POINTS2026": 4})
    assert currencies.scale("COIN") == 0
    assert currencies.scale("POINTS2026") == 4
    assert currencies.scale("EUR") == 2


@pytest.mark.parametrize(
    ("code", "scale", "why"),
    [
        ("USD", 4, "ISO 4217"),
        ("XAU", 3, "ISO 4217"),
        ("coin", 2, "no code"),
        ("C", 2, "no code"),
        ("COIN\n", 2, "no code"),
        ("COIN", 9, "0 to 8"),
        ("COIN", -1, "0 to 8"),
    ],
)
def test_an_own_unit_that_cannot_be_is_refused(code: str, scale: int, why: str) -> None:
    with pytest.raises(CurrencyError, match=why):
        Currencies({code: scale})


def test_every_iso_code_has_the_form_of_a_code() -> None:
    assert len(ISO_SCALES) > 150
    assert all(is_code(code) for code in ISO_SCALES)
