"""A wallet as the contract tells it, in plain dicts: no rule of the ledger's is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from tests.ledger.objection import against
from tests.ledger.term import (
    FAULTS,
    GIVING,
    QUERIES,
    REASONS,
    STATUSES,
    TAKING,
    Client,
    Hold,
    Outcome,
    Rate,
    Sent,
    Shown,
    Taken,
    Tokens,
    Wallet,
)


@dataclass
class Model:
    """All clients and wallets; `auto_create` and the rest of the settings as the contract has
    them. `clock_ms` is the time of the newest record."""

    auto_create: bool = True
    transfer_refund: bool = False
    rate: Rate | None = None
    clock_ms: int = 0
    tokens: dict[str, Tokens] = field(default_factory=dict)
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    taken: dict[tuple[str, str], Taken] = field(default_factory=dict)
    moved: dict[tuple[str, str], str] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    wallets: dict[tuple[str, str], Wallet] = field(default_factory=dict)
    system: dict[tuple[str, str], int] = field(default_factory=dict)
    kept: dict[tuple[str, str], tuple[Sent, Outcome]] = field(default_factory=dict)
    history: list[tuple[str, str | None, Shown]] = field(default_factory=list)

    def answer(self, sent: Sent) -> Outcome:
        """What the contract says to this command, and what it does by it."""
        self.clock_ms += sent.gap_ms
        sent = sent._replace(gap_ms=0)
        earlier = self.kept.get((sent.client, sent.id))
        if earlier is not None:
            if earlier[0] == sent:
                return earlier[1]._replace(duplicate=True)
            return self._rejected(sent, "idempotency_conflict")
        if sent.type not in QUERIES and not self._may_send(sent.client):
            return self._rejected(sent, "rate_limited")
        reasons = set(against(self, sent))
        reason = next((code for code in REASONS if code in reasons), None)
        if sent.type in QUERIES:
            return self._rejected(sent, reason) if reason else self._query(sent)
        currency = sent.currency if reason in FAULTS else self.currency_of(sent)
        sent_as = sent._replace(currency=currency)
        if reason is not None:
            outcome = self._rejected(sent_as, reason)
            self._show(sent_as, outcome)
        else:
            outcome = self._apply(sent_as)
        self.kept[sent.client, sent.id] = sent, outcome
        return outcome

    def currency_of(self, sent: Sent) -> str | None:
        """The command's currency: that of what it refers to, where it refers to something."""
        hold = self.holds.get((sent.client, sent.hold or ""))
        if sent.type in ("capture", "release") and hold is not None:
            return hold.currency
        return self.moved.get((sent.client, sent.original or ""), sent.currency)

    def _may_send(self, client: str) -> bool:
        """Take a token; the records' time fills, and going backwards it takes none away."""
        if self.rate is None:
            return True
        tokens = self.tokens.setdefault(client, Tokens(Fraction(self.rate.burst), self.clock_ms))
        past_ms = max(0, self.clock_ms - tokens.at_ms)
        more = Fraction(self.rate.burst * past_ms, self.rate.period_ms)
        tokens.count = min(Fraction(self.rate.burst), tokens.count + more)
        tokens.at_ms += past_ms
        if tokens.count < 1:
            return False
        tokens.count -= 1
        return True

    def sweep(self) -> list[tuple[str, str]]:
        """The holds whose time is over are released; which."""
        released = []
        for (client, name), hold in sorted(self.holds.items()):
            if hold.due and hold.status == "open":
                hold.status = "expired"
                self._release(client, hold.currency, hold.amount, None, "hold_released")
                released.append((client, name))
        return released

    def _apply(self, sent: Sent) -> Outcome:
        if sent.type == "register_client":
            mine = self.clients.setdefault(sent.client, Client())
            mine.registered, mine.email, mine.phone = True, sent.email, sent.phone
            return self._applied(sent, None)
        wallet = self._open(sent.client, sent.currency or "")
        before = wallet.balance
        if not sent.type.endswith("_wallet"):
            self.moved[sent.client, sent.id] = sent.currency or ""
        if sent.type in STATUSES:
            wallet.status = STATUSES[sent.type]
        elif sent.type == "refund":
            self._refund(sent, wallet)
        elif sent.type in ("capture", "release"):
            return self._settle(sent, wallet)
        elif sent.type != "open_wallet":
            self._move(sent, wallet)
        return self._applied(sent, before)

    def _move(self, sent: Sent, wallet: Wallet) -> None:
        amount, currency = sent.amount or 0, sent.currency or ""
        wallet.balance += amount if sent.type in GIVING else -amount
        if sent.type == "transfer":
            self._reach(sent, sent.to or "", amount, "transfer_received")
            self.taken[sent.client, sent.id] = Taken(sent.type, currency, amount, "", sent.to)
        elif sent.type == "hold":
            wallet.held += amount
            name = sent.hold or sent.id
            self.holds[sent.client, name] = Hold(currency, amount)
        elif sent.type in TAKING:
            account = TAKING[sent.type]
            self.taken[sent.client, sent.id] = Taken(sent.type, currency, amount, account)
            self._outside(account, currency, amount)
        else:
            self._outside(GIVING[sent.type], currency, -amount)

    def _settle(self, sent: Sent, wallet: Wallet) -> Outcome:
        hold, before = self.holds[sent.client, sent.hold or ""], wallet.balance
        hold.status = "released" if sent.type == "release" else "captured"
        if sent.type == "release":
            self._release(sent.client, hold.currency, hold.amount, sent.id, "release")
            return Outcome("applied", None, before, wallet.balance, held=wallet.held)
        amount = hold.amount if sent.amount is None else sent.amount
        if amount < hold.amount:
            self._release(sent.client, hold.currency, hold.amount - amount, sent.id, "release")
        wallet.held -= amount
        self._outside("revenue", hold.currency, amount)
        self.taken[sent.client, sent.id] = Taken("capture", hold.currency, amount, "revenue")
        return self._applied(sent, wallet.balance)._replace(before=before)

    def _release(
        self, client: str, currency: str, amount: int, command: str | None, kind: str
    ) -> None:
        wallet = self.wallets[client, currency]
        wallet.held -= amount
        wallet.balance += amount
        after = wallet.balance
        shown = Shown(command, kind, "applied", None, after - amount, after, None)
        self.history.append((client, currency, shown))

    def _refund(self, sent: Sent, wallet: Wallet) -> None:
        taken = self.taken[sent.client, sent.original or ""]
        amount = taken.left if sent.amount is None else sent.amount
        taken.left -= amount
        wallet.balance += amount
        if taken.to is not None:
            self._reach(sent, taken.to, -amount, "transfer_reversed")
        else:
            self._outside(taken.account, taken.currency, -amount)

    def _reach(self, sent: Sent, to: str, amount: int, kind: str) -> None:
        """The other side of a transfer, or of its refund; `amount` is what it gains."""
        peer = self._open(to, sent.currency or "")
        peer.balance += amount
        after = peer.balance
        came = Shown(sent.id, kind, "applied", None, after - amount, after, sent.client)
        self.history.append((to, sent.currency, came))

    def _outside(self, account: str, currency: str, amount: int) -> None:
        key = account, currency
        self.system[key] = self.system.get(key, 0) + amount

    def _open(self, client: str, currency: str) -> Wallet:
        self.clients.setdefault(client, Client())
        return self.wallets.setdefault((client, currency), Wallet())

    def _applied(self, sent: Sent, before: int | None) -> Outcome:
        """What is told of an applied command, and shown in the wallet's history."""
        outcome = self._unchanged(sent, "applied", None)
        if before is not None:
            outcome = outcome._replace(before=before)
        self._show(sent, outcome)
        return outcome

    def _rejected(self, sent: Sent, reason: str) -> Outcome:
        return self._unchanged(sent, "rejected", reason)

    def _unchanged(self, sent: Sent, status: str, reason: str | None) -> Outcome:
        wallet = self.wallets.get((sent.client, sent.currency or ""))
        if wallet is None:
            return Outcome(status, reason)
        return Outcome(status, reason, wallet.balance, wallet.balance, held=wallet.held)

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
        limit = sent.limit or QUERIES[sent.type]
        return self._unchanged(sent, "answered", None)._replace(
            wallets=wallets,
            recent=tuple(mine[:limit]),
            has_more=sent.type == "get_history" and len(mine) > limit,
        )

    def _show(self, sent: Sent, outcome: Outcome) -> None:
        taken = self.taken.get((sent.client, sent.original or ""))
        refunded = outcome.status == "applied" and sent.type == "refund" and taken is not None
        shown = Shown(
            sent.id, sent.type, outcome.status, outcome.reason, outcome.before, outcome.after,
            taken.to if refunded and taken is not None else sent.to,
        )  # fmt: skip
        self.history.append((sent.client, sent.currency, shown))
