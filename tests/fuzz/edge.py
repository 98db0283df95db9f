"""One record's bytes through the whole edge, and what must hold of whatever comes out."""

from __future__ import annotations

import itertools
import json
import re
from collections import deque
from datetime import UTC, datetime
from typing import Any, cast

import psycopg

from consumers.batch import Item, Ledger, needed
from consumers.decode import Decoder
from ledger.book import Book, Client, Hold, Order, Wallet
from ledger.command import Command
from ledger.currency import Currencies
from ledger.parcel import OutboxRecord
from ledger.rule import Rules
from schemas.header import unpack_headers
from schemas.result import ORDER_RESULT_SHAPE, WALLET_RESULT_SHAPE
from schemas.topic import ORDER_REQUEST, ORDER_RESULT, WALLET_COMMAND, WALLET_RESULT

# The contract's closed lists (§3), by its letter and not by our code's.
_DEAD = """missing_key invalid_key empty_value too_large not_json not_an_object key_mismatch
missing_command_id invalid_command_id unknown_type"""
_REASONS = """idempotency_conflict rate_limited invalid_request unknown_currency invalid_amount
client_exists email_taken phone_taken wallet_exists client_not_found wallet_not_found wallet_closed
wallet_frozen same_wallet recipient_not_found transaction_not_found not_refundable exceeds_original
hold_exists hold_not_found hold_expired exceeds_hold order_exists order_not_found
order_not_cancellable order_not_retryable balance_not_zero balance_limit insufficient_funds"""
DEAD = frozenset(_DEAD.split())
REASONS = frozenset(_REASONS.split())
_STATUSES = {"applied", "rejected", "answered"}
_EVENTS = {
    *("order_placed", "order_cancelled", "order_retried"),
    *("order_details", "wallet_details", "request_rejected"),
}
_QUERIES = frozenset({"get_wallet", "get_history", "get_order"})
_ADDED_BYTES_MAX = 16 * 1024
_DETAIL_CHARACTERS_MAX = 1_000
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_CURRENCIES = Currencies({"COIN": 4})
_DECODER = Decoder(_CURRENCIES, "USD")
# Deciding needs no session.
_LEDGER = Ledger(cast(psycopg.Connection, None), Rules(transfer_refund=True), _CURRENCIES)

Headers = list[tuple[str, bytes | None]] | None


def record_of(data: bytes) -> tuple[str, bytes | None, bytes | None, Headers]:
    """A fuzzer's bytes as a record: its topic, key, value and headers.

    The first byte chooses: bit 0 the topic, bit 1 a key from the bytes (else alice), bit 2 a
    header from the bytes, bit 3 no value. The second is the length of the key and the header.
    """
    choice, length, rest = data[0] if data else 0, data[1] % 80 if len(data) > 1 else 0, data[2:]
    key: bytes | None = b"alice"
    headers: Headers = None
    if choice & 2:
        key, rest = rest[:length] or None, rest[length:]
    if choice & 4:
        name = ("correlation-id", "traceparent", "wallet-dlt-replays")[length % 3]
        headers, rest = [(name, rest[:length]), ("x", None)], rest[length:]
    kind = ORDER_REQUEST if choice & 1 else WALLET_COMMAND
    return kind, key, None if choice & 8 else rest, headers


def check(kind: str, key: bytes | None, value: bytes | None, headers: Headers = None) -> str:
    """Take the record to its answer, twice, and hold both against the contract.

    Returns the reason for which it was refused or is dead, or its status.
    """
    items = [_item(kind, offset, key, value, headers) for offset in (7, 8)]
    book = _book(items)
    rows = list(_LEDGER.answers(items, book, {}))
    first = _own_answer(rows, kind, 7)
    second = _own_answer(rows, kind, 8)
    assert all(_is_of(row.event_id, kind) for row in rows)
    if not isinstance(items[0].content, Command):
        assert len(rows) == 2
        return _check_dead(first, items[0])
    told = _check_result(first, kind, items[0])
    again = _check_result(second, kind, items[1])
    _check_repeated(told, again, is_query=items[0].content.type in _QUERIES)
    return str(told["reason"] or told.get("event") or told["status"])


