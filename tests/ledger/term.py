"""The contract's words for the model: what is sent, told and shown, and every reason's place."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

LIMIT = 9_000_000_000_000_000
RECENT = 10

# Contract §3.
REASONS = (
    "idempotency_conflict", "rate_limited", "invalid_request", "unknown_currency",
    "invalid_amount", "client_exists", "email_taken", "phone_taken", "wallet_exists",
    "client_not_found", "wallet_not_found", "wallet_closed", "wallet_frozen", "same_wallet",
    "recipient_not_found", "transaction_not_found", "not_refundable", "exceeds_original",
    "hold_exists", "hold_not_found", "hold_expired", "exceeds_hold", "order_exists",
    "order_not_found", "order_not_cancellable", "order_not_retryable", "balance_not_zero",
    "balance_limit", "insufficient_funds",
)  # fmt: skip
# What the edge finds out before any wallet is looked at.
FAULTS = ("invalid_request", "unknown_currency", "invalid_amount")
# Contract §2: which system account gives, or receives.
GIVING = {
    "credit": "treasury", "deposit": "cash", "top_up": "sales", "bonus": "promotions",
    "loyalty": "loyalty",
}  # fmt: skip
TAKING = {
    "debit": "treasury", "withdraw": "cash", "spend": "revenue", "payment": "merchant",
    "capture": "revenue",
}  # fmt: skip
STATUSES = {"freeze_wallet": "frozen", "unfreeze_wallet": "open", "close_wallet": "closed"}
QUERIES = {"get_wallet": RECENT, "get_history": 50}


class Sent(NamedTuple):
    """A command as its sender means it; `fault` is what is wrong with it by itself."""

    client: str
    id: str
    type: str
    currency: str | None = None
    amount: int | None = None
    to: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    fault: str | None = None
    merchant: str | None = None
    hold: str | None = None
    original: str | None = None
    late: bool = False  # a hold whose expires_at is past when it comes
    limit: int | None = None
    order: str | None = None
    gap_ms: int = 0  # its record's timestamp, counted from the record before it; no content


class Told(NamedTuple):
    """What is told of an order; `failure` is why it failed."""

    status: str
    amount: int
    currency: str
    fulfillment: str | None
    attempts: int
    refunded: int
    failure: str | None = None


class Rate(NamedTuple):
    """So many commands of a client in a period, and as many at once after a pause."""

    burst: int
    period_ms: int


class Shown(NamedTuple):
    """A line of a wallet's history, as that wallet's client sees it."""

    id: str | None
    type: str
    status: str
    reason: str | None
    before: int | None
    after: int | None
    counterparty: str | None


class Outcome(NamedTuple):
    """What the sender is told; for queries `wallets` (currency, balance, status) and `recent`."""

    status: str
    reason: str | None = None
    before: int | None = None
    after: int | None = None
    duplicate: bool = False
    wallets: tuple[tuple[str, int, str], ...] | None = None
    recent: tuple[Shown, ...] | None = None
    held: int | None = None
    has_more: bool = False
    order: Told | None = None


@dataclass
class Wallet:
    """One client's money of one currency."""

    balance: int = 0
    status: str = "open"
    held: int = 0
    escrow: int = 0

    @property
    def total(self) -> int:
        """All of it, held money and escrow too."""
        return self.balance + self.held + self.escrow


@dataclass
class Hold:
    """Money set aside; `due` once its time is over."""

    currency: str
    amount: int
    status: str = "open"
    due: bool = False


@dataclass
class Order:
    """An order; `begun` once its round's fulfillment is, `calls` those made so far."""

    placed_by: str
    currency: str
    amount: int
    status: str = "pending"
    has_money: bool = True
    begun: bool = False
    calls: int = 0
    fulfillment: str | None = None
    failure: str | None = None

    @property
    def holds_escrow(self) -> bool:
        """Whether its money is in escrow."""
        return self.has_money and self.status in ("pending", "failed")


@dataclass
class Taken:
    """What a refund may give back: who got it, and how much of it is left."""

    type: str
    currency: str
    left: int
    account: str
    to: str | None = None


@dataclass
class Tokens:
    """What a client may still send, as of a record's time."""

    count: Fraction
    at_ms: int


@dataclass
class Client:
    """A client; one that money made is not registered yet."""

    registered: bool = False
    email: str | None = None
    phone: str | None = None
