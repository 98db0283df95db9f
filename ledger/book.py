"""The book of one batch: the accounts it touches as they stand in memory, and what it writes."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from ledger.command import Profile
from ledger.posting import AVAILABLE, ESCROW, HELD, PEER, Posting
from ledger.rate import Bucket

# A page of a client's history: its currency, None for all, and the id that it ends before, None
# for the newest.
PageKey: TypeAlias = tuple[str | None, int | None]


class Transaction(Struct, frozen=True, gc=False):
    """A row of the journal, its fields in the order of the table's columns.

    Amounts and balances in minor units. `debit_kind` and `credit_kind` name accounts
    (ledger.posting), None where no money moved; `peer_balance_after` is the counterparty's.
    `created_at` is when it was decided. The `command_id` of a movement that no command asked for
    by itself has a `/` in it, which no sender's can have: `<command_id>/rest` for what a capture
    left over, `<hold_id>/expired`, `<order_id>/completed/<round>`. `order_state` is the JSON text
    of ledger.order_state, for rows about an order.
    """

    client_id: str
    command_id: str
    id: int
    type: str
    status: str
    reason: str | None
    detail: str | None
    fingerprint: bytes | None
    currency: str | None
    amount: int | None
    debit_kind: str | None
    credit_kind: str | None
    counterparty: str | None
    merchant_id: str | None
    hold_id: str | None
    order_id: str | None
    original_command_id: str | None
    balance_before: int | None
    balance_after: int | None
    held_after: int | None
    escrow_after: int | None
    peer_balance_after: int | None
    reference: str | None
    description: str | None
    metadata: str | None
    order_state: str | None
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    upstream_occurred_at: datetime | None
    created_at: datetime

    @property
    def caused_by(self) -> str | None:
        """The id of the command that caused it; None where time or a fulfillment did."""
        command_id, _, cause = self.command_id.partition("/")
        return command_id if cause in ("", _REST) else None

    @property
    def reaches_peer(self) -> bool:
        """Whether the counterparty's wallet gave or received the money."""
        return PEER in (self.credit_kind, self.debit_kind)


def rest_id(command_id: str) -> str:
    """The journal's id of what a capture released."""
    return f"{command_id}/{_REST}"


def expiry_id(hold_id: str) -> str:
    """The journal's id of a hold's expiry."""
    return f"{hold_id}/{_EXPIRED}"


def settlement_id(order_id: str, status: str, round_number: int) -> str:
    """The journal's id of what became of an order in a round of its fulfillment."""
    return f"{order_id}/{status}/{round_number}"


_REST, _EXPIRED = "rest", "expired"


class Wallet(Struct, gc=False):
    """One client's wallet of one currency: its accounts' balances in minor units.

    `held` and `escrow` are None as long as the wallet has no such account. `place`, `held_place`
    and `escrow_place` say where the database has it (PostgreSQL's `ctid`), None where it has none;
    `version` counts the changes, `changed`, `held_changed` and `escrow_changed` say that there were
    some in this batch.
    """

    client_id: str
    currency: str
    available: int = 0
    held: int | None = None
    status: str = "open"
    version: int = 0
    updated_at: datetime | None = None
    place: str | None = None
    changed: bool = False
    escrow: int | None = None
    held_place: str | None = None
    held_changed: bool = False
    escrow_place: str | None = None
    escrow_changed: bool = False

    @property
    def sides(self) -> int:
        """How many accounts it has beside the available one."""
        return (self.held is not None) + (self.escrow is not None)

    @property
    def total(self) -> int:
        """All of the wallet's money, wherever it stands."""
        return self.available + (self.held or 0) + (self.escrow or 0)

    def move(self, amount: int, now: datetime) -> None:
        """Add `amount` (below zero: take it) to the available balance."""
        self.available += amount
        self.touch(now)

    def post(self, posting: Posting, amount: int, now: datetime) -> None:
        """Move `amount` as the posting says, as far as it concerns this wallet's accounts."""
        for kind, change in ((posting.debit, -amount), (posting.credit, amount)):
            if kind == AVAILABLE:
                self.available += change
            elif kind == HELD:
                self.held = (self.held or 0) + change
                self.held_changed = True
            elif kind == ESCROW:
                self.escrow = (self.escrow or 0) + change
                self.escrow_changed = True
        self.touch(now)

    def change_status(self, status: str, now: datetime) -> None:
        """Open, freeze or close it; nothing is changed where it is so already."""
        if self.status != status:
            self.status = status
            self.touch(now)

    def touch(self, now: datetime) -> None:
        """Count a change, which is to be written."""
        self.version += 1
        self.updated_at = now
        self.changed = True


@dataclass(slots=True)
class Hold:
    """Money set aside under an id of its client's; `status` open, captured, released or expired.

    `correlation_id` and `event_id` are those of the answer that told of it, for the record that
    will tell of its expiry.
    """

    client_id: str
    hold_id: str
    currency: str
    amount: int
    status: str
    command_id: str
    expires_at: datetime | None
    created_at: datetime
    settled_at: datetime | None = None
    correlation_id: str | None = None
    event_id: str | None = None
    stored: bool = False
    changed: bool = False

    def settle(self, status: str, now: datetime) -> None:
        """End it, for good."""
        self.status = status
        self.settled_at = now
        self.changed = True


