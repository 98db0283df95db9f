"""The rules against the model: whatever is sent in whatever order, both say the same."""

from __future__ import annotations

import itertools
from collections import deque
from datetime import UTC, datetime
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.book import Book, Transaction
from ledger.command import Command, Profile, Source
from ledger.decision import decide
from ledger.outcome import Decision
from ledger.refusal import REASON_CODES, Refusal
from ledger.rule import Rules
from tests.ledger.model import REASONS, Model, Outcome, Sent, Shown
from tests.ledger.script import CLIENTS, CURRENCIES, Script, Status, random_step, scripts

_NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _book() -> Book:
    book = Book(_NOW, itertools.count(1))
    for client in CLIENTS:
        for currency in (None, *CURRENCIES):
            book.history.setdefault(client, {})[currency, None] = deque()
    return book


def _command(sent: Sent, offset: int) -> Command:
    profile = None if sent.name is None else Profile(sent.name, sent.email, sent.phone)
    return Command(
        sent.client, sent.id, sent.type, sha256(repr(sent).encode()).digest(),
        Source("wallet-command", 0, offset), sent.currency, sent.amount,
        refusal=None if sent.fault is None else Refusal(sent.fault, "A fault."),
        to_client_id=sent.to, profile=profile,
    )  # fmt: skip


def _outcome(client: str, decision: Decision) -> Outcome:
    """What the decision tells, in the model's words."""
    if decision.wallets is not None:
        wallets = tuple((w.currency, w.balance, w.status) for w in decision.wallets)
        recent = tuple(_shown(client, t) for t in decision.recent or ())
        balance = decision.balance
        return Outcome("answered", None, balance, balance, wallets=wallets, recent=recent)
    kept = decision.transaction
    if kept is not None:
        return Outcome(
            kept.status, kept.reason, kept.balance_before, kept.balance_after, decision.duplicate
        )
    assert decision.refusal is not None
    return Outcome("rejected", decision.refusal.reason, decision.balance, decision.balance)


def _shown(client: str, t: Transaction) -> Shown:
    if t.client_id == client:
        return Shown(
            t.command_id, t.type, t.status, t.reason, t.balance_before, t.balance_after,
            t.counterparty,
        )  # fmt: skip
    assert (t.counterparty, t.credit_kind) == (client, "peer")
    assert t.peer_balance_after is not None
    assert t.amount is not None
    before = t.peer_balance_after - t.amount
    return Shown(
        t.command_id, "transfer_received", t.status, None, before, t.peer_balance_after, t.client_id
    )


def _play(script: Script, model: Model, book: Book) -> set[str]:
    """Give each step to both and compare; gives the reasons that were met."""
    met = set()
    rules = Rules(auto_create=model.auto_create)
    for offset, step in enumerate(script):
        if isinstance(step, Status):
            wallet = book.wallet(step.client, step.currency)
            if wallet is not None:
                wallet.status = step.status
                model.wallets[step.client, step.currency].status = step.status
            continue
        decision = decide(_command(step, offset), book, rules)
        expected = model.answer(step)
        assert _outcome(step.client, decision) == expected, step
        met |= {expected.reason} - {None}
    return {reason for reason in met if reason is not None}


def _assert_same_end(model: Model, book: Book) -> None:
    wallets = [wallet for mine in book.wallets.values() for wallet in mine.values()]
    balances = {(wallet.client_id, wallet.currency): wallet.available for wallet in wallets}
    assert balances == {key: wallet.balance for key, wallet in model.wallets.items()}
    clients = {c.client_id: c.registered for c in book.clients.values()}
    assert clients == {name: client.registered for name, client in model.clients.items()}
    journal: dict[tuple[str, str], int] = {}
    for t in book.journal:
        for kind, sign in ((t.debit_kind, -1), (t.credit_kind, 1)):
            if kind in {"treasury", "cash"} and t.amount is not None:
                account = kind, str(t.currency)
                journal[account] = journal.get(account, 0) + sign * t.amount
    assert journal == model.system
    for currency in CURRENCIES:
        outside = sum(amount for (_, c), amount in journal.items() if c == currency)
        inside = sum(amount for (_, c), amount in balances.items() if c == currency)
        assert outside + inside == 0


@settings(max_examples=300, deadline=None)
@given(scripts, st.booleans())
def test_any_script_of_commands_is_answered_as_the_contract_says(
    script: Script, auto_create: bool
) -> None:
    model, book = Model(auto_create), _book()
    _play(script, model, book)
    _assert_same_end(model, book)


@pytest.mark.parametrize("auto_create", [True, False])
def test_a_long_script_meets_every_reason_of_today(auto_create: bool) -> None:
    random, met = Random(7), set()
    for _ in range(20):
        model, book = Model(auto_create), _book()
        met |= _play([random_step(random) for _ in range(500)], model, book)
        _assert_same_end(model, book)
    assert met == set(REASONS)


def test_the_models_order_of_reasons_is_the_ledgers() -> None:
    assert [code for code in REASON_CODES if code in REASONS] == list(REASONS)
