"""A fulfillment process whose own clock is an hour off: the database's and the service's count."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import time_machine

from tests.conftest import WalletEnv
from tests.producers.shop import Shop, opened, raw_service


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
        shop.fulfillment(url),
    ):
        shop.place("o-1")
        assert shop.ended(timeout_s=30) == {"o-1": "completed"}
    rows = shop.rows(
        "SELECT outcome, abs(extract(epoch FROM started_at - now())) < 60,"
        " extract(epoch FROM started_at - min(started_at) OVER ())::float8"
        " FROM fulfillment_attempts ORDER BY attempt"
    )
    assert [(outcome, is_near) for outcome, is_near, _ in rows] == [
        ("unclear", True),
        ("fulfilled", True),
    ]
    assert 2.0 <= rows[1][2] < 20.0


def _http(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0), usegmt=True)
