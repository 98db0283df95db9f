"""The book of one batch: the accounts it touches as they stand in memory, and what it writes."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ledger.command import Profile
from ledger.posting import PEER


class Transaction(NamedTuple):
    """A row of the journal, its fields in the order of the table's columns.

    Amounts and balances in minor units. `debit_kind` and `credit_kind` name accounts
    (ledger.posting), None where no money moved; `peer_balance_after` is the counterparty's.
    `created_at` is when it was decided.
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
    balance_before: int | None
    balance_after: int | None
    held_after: int | None
    peer_balance_after: int | None
    reference: str | None
    description: str | None
    metadata: str | None
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    upstream_occurred_at: datetime | None
    created_at: datetime


@dataclass(slots=True)
class Wallet:
    """One client's wallet of one currency: its accounts' balances in minor units.

    `held` is None as long as the wallet has no held account. `stored` says that the database has
    it; `version` counts the changes, `changed` that there were some in this batch.
    """

    client_id: str
    currency: str
    available: int = 0
    held: int | None = None
    status: str = "open"
    version: int = 0
    updated_at: datetime | None = None
    stored: bool = False
    changed: bool = False

    def move(self, amount: int, now: datetime) -> None:
        """Add `amount` (below zero: take it) to the available balance."""
        self.available += amount
        self.version += 1
        self.updated_at = now
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
    `history` has what a query will show, newest first, by (client_id, currency), where currency
    None means all. `emails` (lower case) and `phones` map to the client that has them.
    """

    now: datetime
    transaction_ids: Iterator[int]
    wallets: dict[str, dict[str, Wallet]] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    known: dict[tuple[str, str], Transaction] = field(default_factory=dict)
    history: dict[tuple[str, str | None], deque[Transaction]] = field(default_factory=dict)
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

    def keep(self, transaction: Transaction) -> None:
        """Add an outcome to the journal, to be written and to be found by a repeated command."""
        self.known[transaction.client_id, transaction.command_id] = transaction
        self.journal.append(transaction)
        if self.history:
            self._show(transaction)

    def _show(self, transaction: Transaction) -> None:
        sides = [transaction.client_id]
        if transaction.counterparty is not None and transaction.credit_kind == PEER:
            sides.append(transaction.counterparty)
        for client_id in sides:
            for currency in (None, transaction.currency):
                shown = self.history.get((client_id, currency))
                if shown is not None:
                    shown.appendleft(transaction)
