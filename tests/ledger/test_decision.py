"""The rules one by one: what each type of command does, each refusal, and which comes first."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from ledger.book import Book, Client, Wallet
from ledger.command import Command, Profile, Source
from ledger.decision import decide
from ledger.money import AMOUNT_MINOR_MAX
from ledger.outcome import Decision
from ledger.question import RECENT_COUNT
from ledger.refusal import Refusal
from ledger.rule import Rules

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_LATER = datetime(2026, 3, 1, 13, tzinfo=UTC)
_ids = itertools.count(1)


def _command(
    kind: str, amount: int | None = None, currency: str | None = "USD", **fields: Any
) -> Command:
    fields = {"client_id": "alice", "command_id": f"c{next(_ids)}", **fields}
    fingerprint = sha256(repr((kind, amount, currency, fields)).encode()).digest()
    source = Source("wallet-command", 0, 0)
    return Command(
        type=kind, fingerprint=fingerprint, source=source, currency=currency,
        amount_minor=amount, **fields,
    )  # fmt: skip


def _book(**wallets: Wallet) -> Book:
    """Alice is registered, with these wallets by currency; bob is known and has a USD wallet."""
    book = Book(_LATER, itertools.count(1))
    book.clients = {name: Client(name, registered=True, stored=True) for name in ("alice", "bob")}
    book.wallets = {"alice": wallets, "bob": {"USD": _wallet(0, client="bob")}}
    book.history = {
        "alice": {(None, None): deque(), ("USD", None): deque()},
        "bob": {(None, None): deque()},
    }
    return book


def _wallet(available: int, status: str = "open", client: str = "alice") -> Wallet:
    return Wallet(client, "USD", available, None, status, version=3, updated_at=_NOW, place="(0,1)")


def _decide(command: Command, book: Book, *, auto_create: bool = True) -> Decision:
    return decide(command, book, Rules(auto_create=auto_create))


def _reason(decision: Decision) -> str | None:
    kept = decision.transaction
    if kept is not None:
        return kept.reason
    return None if decision.refusal is None else decision.refusal.reason


@pytest.mark.parametrize(
    ("kind", "debit", "credit", "after"),
    [
        ("credit", "treasury", "available", 1500),
        ("debit", "available", "treasury", 500),
        ("deposit", "cash", "available", 1500),
        ("withdraw", "available", "cash", 500),
    ],
)
def test_money_moves_between_the_accounts_that_the_type_names(
    kind: str, debit: str, credit: str, after: int
) -> None:
    book = _book(USD=_wallet(1000))
    kept = _decide(_command(kind, 500), book).transaction
    assert kept is not None
    assert (kept.debit_kind, kept.credit_kind, kept.amount) == (debit, credit, 500)
    assert (kept.balance_before, kept.balance_after, kept.held_after) == (1000, after, 0)
    assert book.journal == [kept]
    wallet = book.wallets["alice"]["USD"]
    assert (wallet.available, wallet.version, wallet.updated_at) == (after, 4, _LATER)
    assert wallet.changed


def test_a_transfer_is_one_movement_that_both_wallets_show() -> None:
    book = _book(USD=_wallet(1000))
    decision = _decide(_command("transfer", 300, to_client_id="bob"), book)
    kept = decision.transaction
    assert kept is not None
    assert (kept.debit_kind, kept.credit_kind, kept.counterparty) == ("available", "peer", "bob")
    assert (kept.balance_before, kept.balance_after, kept.peer_balance_after) == (1000, 700, 300)
    assert decision.peer_held == 0
    assert book.wallets["bob"]["USD"].available == 300
    assert book.history["bob"][None, None][0] is kept
    assert book.history["alice"][None, None][0] is kept


def test_a_transfer_opens_the_missing_wallet_of_a_known_client() -> None:
    book = _book(EUR=Wallet("alice", "EUR", 1000, place="(0,1)"))
    decision = _decide(_command("transfer", 1000, "EUR", to_client_id="bob"), book)
    assert _reason(decision) is None
    made = book.wallets["bob"]["EUR"]
    assert (made.available, made.place, made.changed) == (1000, None, True)


@pytest.mark.parametrize("kind", ["credit", "deposit"])
def test_money_from_outside_makes_client_and_wallet(kind: str) -> None:
    book = _book()
    decision = _decide(_command(kind, 5, client_id="zoe"), book)
    assert _reason(decision) is None
    assert decision.transaction is not None
    assert decision.transaction.balance_before == 0
    assert book.clients["zoe"] == Client("zoe", registered=False, stored=False)
    assert book.wallets["zoe"]["USD"].available == 5


def test_registering_fills_the_profile_of_a_client_that_money_made_and_opens_no_wallet() -> None:
    book = _book()
    _decide(_command("credit", 5, client_id="zoe"), book)
    profile = Profile("Zoe", "Zoe@x.org", "+491")
    decision = _decide(_command("register_client", client_id="zoe", profile=profile), book)
    assert _reason(decision) is None
    assert book.clients["zoe"].registered
    assert book.clients["zoe"].profile == profile
    assert (book.emails, book.phones) == ({"zoe@x.org": "zoe"}, {"+491": "zoe"})
    assert list(book.wallets["zoe"]) == ["USD"]
    fresh = _command("register_client", client_id="yan", profile=Profile("Yan", None, None))
    assert _reason(_decide(fresh, book)) is None
    assert "yan" not in book.wallets


def test_a_frozen_wallet_takes_money_in() -> None:
    book = _book(USD=_wallet(10, "frozen"))
    book.wallets["bob"]["USD"].available = 10
    assert _reason(_decide(_command("credit", 5), book)) is None
    gift = _command("transfer", 5, client_id="bob", to_client_id="alice")
    assert _reason(_decide(gift, book)) is None
    assert book.wallets["alice"]["USD"].available == 20


def test_a_balance_may_be_emptied_and_may_reach_the_limit() -> None:
    book = _book(USD=_wallet(AMOUNT_MINOR_MAX - 1))
    assert _reason(_decide(_command("credit", 1), book)) is None
    assert _reason(_decide(_command("debit", AMOUNT_MINOR_MAX), book)) is None
    assert book.wallets["alice"]["USD"].available == 0


# What is wrong, from the first to be looked for to the last: where all hold, the first is told.
_TWO_FAULTS: list[tuple[str, Callable[[], tuple[Command, Book]]]] = [
    (
        "invalid_amount",  # and there is no such client
        lambda: (
            _command("debit", client_id="zoe", refusal=Refusal("invalid_amount", "No.")),
            _book(),
        ),
    ),
    (
        "client_exists",  # and the email is taken
        lambda: (
            _command("register_client", profile=Profile("A", "b@x.org", None)),
            _with_profiles(_book()),
        ),
    ),
    (
        "email_taken",  # in other letters, and the phone too
        lambda: (
            _command("register_client", client_id="zoe", profile=Profile("Z", "B@X.org", "+491")),
            _with_profiles(_book()),
        ),
    ),
    (
        "phone_taken",
        lambda: (
            _command("register_client", client_id="zoe", profile=Profile("Z", "z@x.org", "+491")),
            _with_profiles(_book()),
        ),
    ),
    ("wallet_exists", lambda: (_command("open_wallet"), _book(USD=_wallet(0)))),
    ("wallet_exists", lambda: (_command("open_wallet"), _book(USD=_wallet(0, "frozen")))),
    ("wallet_closed", lambda: (_command("open_wallet"), _book(USD=_wallet(0, "closed")))),
    ("client_not_found", lambda: (_command("open_wallet", client_id="zoe"), _book())),
    (
        "client_not_found",  # and the transfer goes to the sender itself
        lambda: (_command("transfer", 5, client_id="zoe", to_client_id="zoe"), _book()),
    ),
    ("wallet_not_found", lambda: (_command("debit", 5), _book())),
    ("wallet_not_found", lambda: (_command("transfer", 5, to_client_id="alice"), _book())),
    ("wallet_closed", lambda: (_command("credit", 5), _book(USD=_wallet(0, "closed")))),
    (
        "wallet_closed",  # and it has not enough
        lambda: (_command("transfer", 5, to_client_id="bob"), _book(USD=_wallet(0, "closed"))),
    ),
    (
        "wallet_frozen",  # and it has not enough, and the recipient is the sender
        lambda: (_command("transfer", 5, to_client_id="alice"), _book(USD=_wallet(0, "frozen"))),
    ),
    ("wallet_frozen", lambda: (_command("withdraw", 5), _book(USD=_wallet(9, "frozen")))),
    (
        "same_wallet",  # and it has not enough
        lambda: (_command("transfer", 5, to_client_id="alice"), _book(USD=_wallet(0))),
    ),
    (
        "recipient_not_found",  # and there is not enough
        lambda: (_command("transfer", 5, to_client_id="zoe"), _book(USD=_wallet(0))),
    ),
    (
        "balance_limit",  # the recipient's, and there is not enough
        lambda: (
            _command("transfer", 5, to_client_id="bob"),
            _with_bob(_book(USD=_wallet(0)), available=AMOUNT_MINOR_MAX),
        ),
    ),
    ("balance_limit", lambda: (_command("credit", 1), _book(USD=_wallet(AMOUNT_MINOR_MAX)))),
    ("insufficient_funds", lambda: (_command("debit", 6), _book(USD=_wallet(5)))),
    (
        "insufficient_funds",
        lambda: (_command("transfer", 6, to_client_id="bob"), _book(USD=_wallet(5))),
    ),
]


def _with_profiles(book: Book) -> Book:
    book.emails["b@x.org"] = book.phones["+491"] = "bob"
    return book


def _with_bob(book: Book, *, available: int = 0, status: str = "open") -> Book:
    bob = book.wallets["bob"]["USD"]
    bob.available, bob.status = available, status
    return book


@pytest.mark.parametrize(("reason", "case"), _TWO_FAULTS)
def test_the_first_reason_that_holds_is_told_and_nothing_moves(
    reason: str, case: Callable[[], tuple[Command, Book]]
) -> None:
    command, book = case()
    clients = dict(book.clients)
    decision = _decide(command, book)
    kept = decision.transaction
    assert kept is not None
    assert (kept.status, kept.reason) == ("rejected", reason)
    assert kept.detail
    assert kept.detail.endswith(".")
    assert (kept.debit_kind, kept.credit_kind, decision.peer_held) == (None, None, None)
    assert kept.balance_before == kept.balance_after
    assert book.clients == clients
    assert not any(w.changed for mine in book.wallets.values() for w in mine.values())
    assert _decide(command, book) == Decision(command, kept, duplicate=True)


def test_nobody_pays_into_a_closed_wallet() -> None:
    book = _with_bob(_book(USD=_wallet(10)), status="closed")
    gift = _command("transfer", 5, to_client_id="bob")
    assert _reason(_decide(gift, book)) == "recipient_not_found"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (_command("credit", 5, client_id="zoe"), "client_not_found"),
        (_command("deposit", 5, "EUR"), "wallet_not_found"),
        (_command("transfer", 5, to_client_id="carol"), "recipient_not_found"),
    ],
)
def test_nothing_is_made_where_the_operator_has_forbidden_it(command: Command, reason: str) -> None:
    book = _book(USD=_wallet(100))
    book.clients["carol"] = Client("carol", registered=True, stored=True)
    assert _reason(_decide(command, book, auto_create=False)) == reason


def test_a_repeated_command_is_told_its_first_outcome_and_moves_nothing() -> None:
    book = _book(USD=_wallet(1000))
    command = _command("debit", 400)
    first = _decide(command, book)
    _decide(_command("credit", 7), book)
    again = _decide(command, book)
    assert again == Decision(command, first.transaction, duplicate=True)
    assert book.wallets["alice"]["USD"].available == 607
    assert len(book.journal) == 2


def test_an_id_with_other_content_is_a_conflict_that_is_not_remembered() -> None:
    book = _book(USD=_wallet(1000))
    first = _command("debit", 400, command_id="x")
    _decide(first, book)
    other = _decide(_command("debit", 401, command_id="x"), book)
    assert (other.transaction, _reason(other)) == (None, "idempotency_conflict")
    assert (other.balance, other.held) == (600, 0)
    assert _decide(first, book).duplicate
    assert len(book.journal) == 1


def test_an_id_is_known_whatever_is_wrong_with_the_second_command() -> None:
    book = _book(USD=_wallet(1000))
    _decide(_command("debit", 400, command_id="x"), book)
    for refusal in ("invalid_request", "unknown_currency", "invalid_amount"):
        broken = _command("debit", command_id="x", refusal=Refusal(refusal, "A fault."))
        assert _reason(_decide(broken, book)) == "idempotency_conflict"
    query = _command("get_wallet", command_id="x")
    assert _reason(_decide(query, book)) == "idempotency_conflict"


def test_a_querys_id_stays_free() -> None:
    book = _book(USD=_wallet(1000))
    _decide(_command("get_wallet", command_id="x"), book)
    assert _reason(_decide(_command("debit", 5, command_id="x"), book)) is None


def test_one_clients_id_is_no_other_clients() -> None:
    book = _book(USD=_wallet(1000))
    assert _reason(_decide(_command("debit", 5, command_id="x"), book)) is None
    assert _reason(_decide(_command("credit", 5, command_id="x", client_id="bob"), book)) is None


def test_a_query_shows_all_wallets_and_the_newest_transactions_refused_ones_too() -> None:
    book = _book(USD=_wallet(1000))
    sent = [_command("debit", amount) for amount in (1, 2, *range(3, 9), 5000, 9, 10, 11)]
    for command in sent:
        _decide(command, book)
    _decide(_command("open_wallet", currency="EUR"), book)
    query = _decide(_command("get_wallet", currency=None), book)
    assert query.wallets is not None
    assert [(w.currency, w.balance) for w in query.wallets] == [("EUR", 0), ("USD", 934)]
    assert query.recent is not None
    assert len(query.recent) == RECENT_COUNT
    assert query.recent[0].type == "open_wallet"
    assert [t.command_id for t in query.recent[1:]] == [c.command_id for c in sent[:-10:-1]]
    assert query.recent[4].reason == "insufficient_funds"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"client_id": "zoe"}, "client_not_found"), ({"currency": "EUR"}, "wallet_not_found")],
)
def test_a_query_for_what_is_not_there_is_refused_and_not_kept(
    fields: dict[str, Any], reason: str
) -> None:
    book = _book(USD=_wallet(1000))
    decision = _decide(_command("get_wallet", **fields), book)
    assert (decision.transaction, _reason(decision)) == (None, reason)
    assert not book.journal


def test_a_closed_wallet_still_answers_queries() -> None:
    book = _book(USD=_wallet(0, "closed"))
    query = _decide(_command("get_wallet"), book)
    assert query.wallets is not None
    assert [wallet.status for wallet in query.wallets] == ["closed"]