def _item(kind: str, offset: int, key: bytes | None, value: bytes | None, headers: Headers) -> Item:
    item = Item(kind, f"t-{kind}", 3, offset, key, value, headers, 1_772_366_400_000, 1)
    item.content = _DECODER.decode(kind, item.topic, 3, offset, key, value, headers)
    if isinstance(item.content, Command):
        item.content.sent_at_ms = item.timestamp_ms
    return item


def _book(items: list[Item]) -> Book:
    """A book as it is loaded for these records: alice has money, a hold and two orders, bob has a
    wallet.
    """
    book = Book(_NOW, itertools.count(1))
    book.clients = {name: Client(name, registered=False, stored=True) for name in ("alice", "bob")}
    book.wallets = {
        "alice": {
            code: Wallet("alice", code, 1_000_000, version=3, updated_at=_NOW, place="(0,1)")
            for code in ("USD", "JPY", "COIN")
        },
        "bob": {"USD": Wallet("bob", "USD", 0, version=1, updated_at=_NOW, place="(0,1)")},
    }
    book.wallets["alice"]["USD"].held = 300
    book.wallets["alice"]["USD"].escrow = 500
    book.holds["alice", "h-1"] = Hold(
        "alice", "h-1", "USD", 300, "open", "c-h", None, _NOW, stored=True
    )
    for order_id, status, money in (("o-1", "failed", "escrow"), ("o-2", "completed", "revenue")):
        book.orders["alice", order_id] = Order(
            "alice", order_id, f"c-{order_id}", "USD", 500, status, money, None, 3, 1, None, None,
            None, "t-order-request/3/1", None, _NOW, _NOW, stored=True,
        )  # fmt: skip
    for client, page in needed(items, _LEDGER.rules, wary=True).pages:
        book.history.setdefault(client, {})[page] = deque()
    return book


def _is_of(event_id: str, kind: str) -> bool:
    return event_id.startswith((f"t-{kind}/3/7", f"t-{kind}/3/8", "alice/"))


def _own_answer(rows: list[OutboxRecord], kind: str, offset: int) -> OutboxRecord:
    [row] = [row for row in rows if row.event_id == f"t-{kind}/3/{offset}"]
    return row


def _check_dead(row: OutboxRecord, item: Item) -> str:
    assert (row.topic, row.partition) == (f"{item.kind}-dlt", 3)
    assert (row.key, row.value) == (item.key, item.value)
    assert row.headers is not None
    headers = unpack_headers(row.headers)
    own = item.headers or []
    assert headers[: len(own)] == own
    added = headers[len(own) :]
    assert sum(len(name) + len(given or b"") for name, given in added) < _ADDED_BYTES_MAX
    told = dict(added)
    reason = (told["wallet-dlt-reason"] or b"").decode()
    assert reason in DEAD, reason
    assert _CONTROL.search((told["kafka_dlt-exception-message"] or b"").decode()) is None
    return reason


def _check_result(row: OutboxRecord, kind: str, item: Item) -> dict[str, Any]:
    """The published shape, the contract's reasons, and texts that every database takes."""
    assert row.topic == (WALLET_RESULT if kind == WALLET_COMMAND else ORDER_RESULT)
    assert row.value is not None
    shape = WALLET_RESULT_SHAPE if kind == WALLET_COMMAND else ORDER_RESULT_SHAPE
    shape.validate_json(row.value)
    result: dict[str, Any] = json.loads(row.value)
    assert result["client_id"].encode() == row.key == item.key
    assert result["reason"] is None or result["reason"] in REASONS, result["reason"]
    if kind == WALLET_COMMAND:
        assert result["status"] in _STATUSES
    else:
        assert result["event"] in _EVENTS
    detail = result["detail"]
    assert (detail is None) == (result["reason"] is None)
    assert detail is None or len(detail) <= _DETAIL_CHARACTERS_MAX, detail
    assert detail is None or _CONTROL.search(detail) is None, detail
    for text in _texts(result):
        assert _UNFIT.search(text) is None, text
    assert _UNFIT.search(row.correlation_id or "") is None
    return result


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def _check_repeated(first: dict[str, Any], second: dict[str, Any], *, is_query: bool) -> None:
    """The same record again repeats its outcome, field by field; a query is answered anew."""
    assert not first["duplicate"]
    assert second["duplicate"] != is_query
    other = {"source": None, "duplicate": None}
    assert first | other == second | other
