"""Everything that speaks against a command, by the contract alone, in no order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.ledger.term import GIVING, LIMIT, QUERIES, STATUSES, Sent, Wallet

if TYPE_CHECKING:
    from tests.ledger.model import Model


def against(model: Model, sent: Sent) -> Iterator[str]:
    """Everything that speaks against the command, in no order."""
    if sent.fault is not None:
        yield sent.fault
        return
    if sent.type == "register_client":
        yield from _against_registering(model, sent)
        return
    currency = model.currency_of(sent)
    if sent.currency not in (None, currency):
        yield "invalid_request"
    wallet = model.wallets.get((sent.client, currency or ""))
    makes = sent.type in GIVING and model.auto_create
    if sent.client not in model.clients and not makes:
        yield "client_not_found"
    if sent.type in (*QUERIES, "get_order"):
        yield from _against_asking(model, sent, wallet)
        return
    if wallet is not None and wallet.status == "closed":
        yield "wallet_closed"
    if sent.type == "open_wallet":
        if wallet is not None and wallet.status != "closed":
            yield "wallet_exists"
        return
    if wallet is None and not makes and currency is not None:
        yield "wallet_not_found"
    yield from _against_moving(model, sent, wallet or Wallet())


def _against_asking(model: Model, sent: Sent, wallet: Wallet | None) -> Iterator[str]:
    if sent.type == "get_order":
        if (sent.client, sent.order) not in model.orders:
            yield "order_not_found"
    elif sent.currency is not None and wallet is None:
        yield "wallet_not_found"


def _against_registering(model: Model, sent: Sent) -> Iterator[str]:
    mine = model.clients.get(sent.client)
    if mine is not None and mine.registered:
        yield "client_exists"
    others = [c for name, c in model.clients.items() if name != sent.client]
    if sent.email and any((c.email or "").lower() == sent.email.lower() for c in others):
        yield "email_taken"
    if sent.phone and any(c.phone == sent.phone for c in others):
        yield "phone_taken"


def _against_moving(model: Model, sent: Sent, wallet: Wallet) -> Iterator[str]:
    amount = sent.amount or 0
    if sent.type in STATUSES:
        yield from ["balance_not_zero"] * (sent.type == "close_wallet" and wallet.total > 0)
    elif sent.type in ("capture", "release"):
        yield from _against_settling(model, sent, wallet)
    elif sent.type == "refund":
        yield from _against_refunding(model, sent, wallet)
    elif sent.type in ("cancel_order", "retry_order"):
        yield from _against_ordering(model, sent, wallet)
    elif sent.type in GIVING:
        if wallet.total + amount > LIMIT:
            yield "balance_limit"
    else:
        if wallet.status == "frozen":
            yield "wallet_frozen"
        if wallet.balance < amount:
            yield "insufficient_funds"
    if sent.type == "hold":
        yield from _against_holding(model, sent)
    if sent.type == "place_order" and (sent.client, sent.order) in model.orders:
        yield "order_exists"
    if sent.type == "transfer":
        yield from _against_receiving(model, sent)


def _against_holding(model: Model, sent: Sent) -> Iterator[str]:
    if (sent.client, sent.hold or sent.id) in model.holds:
        yield "hold_exists"
    if sent.late:
        yield "hold_expired"


def _against_receiving(model: Model, sent: Sent) -> Iterator[str]:
    if sent.to == sent.client:
        yield "same_wallet"
    peer = model.wallets.get((sent.to or "", sent.currency or ""))
    opens = peer is None and model.auto_create and sent.to in model.clients
    if not opens and (peer is None or peer.status == "closed"):
        yield "recipient_not_found"
    if peer is not None and peer.total + (sent.amount or 0) > LIMIT:
        yield "balance_limit"


def _against_settling(model: Model, sent: Sent, wallet: Wallet) -> Iterator[str]:
    hold = model.holds.get((sent.client, sent.hold or ""))
    if sent.type == "capture" and wallet.status == "frozen":
        yield "wallet_frozen"
    if hold is None or hold.status in ("captured", "released"):
        yield "hold_not_found"
        return
    if hold.due or hold.status == "expired":
        yield "hold_expired"
    if (sent.amount or 0) > hold.amount:
        yield "exceeds_hold"


def _against_ordering(model: Model, sent: Sent, wallet: Wallet) -> Iterator[str]:
    order = model.orders.get((sent.client, sent.order or ""))
    if order is None:
        yield "order_not_found"
    elif sent.type == "cancel_order":
        waits = order.status == "pending" and not order.begun
        if not waits and not (order.status == "failed" and order.has_money):
            yield "order_not_cancellable"
    elif order.status != "failed":
        yield "order_not_retryable"
    elif not order.has_money:
        if wallet.status == "frozen":
            yield "wallet_frozen"
        if wallet.balance < order.amount:
            yield "insufficient_funds"


def _against_refunding(model: Model, sent: Sent, wallet: Wallet) -> Iterator[str]:
    key = sent.client, sent.original or ""
    taken = model.taken.get(key)
    if key not in model.kept:
        yield "transaction_not_found"
    if taken is None or (taken.to is not None and not model.transfer_refund):
        yield "not_refundable"
        return
    if (sent.amount or 0) > taken.left or taken.left == 0:
        yield "exceeds_original"
    amount = sent.amount or taken.left
    if wallet.total + amount > LIMIT:
        yield "balance_limit"
    peer = None if taken.to is None else model.wallets[taken.to, taken.currency]
    if peer is not None:
        if peer.status == "frozen":
            yield "wallet_frozen"
        if peer.status == "closed":
            yield "recipient_not_found"
        if peer.balance < amount:
            yield "insufficient_funds"
