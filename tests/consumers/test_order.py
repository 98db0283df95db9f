"""What becomes of order requests, on a real database by the workers' own path."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from consumers.decode import Decoder
from consumers.failure import Fault, fault_of
from ledger.command import Command
from ledger.currency import Currencies
from ledger.database import connect
from ledger.order import Settlement
from ledger.refusal import Refusal
from ledger.verification import verify
from schemas.header import unpack_headers
from schemas.result import ORDER_RESULT_SHAPE
from schemas.topic import ORDER_REQUEST
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper, Record
from tests.ledger.damage import command
from tests.producers.world import eventually

_REFUSED = Refusal("fulfillment_refused", "The fulfillment service answered 400.")


@pytest.fixture
def session(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    with connect(wallet_env.database_url, application_name="test-worker") as connection:
        yield connection
    url = wallet_env.database_url
    with connect(url, application_name="test-verify", long_queries=True) as reader:
        assert [finding for finding in verify(reader) if not finding.holds] == []


def _place(amount: str = "10.00", **fields: Any) -> Record:
    value = {"command_id": "p", "type": "place_order", "amount": amount, "order_id": "o"} | fields
    return "alice", value


def _ask(kind: str, **fields: Any) -> Record:
    return command("alice", kind, order_id="o", **fields)


def _only(books: Bookkeeper, record: Record) -> dict[str, Any]:
    [answer] = books.results([record])
    if "event" in answer:
        ORDER_RESULT_SHAPE.validate_python(answer)
    return answer


def _leased(books: Bookkeeper) -> Settlement:
    lease = books.lease("alice", "o")
    assert lease is not None
    return lease


def _told(answer: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(answer[name] for name in names)


_LIFE = ("event", "status", "attempts", "refunded", "balance_after")


def test_an_order_is_paid_recorded_and_given_a_job_in_one_batch(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    items = [{"sku": "a", "price": 1.10, "n": 12345678901234567890123, "none": None}]
    placed = _place(items=items, metadata={"a": "b"}, reference="r", currency="USD")
    [_, row] = books.apply([command("alice", "credit", "100"), placed])
    answer = row["value"]
    ORDER_RESULT_SHAPE.validate_python(answer)
    assert (row["topic"], row["event_id"], row["moved"]) == (
        "order-result", "order-request/0/0", True,
    )  # fmt: skip
    assert _told(answer, *_LIFE) == ("order_placed", "pending", 0, "0.00", "90.00")
    assert _told(answer, "order_id", "amount", "currency") == ("o", "10.00", "USD")
    assert answer["created_at"] == answer["updated_at"] is not None
    stored = session.execute(
        "SELECT status, money, items::text, metadata->>'a', reference, command_id, event_id"
        " FROM orders"
    ).fetchone()
    assert stored is not None
    assert stored[2] == '[{"sku":"a","price":1.1,"n":12345678901234567890123,"none":null}]'
    assert stored[:2] + stored[3:] == ("pending", "escrow", "b", "r", "p", "order-request/0/0")
    jobs = session.execute("SELECT attempts, lease_token, due_at <= now() FROM fulfillments")
    assert jobs.fetchall() == [(0, 0, True)]
    kept = session.execute("SELECT metadata->>'a' FROM transactions WHERE order_id = 'o'")
    assert kept.fetchall() == [("b",)]


@pytest.mark.contract
def test_an_order_id_that_is_left_out_is_made_from_client_and_command_and_is_content() -> None:
    def decode(**given: str) -> Command:
        value = {"command_id": "c", "type": "place_order", "amount": "1"} | given
        decoded = Decoder(Currencies(), "USD").decode(
            ORDER_REQUEST, ORDER_REQUEST, 0, 0, b"alice", json.dumps(value).encode(), None
        )
        assert isinstance(decoded, Command)
        return decoded

    made = "ORD-" + hashlib.sha256(b"alice/c").hexdigest()[:20]
    assert decode().order_id == decode(order_id=made).order_id == made
    assert decode().fingerprint == decode(order_id=made).fingerprint
    assert decode().fingerprint != decode(order_id="o").fingerprint


def test_numbers_of_items_are_handed_on_as_they_were_written() -> None:
    value = b'{"command_id":"c","type":"place_order","amount":1,"items":[{"a":1.10,"b":-0.0e5}]}'
    trace = [("traceparent", b"00-1-2-01"), ("x", b"y"), ("correlation-id", b"mine")]
    decoded = Decoder(Currencies(), "USD").decode(
        ORDER_REQUEST, ORDER_REQUEST, 0, 0, b"alice", value, trace
    )
    assert isinstance(decoded, Command)
    assert decoded.items == '[{"a":1.10,"b":-0.0e5}]'
    assert unpack_headers(decoded.headers or b"") == [("traceparent", b"00-1-2-01")]
    assert decoded.correlation_id == "mine"


@pytest.mark.parametrize("items", [{}, [1], [[]], ["a"], [None], "[]", [{}] * 101])
def test_items_are_an_array_of_up_to_a_hundred_objects(items: Any) -> None:
    def decode(given: Any) -> Command:
        value = json.dumps(_place(items=given)[1]).encode()
        decoded = Decoder(Currencies(), "USD").decode(
            ORDER_REQUEST, ORDER_REQUEST, 0, 0, b"alice", value, None
        )
        assert isinstance(decoded, Command)
        return decoded

    refused = decode(items)
    assert refused.refusal is not None
    assert (refused.refusal.reason, refused.order_id) == ("invalid_request", "o")
    assert refused.items is None
    assert decode([{}] * 100).refusal is None


@pytest.mark.contract
def test_an_order_goes_its_way_through_failure_retry_and_refunds(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "100"), _place()])
    lease = _leased(books)
    assert books.settle(lease._replace(failure=_REFUSED, attempts=3)) != [None]
    shown = _only(books, _ask("get_order"))
    assert _told(shown, *_LIFE) == ("order_details", "failed", 3, "10.00", "100.00")
    assert _told(shown, "reason", "detail") == ("fulfillment_refused", _REFUSED.detail)

    retry = _ask("retry_order")
    retried = _only(books, retry)
    assert _told(retried, *_LIFE) == ("order_retried", "pending", 3, "0.00", "90.00")
    assert _told(retried, "reason", "detail") == (None, None)
    assert books.settle(lease._replace(fulfillment_id="late")) == [None]
    lease = _leased(books)
    assert _told(_only(books, _ask("get_order")), "attempts") == (4,)
    books.settle(lease._replace(fulfillment_id="f-1"))
    for amount in ("4.00", "3.00"):
        refund = command("alice", "refund", amount, original_command_id="p")
        assert _told(_only(books, refund), "status", "reason") == ("applied", None)
    shown = _only(books, _ask("get_order"))
    assert _told(shown, *_LIFE) == ("order_details", "completed", 4, "7.00", "97.00")
    assert shown["fulfillment_id"] == "f-1"
    too_much = command("alice", "refund", "3.01", original_command_id="p")
    assert _only(books, too_much)["reason"] == "exceeds_original"
    rest = command("alice", "refund", original_command_id="p")
    assert _told(_only(books, rest), "amount", "balance_after") == ("3.00", "100.00")

    again = _only(books, _place())
    assert _told(again, *_LIFE) == ("order_placed", "pending", 0, "0.00", "90.00")
    assert again["duplicate"]
    assert _only(books, retry) == retried | {"duplicate": True, "source": again["source"] | {
        "offset": again["source"]["offset"] + 1}}  # fmt: skip
    entries = session.execute(
        "SELECT type, entry, account, balance_before, balance_after FROM ledger_entries"
        " WHERE order_id = 'o' AND account IN ('escrow', 'revenue') ORDER BY transaction_id"
    ).fetchall()
    assert entries == [
        ("place_order", "credit", "escrow", 0, 1000),
        ("order_failed", "debit", "escrow", 1000, 0),
        ("retry_order", "credit", "escrow", 0, 1000),
        ("order_completed", "debit", "escrow", 1000, 0),
        ("order_completed", "credit", "revenue", None, None),
        *[("refund", "debit", "revenue", None, None)] * 3,
    ]
    listed = session.execute(
        "SELECT status, fulfillment_id, money, refunded, attempts, rounds FROM order_summaries"
    )
    assert listed.fetchall() == [("completed", "f-1", "revenue", 1000, 4, 2)]


def test_only_what_was_completed_is_refunded(session: psycopg.Connection) -> None:
    books = Bookkeeper(session)
    refunds = [
        command("alice", "refund", original_command_id=name) for name in ("p", "p", "x", "p")
    ]
    books.apply([command("alice", "credit", "100"), _place()])
    assert _only(books, refunds[0])["reason"] == "not_refundable"
    books.settle(_leased(books)._replace(failure=_REFUSED, keeps_money=True))
    assert _only(books, refunds[1])["reason"] == "not_refundable"
    cancelled = _only(
        books, ("alice", {"command_id": "x", "type": "cancel_order", "order_id": "o"})
    )
    assert _told(cancelled, *_LIFE) == ("order_cancelled", "cancelled", 1, "10.00", "100.00")
    assert [_only(books, refund)["reason"] for refund in refunds[2:]] == ["not_refundable"] * 2


def test_a_begun_order_is_not_cancelled_and_the_answer_says_why(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "100"), _place()])
    lease = _leased(books)
    refused = _only(books, _ask("cancel_order"))
    assert _told(refused, "event", "status", "reason", "detail") == (
        "request_rejected", "pending", "order_not_cancellable",
        "The order's fulfillment has begun.",
    )  # fmt: skip
    session.execute("UPDATE fulfillments SET leased_until = NULL")
    assert _only(books, _ask("cancel_order"))["reason"] == "order_not_cancellable"
    books.settle(lease._replace(fulfillment_id="f"))
    refused = _only(books, _ask("cancel_order"))
    assert _told(refused, "status", "fulfillment_id", "detail") == (
        "completed", "f", "The order is completed.",
    )  # fmt: skip
    assert _only(books, _ask("retry_order"))["reason"] == "order_not_retryable"


def test_a_lease_given_back_without_a_call_leaves_the_order_cancellable(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "100"), _place()])
    _leased(books)
    session.execute("UPDATE fulfillments SET leased_until = NULL, attempts_made = 0")
    assert _only(books, _ask("cancel_order"))["event"] == "order_cancelled"
    assert session.execute("SELECT count(*) FROM fulfillments").fetchone() == (0,)


def test_a_frozen_wallet_pays_no_order_but_gets_its_money_back(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    freeze, unfreeze = command("alice", "freeze_wallet"), command("alice", "unfreeze_wallet")
    books.apply([command("alice", "credit", "100"), _place(), freeze])
    books.settle(_leased(books)._replace(failure=_REFUSED, keeps_money=True))
    assert _only(books, _place(command_id="q", order_id="n"))["reason"] == "wallet_frozen"
    assert _only(books, _ask("retry_order"))["event"] == "order_retried"  # it is paid already
    books.settle(_leased(books)._replace(failure=_REFUSED))
    assert _only(books, _ask("retry_order"))["reason"] == "wallet_frozen"
    books.apply([unfreeze, command("alice", "spend", "95")])
    assert _only(books, _ask("retry_order"))["reason"] == "insufficient_funds"
    books.apply([command("alice", "credit", "5"), command("alice", "get_wallet")])
    assert _only(books, _ask("retry_order"))["event"] == "order_retried"
    close = command("alice", "close_wallet")
    assert _only(books, close)["reason"] == "balance_not_zero"  # it is in escrow
    assert _only(books, _ask("cancel_order"))["event"] == "order_cancelled"
    books.apply([command("alice", "spend", "10"), command("alice", "close_wallet")])
    assert _only(books, _ask("cancel_order"))["reason"] == "wallet_closed"
    assert _only(books, _ask("get_order"))["status"] == "cancelled"


@pytest.mark.contract
def test_an_id_is_one_for_both_topics_and_an_order_its_clients_own(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    paid = ("alice", {"command_id": "x", "type": "credit", "amount": "50"})
    books.apply([paid, _place()])
    assert _only(books, _place(command_id="x", order_id="n"))["reason"] == "idempotency_conflict"
    crossed = _only(books, ("alice", {"command_id": "p", "type": "spend", "amount": "10.00"}))
    assert crossed["reason"] == "idempotency_conflict"
    books.apply([command("bob", "credit", "1")])
    [theirs] = books.results([command("bob", "get_order", order_id="o")])
    assert _told(theirs, "reason", "status", "amount") == ("order_not_found", None, None)
    euros = ("alice", {"command_id": "e", "type": "credit", "amount": "50", "currency": "EUR"})
    books.apply([euros])
    taken = _only(books, _place(command_id="q", currency="EUR"))
    assert taken["reason"] == "order_exists"
    assert _only(books, _ask("cancel_order", currency="EUR"))["reason"] == "invalid_request"


def test_of_a_cancellation_and_a_lease_exactly_one_wins(
    wallet_env: WalletEnv, session: psycopg.Connection
) -> None:
    books = Bookkeeper(session)
    orders = [f"o{n}" for n in range(40)]
    books.apply([command("alice", "credit", "100")])
    books.apply([_place("1", command_id=name, order_id=name) for name in orders])
    leases: list[Settlement] = []
    start = threading.Barrier(2)

    def lease() -> None:
        with connect(wallet_env.database_url, application_name="test-lease") as connection:
            leaser = Bookkeeper(connection, partition=1)
            start.wait(10)
            leases.extend(filter(None, (leaser.lease("alice", name) for name in orders)))

    thread = threading.Thread(target=lease)
    thread.start()
    start.wait(10)
    answers = [_only(books, command("alice", "cancel_order", order_id=name)) for name in orders]
    thread.join()
    won = Counter(answer["event"] for answer in answers)
    assert won["order_cancelled"] + len(leases) == len(orders)
    assert won["request_rejected"] == len(leases)
    if leases:
        rows = books.settle(*(each._replace(fulfillment_id="f") for each in leases))
        assert None not in rows


def test_an_account_made_while_its_wallet_was_waited_for_is_not_overlooked(
    wallet_env: WalletEnv, session: psycopg.Connection
) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "100")])
    failed: list[str | None] = []

    def credit() -> None:
        with connect(wallet_env.database_url, application_name="test-waiter") as connection:
            worker = Bookkeeper(connection, partition=1)
            try:
                worker.apply([command("alice", "credit", "1")])
            except psycopg.Error as error:
                failed.append(error.sqlstate)
                worker.apply([command("alice", "credit", "1")])

    thread = threading.Thread(target=credit)
    # As the batch does that holds the first money of a wallet, or pays its first order.
    with (
        psycopg.connect(wallet_env.database_url, autocommit=True) as observer,
        session.transaction(),
    ):
        session.execute("UPDATE accounts SET sides = 1")
        session.execute(
            "INSERT INTO accounts (client_id, currency, kind, balance, created_at, updated_at)"
            " VALUES ('alice', 'USD', 'held', 0, now(), now())"
        )
        thread.start()
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = 'test-waiter' AND datname = current_database()"
        )
        eventually(lambda: observer.execute(waiting).fetchone())
    thread.join()
    assert failed == ["40001"]
    assert fault_of(psycopg.errors.SerializationFailure()) is Fault.AGAIN


def test_statements_do_not_grow_with_the_orders_and_without_them_there_are_none(
    session: psycopg.Connection, counted: Counter[str]
) -> None:
    books = Bookkeeper(session)

    def batch(first: int, clients: int) -> list[Record]:
        made = []
        for name in (f"client-{n}" for n in range(first, first + clients)):
            made += [
                command(name, "credit", "10"),
                command(name, "place_order", "2", order_id="o"),
                command(name, "place_order", "2", order_id="kept"),
                command(name, "get_order", order_id="o"),
                command(name, "cancel_order", order_id="o"),
                command(name, "retry_order", order_id="o"),
            ]
        return made

    seen = []
    for size in (1, 40):
        counted.clear()
        books.apply(batch(size * 100, size))
        seen.append(dict(counted))
    assert seen[0] == seen[1]
    assert set(seen[0].values()) == {1}
    orders = {"orders", "lock_jobs", "insert_orders", "insert_jobs"}
    assert orders <= seen[0].keys()
    counted.clear()
    books.apply([command("alice", "credit", "10"), command("alice", "spend", "1")])
    assert not counted.keys() & orders
