"""A fulfillment process whose own clock is an hour off: the database's and the service's count."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import psycopg
import pytest
import time_machine

from tests.conftest import WalletEnv
from tests.producers.shop import Shop, opened, raw_service, stubbed

# No lease ends by itself, on however busy a machine.
_PATIENT = {"WALLET_FULFILLMENT_TIMEOUT_S": "10"}


@pytest.fixture
def shop(wallet_env: WalletEnv) -> Iterator[Shop]:
    with opened(wallet_env) as made:
        yield made


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_off_moves_neither_the_record_nor_a_retry_after(
    shop: Shop, hours: int
) -> None:
    asked_at = datetime.now(UTC)
    again_at = asked_at + timedelta(seconds=2)
    calls = 0

    def answer(connection: socket.socket, _request: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            head = f"503 Wait\r\nDate: {_http(asked_at)}\r\nRetry-After: {_http(again_at)}"
            connection.sendall(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"id": "F1"}')

    with (
        raw_service(answer) as url,
        time_machine.travel(timedelta(hours=hours), tick=True),
        shop.fulfillment(url, **_PATIENT),
    ):
        shop.place("o-1")
        assert shop.ended(timeout_s=40) == {"o-1": "completed"}
    rows = shop.rows(
        "SELECT outcome, abs(extract(epoch FROM started_at - now())) < 60,"
        " extract(epoch FROM started_at - min(started_at) OVER ())::float8"
        " FROM fulfillment_attempts ORDER BY attempt"
    )
    assert [(outcome, is_near) for outcome, is_near, _ in rows] == [
        ("unclear", True),
        ("fulfilled", True),
    ]
    assert 2.0 <= rows[1][2] < 30.0


def test_orders_do_not_wait_for_a_database_whose_clock_was_set_back(shop: Shop) -> None:
    shop.place("o-1", "o-2")
    with psycopg.connect(shop.env.database_url, autocommit=True) as owner:
        # As a delay and a lease look an hour after they were set, by a clock that is back by it.
        owner.execute(
            "UPDATE fulfillments SET due_at = now() + interval '1 hour',"
            " leased_until = CASE order_id WHEN 'o-2' THEN now() + interval '1 hour' END"
        )
    with stubbed() as (_, url), shop.fulfillment(url, **_PATIENT):
        assert set(shop.ended(timeout_s=40).values()) == {"completed"}
    assert [attempt[0] for attempt in shop.attempts("o-2")] == ["lost", "fulfilled"]


def _http(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0), usegmt=True)