@dataclass(slots=True)
class Job:
    """The fulfillment of a pending order, as it stood under its lock.

    `lease_token` is 0 until it is leased for the first time, then unique to each lease.
    `is_leased` says that somebody took it and has not given it back, in time or not.
    `attempts_made` counts the calls of this round.
    """

    lease_token: int = 0
    is_leased: bool = False
    attempts_made: int = 0

    @property
    def has_begun(self) -> bool:
        """Whether the order may have reached the fulfillment API in this round."""
        return self.is_leased or self.attempts_made > 0


@dataclass(slots=True)
class Order:
    """An order of its client's; `amount` in minor units, `money` where it is (escrow, revenue,
    wallet), `attempts` those of the rounds that are over.

    `correlation_id`, `event_id` and `headers` (packed) are those of the answer that sent it to
    fulfillment, for the record that will tell of its end. `reason` and `detail` say why it failed.
    `job` is that of a pending order, which needs one; `job_stored` says that the database has one.
    `reference` to `metadata` are known of an order made in this batch alone.
    """

    client_id: str
    order_id: str
    command_id: str
    currency: str
    amount: int
    status: str
    money: str
    fulfillment_id: str | None
    attempts: int
    rounds: int
    reason: str | None
    detail: str | None
    correlation_id: str | None
    event_id: str
    headers: bytes | None
    created_at: datetime
    updated_at: datetime
    job: Job | None = None
    reference: str | None = None
    description: str | None = None
    items: str | None = None
    metadata: str | None = None
    stored: bool = False
    job_stored: bool = False
    changed: bool = False

    @property
    def attempts_so_far(self) -> int:
        """All calls to the fulfillment API, those of the round under way too."""
        return self.attempts + (0 if self.job is None else self.job.attempts_made)

    def change(self, status: str, money: str, now: datetime) -> None:
        """Give it this status and say where its money is now; only a pending one keeps its job."""
        self.status, self.money, self.updated_at = status, money, now
        self.job = Job() if status == "pending" else None
        self.changed = True


@dataclass(slots=True)
class Client:
    """A client as the batch knows it; `profile` is what this batch adds to the row."""

    client_id: str
    registered: bool
    stored: bool
    profile: Profile | None = None


@dataclass(slots=True)
class Book:
    """All that a batch's commands may read, and all that they change; no I/O.

    `transaction_ids` were taken under the accounts' locks, so that an account's rows in id order
    are its history. `wallets` are by client and currency, complete for clients with a query in
    the batch. `known` has earlier outcomes by (client_id, command_id), this batch's too.
    `history` has what a query will show, newest first, by client and page. `holds` are by
    (client_id, hold_id), `orders` by (client_id, order_id), `refunded` has what was given back of
    an original so far, in minor units, by (client_id, command_id), and `buckets` the rate limit's,
    by (client_id, topic).
    `emails` (lower case) and `phones` map to the client that has them.
    """

    now: datetime
    transaction_ids: Iterator[int]
    wallets: dict[str, dict[str, Wallet]] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    known: dict[tuple[str, str], Transaction] = field(default_factory=dict)
    history: dict[str, dict[PageKey, deque[Transaction]]] = field(default_factory=dict)
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    orders: dict[tuple[str, str], Order] = field(default_factory=dict)
    refunded: dict[tuple[str, str], int] = field(default_factory=dict)
    buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)
    emails: dict[str, str] = field(default_factory=dict)
    phones: dict[str, str] = field(default_factory=dict)
    journal: list[Transaction] = field(default_factory=list)

    def wallet(self, client_id: str, currency: str | None) -> Wallet | None:
        """The client's wallet of this currency, None where there is none (or no currency)."""
        mine = self.wallets.get(client_id)
        return None if mine is None or currency is None else mine.get(currency)

    def open_wallet(self, client_id: str, currency: str) -> Wallet:
        """Make the wallet, and the client where there is none."""
        if client_id not in self.clients:
            self.clients[client_id] = Client(client_id, registered=False, stored=False)
        wallet = Wallet(client_id, currency, version=1, updated_at=self.now, changed=True)
        self.wallets.setdefault(client_id, {})[currency] = wallet
        return wallet

    def refunded_of(self, order: Order) -> int:
        """What of the order's amount is back in the wallet, in minor units."""
        if order.money == "wallet":
            return order.amount
        return self.refunded.get((order.client_id, order.command_id), 0)

    def keep(self, transaction: Transaction) -> None:
        """Add an outcome to the journal, to be written and to be found by a repeated command."""
        self.known[transaction.client_id, transaction.command_id] = transaction
        self.journal.append(transaction)
        if self.history:
            self._show(transaction)

    def _show(self, transaction: Transaction) -> None:
        sides = {transaction.client_id}
        if transaction.reaches_peer and transaction.counterparty is not None:
            sides.add(transaction.counterparty)
        for client_id in sides:
            for (currency, before), shown in self.history.get(client_id, {}).items():
                if currency not in (None, transaction.currency):
                    continue
                if before is None or transaction.id < before:
                    shown.appendleft(transaction)
