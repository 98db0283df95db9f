"""The rules against the model: whatever is sent in whatever order, both say the same."""

from __future__ import annotations

import itertools
from collections import deque
from datetime import UTC, datetime
from hashlib import sha256
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.answer import seen_by_peer
from ledger.book import Book, Job, Transaction
from ledger.command import Command, Profile, Source
from ledger.decision import decide
from ledger.hold import expire
from ledger.money import format_amount
from ledger.order import Settlement, settle
from ledger.order_state import OrderState, unpack_state
from ledger.outcome import Decision
from ledger.posting import CLIENT_KINDS
from ledger.refusal import REASON_CODES, Refusal
from ledger.rule import Rules
from tests.ledger.model import Model
from tests.ledger.script import (
    CLIENTS,
    CURRENCIES,
    Called,
    Due,
    Ended,
    Script,
    Status,
    Turn,
    random_step,
    scripts,
)
from tests.ledger.term import REASONS, Outcome, Sent, Shown, Told

_NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _book() -> Book:
    book = Book(_NOW, itertools.count(1))
    for client in CLIENTS:
        for currency in (None, *CURRENCIES):
            book.history.setdefault(client, {})[currency, None] = deque()
    return book


def _command(sent: Sent, offset: int) -> Command:
    refers = sent.type in ("capture", "refund")
    profile = None if sent.name is None else Profile(sent.name, sent.email, sent.phone)
    return Command(
        sent.client, sent.id, sent.type, sha256(repr(sent).encode()).digest(),
        Source("wallet-command", 0, offset), sent.currency,
        None if refers else sent.amount,
        amount_text=format_amount(sent.amount, 2) if refers and sent.amount else None,
        refusal=None if sent.fault is None else Refusal(sent.fault, "A fault."),
        to_client_id=sent.to, profile=profile, merchant_id=sent.merchant,
        hold_id=sent.hold or (sent.id if sent.type == "hold" else None),
        original_command_id=sent.original, expires_at=_NOW if sent.late else None,
        limit=sent.limit, order_id=sent.order,
    )  # fmt: skip


def _outcome(client: str, decision: Decision) -> Outcome:
    """What the decision tells, in the model's words."""
    if decision.wallets is not None:
        wallets = tuple((w.currency, w.balance, w.status) for w in decision.wallets)
        recent = tuple(_shown(client, t) for t in decision.recent or ())
        balance = decision.balance
        return Outcome(
            "answered", None, balance, balance, wallets=wallets, recent=recent, held=decision.held,
            has_more=decision.next_before is not None,
        )  # fmt: skip
    if decision.order is not None:
        order = decision.order
        return Outcome("answered", None, None, order.balance_after, order=_told(order))
    kept = decision.transaction
    if kept is not None:
        before = kept.balance_before if decision.rest is None else decision.rest.balance_before
        return Outcome(
            kept.status, kept.reason, before, kept.balance_after, decision.duplicate,
            held=kept.held_after,
            order=None if kept.order_state is None else _told(unpack_state(kept)),
        )  # fmt: skip
    assert decision.refusal is not None
    balance = decision.balance
    return Outcome("rejected", decision.refusal.reason, balance, balance, held=decision.held)


def _told(order: OrderState) -> Told:
    assert order.status is not None
    assert order.currency is not None
    failure = order.reason if order.reason == "fulfillment_refused" else None
    return Told(
        order.status, order.amount or 0, order.currency, order.fulfillment_id,
        order.attempts or 0, order.refunded or 0, failure,
    )  # fmt: skip


def _shown(client: str, t: Transaction) -> Shown:
    if t.client_id == client:
        return Shown(
            t.caused_by, t.type, t.status, t.reason, t.balance_before, t.balance_after,
            t.counterparty,
        )  # fmt: skip
    assert t.counterparty == client
    seen = seen_by_peer(t)
    return Shown(
        t.caused_by, seen.type, t.status, None, seen.balance_before, seen.balance_after,
        t.client_id,
    )  # fmt: skip


def _play(script: Script, model: Model, book: Book) -> set[str]:
    """Give each step to both and compare; gives the reasons that were met."""
    met = set()
    rules = Rules(auto_create=model.auto_create, transfer_refund=model.transfer_refund)
    for offset, step in enumerate(script):
        if not isinstance(step, Sent):
            _take_turn(step, model, book)
            continue
        decision = decide(_command(step, offset), book, rules)
        expected = model.answer(step)
        assert _outcome(step.client, decision) == expected, step
        met |= {expected.reason} - {None}
    return {reason for reason in met if reason is not None}


