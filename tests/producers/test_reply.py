"""What an HTTP answer says of a fulfillment."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.reply import Outcome, read_reply

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id": "F-1"}', "F-1"),
        (b'{"id": 12, "more": [1]}', "12"),
        (b'{"id": 123456789012345678901234567890}', "123456789012345678901234567890"),
        (b'{"id": "\xc3\xa4"}', "\u00e4"),
        (b'{"id": ""}', None),
        (b'{"id": null}', None),
        (b'{"id": true}', None),
        (b'{"id": 1.5}', None),
        (b'{"id": ["F-1"]}', None),
        (b'{"id": "a\\u0000b"}', None),
        (b'{"id": "a", "id": "b"}', None),
        (b'{"id": "' + b"x" * 256 + b'"}', None),
        (b'{"id": ' + b"9" * 5000 + b"}", None),
        (b'["F-1"]', None),
        (b'"F-1"', None),
        (b"", None),
        (b"<html>", None),
        (b'{"id": "\xff"}', None),
        (b'{"id": "F-1"} trailing', None),
    ],
)
def test_an_id_is_a_text_or_a_whole_number(body: bytes, found: str | None) -> None:
    reply = read_reply(200, body, None, NOW)
    assert reply.fulfillment_id == found
    assert reply.outcome is (Outcome.FULFILLED if found else Outcome.UNCLEAR)


def test_each_status_is_fulfilled_refused_or_tried_again() -> None:
    for status in range(200, 600):
        reply = read_reply(status, b'{"id": "F-1"}', None, NOW)
        again = status in {408, 425, 429} or status >= 500
        other = Outcome.FULFILLED if status < 300 else Outcome.REFUSED
        assert reply.is_transient if again else reply.outcome is other, status
        assert reply.code == str(status)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0), (" 7 ", 7.0), ("0", 0.0), ("3600", 60.0), ("-1", 0.0), ("1.5", 0.0),
        ("soon", 0.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0), ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2027 11:00:00 GMT", 60.0), ("", 0.0), (None, 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_at_most_a_minute(
    value: str | None, seconds: float
) -> None:
    assert read_reply(503, b"", value, NOW).retry_after_s == seconds


@given(st.integers(200, 599), st.none() | st.binary(max_size=200), st.none() | st.text(max_size=40))
def test_nothing_that_is_answered_makes_it_fail(
    status: int, body: bytes | None, retry_after: str | None
) -> None:
    reply = read_reply(status, body, retry_after, NOW)
    assert (reply.fulfillment_id is not None) == (reply.outcome is Outcome.FULFILLED)
    assert 0 <= reply.retry_after_s <= 60
