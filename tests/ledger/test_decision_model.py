"""The rules against the model: whatever is sent in whatever order, both say the same."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from random import Random

import pytest

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
from ledger.rate import RateLimit
from ledger.refusal import REASON_CODES, Refusal
from ledger.rule import Rules
from tests.ledger.bookkeeper import topic_of
from tests.ledger.model import Model
from tests.ledger.script import (
    CLIENTS,
    CURRENCIES,
    NUMBER_MAX,
    Called,
    Due,
    Ended,
    Status,
    Step,
    Turn,
    step,
)
from tests.ledger.term import REASONS, Outcome, Rate, Sent, Shown, Told

_NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _book() -> Book:
    book = Book(_NOW, itertools.count(1))
    for client in CLIENTS:
        for currency in (None, *CURRENCIES):
            book.history.setdefault(client, {})[currency, None] = deque()
    return book


def _command(sent: Sent, offset: int, at_ms: int) -> Command:
    refers = sent.type in ("capture", "refund")
    profile = None if sent.name is None else Profile(sent.name, sent.email, sent.phone)
    return Command(
        sent.client, sent.id, sent.type, _content(sent),
        Source(topic_of(sent.type), 0, offset), sent.currency,
        None if refers else sent.amount,
        amount_text=format_amount(sent.amount, 2) if refers and sent.amount else None,
        refusal=None if sent.fault is None else Refusal(sent.fault, "A fault."),
        to_client_id=sent.to, profile=profile, merchant_id=sent.merchant,
        hold_id=sent.hold or (sent.id if sent.type == "hold" else None),
        original_command_id=sent.original, expires_at=_NOW if sent.late else None,
        limit=sent.limit, order_id=sent.order, sent_at_ms=at_ms,
    )  # fmt: skip


def _content(sent: Sent) -> bytes:
    return sha256(repr(sent._replace(gap_ms=0)).encode()).digest()


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


def _play(script: Iterable[Step], model: Model, book: Book) -> set[str]:
    """Give each step to both and compare; gives the reasons that were met."""
    met = set()
    rate = None if model.rate is None else RateLimit(*model.rate)
    rules = Rules(model.auto_create, model.transfer_refund, rate)
    at_ms = int(_NOW.timestamp() * 1000) - 1_000_000_000
    for offset, given in enumerate(script):
        if not isinstance(given, Sent):
            _take_turn(given, model, book)
            continue
        at_ms += given.gap_ms
        decision = decide(_command(given, offset, at_ms), book, rules)
        expected = model.answer(given)
        assert _outcome(given.client, decision) == expected, given
        met |= {expected.reason} - {None}
    return {reason for reason in met if reason is not None}


def _take_turn(turn: Turn, model: Model, book: Book) -> None:
    """What happens without a command: an operator's hand, time, and the worker's sweep."""
    if isinstance(turn, Status):
        wallet = book.wallet(turn.client, turn.currency)
        if wallet is not None:
            wallet.status = turn.status
            model.wallets[turn.client, turn.currency].status = turn.status
    elif isinstance(turn, Due):
        key = turn.client, turn.hold
        if key in book.holds:
            book.holds[key].expires_at = _NOW
            model.holds[key].due = True
    elif isinstance(turn, Called):
        job = _job(turn, book)
        assert model.call(turn.client, turn.order) == (job is not None)
        if job is not None:
            _call(job)
    elif isinstance(turn, Ended):
        _end(turn, model, book)
    else:
        released = [key for key, hold in sorted(book.holds.items()) if expire(hold, book)]
        assert released == model.sweep()


def _job(turn: Called | Ended, book: Book) -> Job | None:
    order = book.orders.get((turn.client, turn.order))
    return None if order is None else order.job


def _call(job: Job) -> None:
    job.lease_token, job.is_leased = job.lease_token + 1, True
    job.attempts_made += 1


def _end(turn: Ended, model: Model, book: Book) -> None:
    job = _job(turn, book)
    assert model.end(turn.client, turn.order, turn.end) == (job is not None)
    if job is None:
        return
    _call(job)
    found = Settlement(turn.client, turn.order, job.lease_token, job.attempts_made)
    assert settle(found._replace(lease_token=job.lease_token + 1), book) is None
    if turn.end == "completed":
        found = found._replace(fulfillment_id=f"f-{turn.order}")
    else:
        refusal = Refusal("fulfillment_refused", "The answer was 400.")
        found = found._replace(failure=refusal, keeps_money=turn.end == "kept")
    row = settle(found, book)
    assert row is not None
    assert settle(found, book) is None
    told = model.told(Sent(turn.client, "", "get_order", order=turn.order))
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


@pytest.mark.parametrize("auto_create", [True, False])
def test_long_scripts_are_answered_as_the_contract_says_and_meet_every_reason(
    auto_create: bool,
) -> None:
    random, met = Random(7), set()
    for number in range(40):
        rate = Rate(10, 4_000) if number % 5 == 0 else None
        model, book = Model(auto_create, number % 7 > 0, rate), _book()
        script = [step(random.randint(0, NUMBER_MAX), ids=200) for _ in range(800)]
        met |= _play(script, model, book)
        _assert_same_end(model, book)
    assert met == set(REASONS)


def test_the_models_order_of_reasons_is_the_ledgers() -> None:
    assert [code for code in REASON_CODES if code in REASONS] == list(REASONS)
