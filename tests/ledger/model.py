"""A wallet as the contract tells it, in plain dicts: no rule of the ledger's is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

LIMIT = 9_000_000_000_000_000
RECENT = 10

# Contract §3, as far as the types of today go.
REASONS = (
    "idempotency_conflict", "invalid_request", "unknown_currency", "invalid_amount",
    "client_exists", "email_taken", "phone_taken", "wallet_exists", "client_not_found",
    "wallet_not_found", "wallet_closed", "wallet_frozen", "same_wallet", "recipient_not_found",
    "balance_limit", "insufficient_funds",
)  # fmt: skip
# What the edge finds out before any wallet is looked at.
FAULTS = ("invalid_request", "unknown_currency", "invalid_amount")
# Contract §2: which system account gives, or receives.
GIVING = {"credit": "treasury", "deposit": "cash"}
TAKING = {"debit": "treasury", "withdraw": "cash"}


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


class Shown(NamedTuple):
    """A line of a wallet's history, as that wallet's client sees it."""

    id: str
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


@dataclass
class Wallet:
    """One client's money of one currency."""

    balance: int = 0
    status: str = "open"


@dataclass
class Client:
    """A client; one that money made is not registered yet."""

    registered: bool = False
    email: str | None = None
    phone: str | None = None


@dataclass
class Model:
    """All clients and wallets; `auto_create` as the contract has it."""

    auto_create: bool = True
    clients: dict[str, Client] = field(default_factory=dict)
    wallets: dict[tuple[str, str], Wallet] = field(default_factory=dict)
    system: dict[tuple[str, str], int] = field(default_factory=dict)
    kept: dict[tuple[str, str], tuple[Sent, Outcome]] = field(default_factory=dict)
    history: list[tuple[str, str | None, Shown]] = field(default_factory=list)

    def answer(self, sent: Sent) -> Outcome:
        """What the contract says to this command, and what it does by it."""
        earlier = self.kept.get((sent.client, sent.id))
        if earlier is not None:
            if earlier[0] == sent:
                return earlier[1]._replace(duplicate=True)
            return self._rejected(sent, "idempotency_conflict")
        reasons = set(self._reasons(sent))
        reason = next((code for code in REASONS if code in reasons), None)
        if sent.type == "get_wallet":
            return self._rejected(sent, reason) if reason else self._query(sent)
        outcome = self._rejected(sent, reason) if reason else self._apply(sent)
        self.kept[sent.client, sent.id] = sent, outcome._replace(duplicate=False)
        self._show(sent, outcome)
        return outcome

    def _reasons(self, sent: Sent) -> Iterator[str]:
        """Everything that speaks against the command, in no order."""
        if sent.fault is not None:
            yield sent.fault
            return
        if sent.type == "register_client":
            yield from self._against_registering(sent)
            return
        wallet = self.wallets.get((sent.client, sent.currency or ""))
        makes = sent.type in GIVING and self.auto_create
        if sent.client not in self.clients and not makes:
            yield "client_not_found"
        if sent.type == "get_wallet":
            if sent.currency is not None and wallet is None:
                yield "wallet_not_found"
            return
        if wallet is not None and wallet.status == "closed":
            yield "wallet_closed"
        if sent.type == "open_wallet":
            if wallet is not None and wallet.status != "closed":
                yield "wallet_exists"
            return
        if wallet is None and not makes:
            yield "wallet_not_found"
        yield from self._against_moving(sent, wallet or Wallet())

    def _against_registering(self, sent: Sent) -> Iterator[str]:
        mine = self.clients.get(sent.client)
        if mine is not None and mine.registered:
            yield "client_exists"
        others = [c for name, c in self.clients.items() if name != sent.client]
        if sent.email and any((c.email or "").lower() == sent.email.lower() for c in others):
            yield "email_taken"
        if sent.phone and any(c.phone == sent.phone for c in others):
            yield "phone_taken"

    def _against_moving(self, sent: Sent, wallet: Wallet) -> Iterator[str]:
        amount = sent.amount or 0
        if sent.type in GIVING:
            if wallet.balance + amount > LIMIT:
                yield "balance_limit"
            return
        if wallet.status == "frozen":
            yield "wallet_frozen"
        if wallet.balance < amount:
            yield "insufficient_funds"
        if sent.type == "transfer":
            if sent.to == sent.client:
                yield "same_wallet"
            peer = self.wallets.get((sent.to or "", sent.currency or ""))
            opens = peer is None and self.auto_create and sent.to in self.clients
            if not opens and (peer is None or peer.status == "closed"):
                yield "recipient_not_found"
            if peer is not None and peer.balance + amount > LIMIT:
                yield "balance_limit"

    def _apply(self, sent: Sent) -> Outcome:
        if sent.type == "register_client":
            mine = self.clients.setdefault(sent.client, Client())
            mine.registered, mine.email, mine.phone = True, sent.email, sent.phone
            return self._unchanged(sent, "applied", None)
        wallet = self._open(sent.client, sent.currency or "")
        if sent.type == "open_wallet":
            return self._unchanged(sent, "applied", None)
        amount, before = sent.amount or 0, wallet.balance
        wallet.balance += amount if sent.type in GIVING else -amount
        if sent.type == "transfer":
            peer = self._open(sent.to or "", sent.currency or "")
            peer.balance += amount
            came = Shown(
                sent.id, "transfer_received", "applied", None, peer.balance - amount, peer.balance,
                sent.client,
            )  # fmt: skip
            self.history.append((sent.to or "", sent.currency, came))
        else:
            account = (GIVING | TAKING)[sent.type], sent.currency or ""
            self.system[account] = self.system.get(account, 0) - (wallet.balance - before)
        return Outcome("applied", None, before, wallet.balance)

    def _open(self, client: str, currency: str) -> Wallet:
        self.clients.setdefault(client, Client())
        return self.wallets.setdefault((client, currency), Wallet())

    def _rejected(self, sent: Sent, reason: str) -> Outcome:
        return self._unchanged(sent, "rejected", reason)

    def _unchanged(self, sent: Sent, status: str, reason: str | None) -> Outcome:
        wallet = self.wallets.get((sent.client, sent.currency or ""))
        balance = None if wallet is None else wallet.balance
        return Outcome(status, reason, balance, balance)

    def _query(self, sent: Sent) -> Outcome:
        wallets = tuple(
            (currency, wallet.balance, wallet.status)
            for (client, currency), wallet in sorted(self.wallets.items())
            if client == sent.client and sent.currency in {None, currency}
        )
        mine = [
            shown
            for client, currency, shown in reversed(self.history)
            if client == sent.client and sent.currency in {None, currency}
        ]
        return self._unchanged(sent, "answered", None)._replace(
            wallets=wallets, recent=tuple(mine[:RECENT])
        )

    def _show(self, sent: Sent, outcome: Outcome) -> None:
        shown = Shown(
            sent.id, sent.type, outcome.status, outcome.reason, outcome.before, outcome.after,
            sent.to,
        )  # fmt: skip
        self.history.append((sent.client, sent.currency, shown))
