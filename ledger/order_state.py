"""An order as one row of the journal left it: what is told of it, each time anew."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from ledger.book import Book, Order, Transaction


class OrderState(NamedTuple):
    """An order at one moment; amounts in minor units.

    What concerns the order is None where there is none (`status`) or it is not known to the
    sender. `refunded` is what of the amount is back in the wallet. `reason` and `detail` say why
    a request was refused, else why the order failed. `balance_after` is the wallet's available
    balance, None without a wallet.
    """

    client_id: str
    order_id: str | None
    status: str | None
    amount: int | None
    currency: str | None
    fulfillment_id: str | None
    attempts: int | None
    refunded: int | None
    reason: str | None
    detail: str | None
    balance_after: int | None
    created_at: datetime | None
    updated_at: datetime | None


def state_of(order: Order, book: Book) -> OrderState:
    """The order as it stands in the book."""
    wallet = book.wallet(order.client_id, order.currency)
    return OrderState(
        order.client_id, order.order_id, order.status, order.amount, order.currency,
        order.fulfillment_id, order.attempts_so_far, book.refunded_of(order), order.reason,
        order.detail, None if wallet is None else wallet.available, order.created_at,
        order.updated_at,
    )  # fmt: skip


def pack_state(state: OrderState) -> str:
    """The JSON text that a row of the journal keeps beside its own columns."""
    kept: dict[str, Any] = {name: getattr(state, name) for name in _KEPT}
    for name in _MOMENTS:
        kept[name] = None if kept[name] is None else kept[name].isoformat()
    return json.dumps(kept, separators=(",", ":"))


def unpack_state(t: Transaction) -> OrderState:
    """What the row tells of its order; for a refused request why it was refused.

    A request that was refused before any order was looked at, or for which there was none, has a
    state with None for all that an order has.
    """
    kept: dict[str, Any] = {} if t.order_state is None else json.loads(t.order_state)
    for name in _MOMENTS:
        if kept.get(name) is not None:
            kept[name] = datetime.fromisoformat(kept[name])
    if t.reason is not None:
        kept |= {"reason": t.reason, "detail": t.detail}
    return OrderState(
        t.client_id, t.order_id, kept.get("status"), t.amount, t.currency,
        kept.get("fulfillment_id"), kept.get("attempts"), kept.get("refunded"),
        kept.get("reason"), kept.get("detail"), t.balance_after, kept.get("created_at"),
        kept.get("updated_at"),
    )  # fmt: skip


_MOMENTS = ("created_at", "updated_at")
_KEPT = ("status", "fulfillment_id", "attempts", "refunded", "reason", "detail", *_MOMENTS)
