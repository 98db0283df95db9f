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
    Order,
    Outcome,
    Rate,
    Sent,
    Shown,
    Taken,
    Tokens,
    Told,
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
    tokens: dict[tuple[str, bool], Tokens] = field(default_factory=dict)
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    orders: dict[tuple[str, str], Order] = field(default_factory=dict)
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
        if sent.type not in {*QUERIES, "get_order"} and not self._may_send(sent):
            return self._rejected(sent, "rate_limited")
        reasons = set(against(self, sent))
        reason = next((code for code in REASONS if code in reasons), None)
        if sent.type == "get_order" and reason is None:
            after = self.wallets[sent.client, self.currency_of(sent) or ""].balance
            return Outcome("answered", None, None, after, order=self.told(sent))
        if sent.type in {*QUERIES, "get_order"}:
            return self._rejected(sent, str(reason)) if reason else self._query(sent)
        currency = sent.currency if reason in FAULTS else self.currency_of(sent)
        sent_as = sent._replace(currency=currency)
        if reason is not None:
            outcome = self._rejected(sent_as, reason)
            if sent.type in ("cancel_order", "retry_order") and reason not in FAULTS:
                told = self.told(sent)
                outcome = outcome._replace(order=told and told._replace(failure=None))
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
        order = self.orders.get((sent.client, sent.order or ""))
        if sent.type in ("cancel_order", "retry_order", "get_order") and order is not None:
            return order.currency
        return self.moved.get((sent.client, sent.original or ""), sent.currency)

    def told(self, sent: Sent) -> Told | None:
        """What is told of the order that the request names, None where there is none."""
        order = self.orders.get((sent.client, sent.order or ""))
        if order is None:
            return None
        refunded = 0 if order.has_money else order.amount
        if order.status == "completed":
            refunded = order.amount - self.taken[sent.client, order.placed_by].left
        return Told(
            order.status, order.amount, order.currency, order.fulfillment, order.calls, refunded,
            order.failure,
        )  # fmt: skip

    def call(self, client: str, name: str) -> bool:
        """The fulfillment of a pending order is called; whether there is such an order."""
        order = self.orders.get((client, name))
        if order is None or order.status != "pending":
            return False
        order.begun = True
        order.calls += 1
        return True

    def end(self, client: str, name: str, end: str) -> bool:
        """The fulfillment of a pending order is called, and ends; whether there is one."""
        order = self.orders.get((client, name))
        if order is None or not self.call(client, name):
            return False
        wallet = self.wallets[client, order.currency]
        before = wallet.balance
        if end != "kept":
            wallet.escrow -= order.amount
        if end == "completed":
            order.status, order.fulfillment = "completed", f"f-{name}"
            self._outside("revenue", order.currency, order.amount)
            key = client, order.placed_by
            self.taken[key] = Taken("place_order", order.currency, order.amount, "revenue")
        else:
            order.status, order.failure = "failed", "fulfillment_refused"
            order.has_money = end == "kept"
            wallet.balance += 0 if end == "kept" else order.amount
        kind = f"order_{order.status}"
        shown = Shown(None, kind, "applied", None, before, wallet.balance, None)
        self.history.append((client, order.currency, shown))
        return True

    def _may_send(self, sent: Sent) -> bool:
        """Take a token, of which each topic has its own; the records' time fills, and going
        backwards it takes none away.
        """
        if self.rate is None:
            return True
        key = sent.client, sent.type.endswith("_order")
        tokens = self.tokens.setdefault(key, Tokens(Fraction(self.rate.burst), self.clock_ms))
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
        return [key for key in sorted(self.holds) if self.expire(*key)]

    def expire(self, client: str, name: str) -> bool:
        """The hold is released if its time is over; whether it was."""
        hold = self.holds[client, name]
        if not hold.due or hold.status != "open":
            return False
        hold.status = "expired"
        self._release(client, hold.currency, hold.amount, None, "hold_released")
        return True

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
        elif sent.type.endswith("_order"):
            return self._order(sent, wallet)
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

    def _order(self, sent: Sent, wallet: Wallet) -> Outcome:
        before, key = wallet.balance, (sent.client, sent.order or "")
        if sent.type == "place_order":
            self.orders[key] = Order(sent.id, sent.currency or "", sent.amount or 0)
        order = self.orders[key]
        takes = sent.type == "place_order" or not order.has_money
        if sent.type == "cancel_order":
            order.status, takes = "cancelled", False
        elif sent.type == "retry_order":
            order.status, order.begun, order.failure = "pending", False, None
            if not takes:
                del self.moved[sent.client, sent.id]
        if takes or sent.type == "cancel_order":
            change = order.amount if takes else -order.amount
            wallet.escrow += change
            wallet.balance -= change
        order.has_money = sent.type != "cancel_order"
        return self._applied(sent, before)._replace(order=self.told(sent))

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
