"""Amounts: the grammar, digit by digit, against a slow obvious model."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.money import AMOUNT_MINOR_MAX, format_amount, parse_number_text, parse_text

DIGITS = "0123456789"
scales = st.integers(0, 8)
amount_texts = st.one_of(
    st.from_regex(r"\A[0-9]{1,18}(\.[0-9]{1,9})?\Z"),
    st.from_regex(r"\A-?[0-9]{1,4}(\.[0-9]{0,3})?([eE][+-]?[0-9]{1,3})?\Z"),
    st.text(alphabet="0123456789.-+eE_, \u0660\uff11\n\x00", max_size=12),
    st.text(max_size=12),
)


def slow_model(text: str, scale: int, *, number: bool) -> int | None:
    """The contract's sentences, one after the other, without a regular expression."""
    whole, dot, decimals = text.partition(".")
    if not whole or any(c not in DIGITS for c in whole) or (whole[0] == "0" and whole != "0"):
        return None
    if dot and (not decimals or any(c not in DIGITS for c in decimals)):
        return None
    if len(decimals) > scale:
        return None
    if number and len((whole + decimals).lstrip("0")) > 15:
        return None
    minor = Fraction(Decimal(text)) * 10**scale
    assert minor.denominator == 1
    return int(minor) if 0 < minor <= AMOUNT_MINOR_MAX else None


@given(amount_texts, scales)
@example("90000000000000.00", 2)
@example("90000000000000.01", 2)
@example("9000000000000000", 0)
@example("9000000000000001", 0)
@example("1\n", 2)
@example("\uff11", 2)
def test_an_amount_in_a_string_is_judged_as_the_slow_model_does(text: str, scale: int) -> None:
    assert parse_text(text, scale) == slow_model(text, scale, number=False)


@given(amount_texts, scales)
@example("999999999999999", 0)
@example("1000000000000000", 0)
@example("0.00000001", 8)
def test_an_amount_in_a_number_is_judged_as_the_slow_model_does(text: str, scale: int) -> None:
    assert parse_number_text(text, scale) == slow_model(text, scale, number=True)


@given(st.integers(1, AMOUNT_MINOR_MAX), scales)
def test_what_goes_out_comes_in_again_unchanged(minor: int, scale: int) -> None:
    assert parse_text(format_amount(minor, scale), scale) == minor


@given(st.integers(-(10**20), 10**20), scales)
def test_an_amount_goes_out_with_the_currencys_full_scale(minor: int, scale: int) -> None:
    text = format_amount(minor, scale)
    assert Fraction(Decimal(text)) == Fraction(minor, 10**scale)
    assert len(text.partition(".")[2]) == scale
    whole = text.removeprefix("-").partition(".")[0]
    assert whole == str(int(whole))


@pytest.mark.parametrize(
    ("minor", "scale", "text"),
    [(0, 2, "0.00"), (5, 2, "0.05"), (100050, 2, "1000.50"), (7, 0, "7"), (-5, 3, "-0.005")],
)
def test_amounts_are_written_as_people_write_them(minor: int, scale: int, text: str) -> None:
    assert format_amount(minor, scale) == text


@pytest.mark.parametrize("parse", [parse_text, parse_number_text])
def test_sixty_thousand_digits_are_refused_without_being_counted(parse: object) -> None:
    assert callable(parse)
    assert parse("1" * 60_000, 2) is None