def _take_turn(step: Turn, model: Model, book: Book) -> None:
    """What happens without a command: an operator's hand, time, and the worker's sweep."""
    if isinstance(step, Status):
        wallet = book.wallet(step.client, step.currency)
        if wallet is not None:
            wallet.status = step.status
            model.wallets[step.client, step.currency].status = step.status
    elif isinstance(step, Due):
        key = step.client, step.hold
        if key in book.holds:
            book.holds[key].expires_at = _NOW
            model.holds[key].due = True
    elif isinstance(step, Called):
        job = _job(step, book)
        if model.call(step.client, step.order):
            assert job is not None
            job.lease_token, job.is_leased = job.lease_token + 1, True
            job.attempts_made += 1
        else:
            assert job is None
    elif isinstance(step, Ended):
        _end(step, model, book)
    else:
        released = [key for key, hold in sorted(book.holds.items()) if expire(hold, book)]
        assert released == model.sweep()


def _job(step: Called | Ended, book: Book) -> Job | None:
    order = book.orders.get((step.client, step.order))
    return None if order is None else order.job


def _end(step: Ended, model: Model, book: Book) -> None:
    job = _job(step, book)
    if not model.end(step.client, step.order, step.end):
        assert job is None or not job.has_begun
        return
    assert job is not None
    found = Settlement(step.client, step.order, job.lease_token, job.attempts_made)
    assert settle(found._replace(lease_token=job.lease_token + 1), book) is None
    if step.end == "completed":
        found = found._replace(fulfillment_id=f"f-{step.order}")
    else:
        refusal = Refusal("fulfillment_refused", "The answer was 400.")
        found = found._replace(failure=refusal, keeps_money=step.end == "kept")
    row = settle(found, book)
    assert row is not None
    assert settle(found, book) is None
    told = model.told(Sent(step.client, "", "get_order", order=step.order))
    assert _told(unpack_state(row)) == told


def _assert_same_end(model: Model, book: Book) -> None:
    wallets = [wallet for mine in book.wallets.values() for wallet in mine.values()]
    balances = {(wallet.client_id, wallet.currency): wallet.total for wallet in wallets}
    assert {
        (w.client_id, w.currency): (w.available, w.held or 0, w.escrow or 0) for w in wallets
    } == {
        key: (wallet.balance, wallet.held, wallet.escrow) for key, wallet in model.wallets.items()
    }
    statuses = {(w.client_id, w.currency): w.status for w in wallets}
    assert statuses == {key: wallet.status for key, wallet in model.wallets.items()}
    clients = {c.client_id: c.registered for c in book.clients.values()}
    assert clients == {name: client.registered for name, client in model.clients.items()}
    journal: dict[tuple[str, str], int] = {}
    for t in book.journal:
        for kind, sign in ((t.debit_kind, -1), (t.credit_kind, 1)):
            if kind is not None and kind not in CLIENT_KINDS and t.amount is not None:
                account = kind, str(t.currency)
                journal[account] = journal.get(account, 0) + sign * t.amount
    assert journal == model.system
    for currency in CURRENCIES:
        outside = sum(amount for (_, c), amount in journal.items() if c == currency)
        inside = sum(amount for (_, c), amount in balances.items() if c == currency)
        assert outside + inside == 0


@settings(max_examples=300, deadline=None)
@given(scripts, st.booleans(), st.booleans())
def test_any_script_of_commands_is_answered_as_the_contract_says(
    script: Script, auto_create: bool, transfer_refund: bool
) -> None:
    model, book = Model(auto_create, transfer_refund), _book()
    _play(script, model, book)
    _assert_same_end(model, book)


def test_long_scripts_meet_every_reason() -> None:
    random, met = Random(7), set()
    for number in range(50):
        model, book = Model(auto_create=number % 2 == 0, transfer_refund=True), _book()
        met |= _play([random_step(random) for _ in range(800)], model, book)
        _assert_same_end(model, book)
    assert met == set(REASONS)


def test_the_models_order_of_reasons_is_the_ledgers() -> None:
    assert [code for code in REASON_CODES if code in REASONS] == list(REASONS)
