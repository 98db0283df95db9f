"""Moments: RFC 3339 in, UTC out."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.moment import format_moment, parse_moment

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_goes_out_comes_in_again(moment: datetime) -> None:
    assert parse_moment(format_moment(moment)) == moment


def test_a_moment_goes_out_in_utc_with_microseconds() -> None:
    berlin = timezone(timedelta(hours=1))
    assert format_moment(datetime(2026, 3, 1, 13, tzinfo=berlin)) == "2026-03-01T12:00:00.000000Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01t12:00:00z",
        "2026-03-01T12:00:00+00:00",
        "2026-03-01T12:00:00-00:00",
        "2026-03-01T17:30:00+05:30",
        "2026-03-01T12:00:00.000000999Z",
    ],
)
def test_any_offset_of_rfc_3339_is_read(text: str) -> None:
    assert parse_moment(text) == NOON


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-03-01 12:00:00Z",
        "20260301T120000Z",
        "2026-W09-7T12:00:00Z",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00,5Z",
        "2026-03-01T12:00:00Z\n",
        "2026-03-01T12:00:00+0100",
        "2026-03-01T12:00:00+25:00",
        "2026-02-29T12:00:00Z",
        "2026-03-01T12:00:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "\uff12\uff10\uff12\uff16-03-01T12:00:00Z",
    ],
)
def test_anything_else_is_no_moment(text: str) -> None:
    assert parse_moment(text) is None
