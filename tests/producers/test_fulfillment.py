"""Orders are sent to the fulfillment API, tried again, and settled once."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.conftest import WalletEnv
from tests.producers.shop import Shop, opened, raw_service, stubbed
from tests.producers.world import eventually


@pytest.fixture
def shop(wallet_env: WalletEnv) -> Iterator[Shop]:
    with opened(wallet_env) as made:
        yield made


@pytest.mark.contract
def test_a_fulfilled_order_is_completed_under_the_apis_id(shop: Shop) -> None:
    shop.place("o-1", items=[{"sku": "x", "price": 1.10}], metadata={"shop": "berlin"})
    with stubbed() as (stub, url), shop.fulfillment(url):
        assert shop.ended() == {"o-1": "completed"}
    order = shop.order("o-1")
    assert (order["fulfillment_id"], order["attempts"]) == (stub.record.ids["anna/o-1"], 1)
    assert shop.balances() == {}
    [event] = shop.events()
    assert (event["event"], event["status"], event["attempts"]) == (
        "order_completed",
        "completed",
        1,
    )
    assert shop.attempts("o-1") == [("fulfilled", 200, None, True)]
    shop.assert_books_in_order()


@pytest.mark.contract
def test_the_request_is_the_contracts(shop: Shop) -> None:
    requests = []

    def answer(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        connection.sendall(b'HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"id": 7}')

    shop.place("o-1", items=[{"sku": "x", "price": 1.10}], metadata={"shop": "berlin"})
    with (
        raw_service(answer) as url,
        shop.fulfillment(url.replace("http://", "http://wallet:a%20secret@")),
    ):
        shop.ended()
    head, _, body = requests[0].partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert line == b"POST /orders HTTP/1.1"
    given = dict(header.lower().split(b": ", 1) for header in headers)
    assert given[b"idempotency-key"] == b"anna/o-1"
    assert given[b"host"] == urlsplit(url).netloc.encode()
    assert given[b"authorization"].split()[1] == base64.b64encode(b"wallet:a secret").lower()
    assert b'"price": 1.1' in body or b'"price":1.1' in body
    assert json.loads(body) == {
        "order_id": "o-1", "client_id": "anna", "amount": "10.00", "currency": "USD",
        "items": [{"sku": "x", "price": 1.10}], "metadata": {"shop": "berlin"},
    }  # fmt: skip
    assert shop.order("o-1")["fulfillment_id"] == "7"


def test_the_call_goes_by_the_environments_proxy(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.append(request.partition(b"\r\n")[0])
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": 7}')

    shop.place("o-1")
    with raw_service(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy.removesuffix("/orders"))
        monkeypatch.setenv("no_proxy", "localhost")
        with shop.fulfillment("http://fulfillment.invalid/orders"):
            assert shop.ended() == {"o-1": "completed"}
    assert asked == [b"POST http://fulfillment.invalid/orders HTTP/1.1"]


@pytest.mark.contract
def test_a_refused_order_fails_at_once_and_its_money_is_back(shop: Shop) -> None:
    shop.place("o-1")
    with stubbed(refuse_rate=1) as (_, url), shop.fulfillment(url):
        assert shop.ended() == {"o-1": "failed"}
    assert shop.order("o-1")["reason"] == "fulfillment_refused"
    assert shop.balances() == {"available": 1000}
    [event] = shop.events()
    assert (event["event"], event["refunded"], event["balance_after"]) == (
        "order_failed",
        "10.00",
        "10.00",
    )
    assert event["detail"] == "The fulfillment service refused it: HTTP status 422."
    shop.assert_books_in_order()


def test_a_failed_orders_money_stays_in_escrow_where_the_operator_wants_it(shop: Shop) -> None:
    shop.place("o-1")
    with stubbed(refuse_rate=1) as (_, url), shop.fulfillment(url, WALLET_ORDER_FAILURE="keep"):
        shop.ended()
    assert shop.balances() == {"escrow": 1000}
    cancelled = shop.request("anna", "cancel_order", "c-1", order_id="o-1")
    assert cancelled["status"] == "cancelled"
    assert shop.balances() == {"available": 1000}
    shop.assert_books_in_order()


def test_a_lone_order_fails_after_its_three_attempts_and_may_have_been_delivered(
    shop: Shop,
) -> None:
    shop.place("o-1")
    with stubbed(error_rate=1) as (stub, url), shop.fulfillment(url):
        assert shop.ended() == {"o-1": "failed"}
    assert stub.record.calls["anna/o-1"] == 3
    order = shop.order("o-1")
    assert (order["reason"], order["attempts"]) == ("fulfillment_unknown", 3)
    assert shop.attempts("o-1") == [("unclear", 503, None, True)] * 3
    shop.assert_books_in_order()


@pytest.mark.contract
def test_a_retried_order_goes_with_the_same_key_and_counts_anew(shop: Shop) -> None:
    shop.place("o-1")
    with stubbed(error_rate=1) as (stub, url), shop.fulfillment(url):
        shop.ended()
        stub.behaviour = stub.behaviour.changed({"error_rate": 0})
        retried = shop.request("anna", "retry_order", "r-1", order_id="o-1")
        assert (retried["event"], retried["status"]) == ("order_retried", "pending")
        assert shop.ended() == {"o-1": "completed"}
    assert list(stub.record.calls.items()) == [("anna/o-1", 4)]
    assert shop.order("o-1")["attempts"] == 4
    completed = shop.events()[-1]
    assert (completed["event"], completed["attempts"]) == ("order_completed", 4)
    shop.assert_books_in_order()


def test_retry_after_is_obeyed(shop: Shop) -> None:
    shop.place("o-1")
    began = time.monotonic()
    with stubbed(limit_rate=1, retry_after_s=1) as (stub, url), shop.fulfillment(url):
        eventually(lambda: stub.record.calls["anna/o-1"] == 1)
        stub.behaviour = stub.behaviour.changed({"limit_rate": 0})
        assert shop.ended() == {"o-1": "completed"}
    assert time.monotonic() - began >= 1.0
    assert shop.attempts("o-1")[0] == ("unavailable", 429, None, True)


def test_nobody_there_is_a_failure_after_three_attempts(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    shop.place("o-1")
    with shop.fulfillment(f"http://127.0.0.1:{port}/"):
        assert shop.ended() == {"o-1": "failed"}
    assert shop.attempts("o-1") == [("unavailable", None, "no connection", True)] * 3
    assert shop.order("o-1")["reason"] == "fulfillment_unknown"


Answer = Callable[[socket.socket, bytes], None]
CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def too_large(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(ENDLESS)
    while True:
        connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def drip(connection: socket.socket, _request: bytes) -> None:
    """A byte now and then: no single read ever times out."""
    connection.sendall(ENDLESS)
    while True:
        connection.sendall(b"1\r\nx\r\n")
        time.sleep(0.05)


def sent(answer: bytes) -> Answer:
    """Just these bytes."""
    return lambda connection, _request: connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "attempt"),
    [
        (too_large, ("unclear", 200, "endless body", True)),
        (drip, ("unclear", 200, "timeout", True)),
        (sent(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), ("unclear", 200, "no id", True)),
        (sent(b"HTTP/1.1 204 No Content\r\n\r\n"), ("unclear", 204, "no id", True)),
        (sent(b""), ("unclear", None, "connection lost", True)),
        (sent(b"220 mail.example.com ESMTP\r\n"), ("unclear", None, "connection lost", True)),
        (sent(CUT_OFF), ("unclear", 200, "connection lost", True)),
    ],
    ids=["too large", "dripping", "no id", "no content", "closed", "no HTTP", "cut off"],
)  # fmt: skip
def test_what_is_no_answer_is_tried_again_and_then_unknown(
    shop: Shop, answer: Answer, attempt: tuple[object, ...]
) -> None:
    shop.place("o-1")
    with raw_service(answer) as url, shop.fulfillment(url):
        assert shop.ended() == {"o-1": "failed"}
    assert shop.attempts("o-1") == [attempt] * 3
    assert shop.order("o-1")["reason"] == "fulfillment_unknown"


def test_a_redirect_is_a_refusal(shop: Shop) -> None:
    calls = []

    def redirect(connection: socket.socket, request: bytes) -> None:
        calls.append(request)
        connection.sendall(b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")

    shop.place("o-1")
    with raw_service(redirect) as url, shop.fulfillment(url):
        assert shop.ended() == {"o-1": "failed"}
    assert len(calls) == 1
    assert shop.order("o-1")["reason"] == "fulfillment_refused"


def test_a_refusal_after_an_unclear_attempt_may_have_been_delivered(shop: Shop) -> None:
    answers = [b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]
    shop.place("o-1")
    with raw_service(lambda c, _: c.sendall(answers.pop(0))) as url, shop.fulfillment(url):
        assert shop.ended() == {"o-1": "failed"}
    assert [attempt[0] for attempt in shop.attempts("o-1")] == ["unclear", "refused"]
    assert shop.order("o-1")["reason"] == "fulfillment_unknown"
