"""What operators ask of the tables: a client, its wallets, a page of its history."""

from datetime import datetime
from typing import NamedTuple

from psycopg import Connection, IsolationLevel

from ledger.currency import Currencies
from ledger.statement import statements
from ledger.unit import own_scales

_SQL = statements("query.sql")


class ClientRow(NamedTuple):
    """A client's profile. `registered` is False for one that its first credit has made."""

    client_id: str
    registered: bool
    name: str | None
    email: str | None
    phone: str | None
    created_at: datetime
    updated_at: datetime


class WalletRow(NamedTuple):
    """One wallet as it stands or stood; both balances in minor units.

    `version` is None where it is told from the journal.
    """

    currency: str
    balance: int
    held: int
    status: str
    version: int | None
    updated_at: datetime


class HistoryRow(NamedTuple):
    """One transaction as the client sees it; amount and balances in minor units."""

    transaction_id: int
    command_id: str | None
    type: str
    status: str
    reason: str | None
    currency: str | None
    amount: int | None
    balance_before: int | None
    balance_after: int | None
    reference: str | None
    description: str | None
    counterparty: str | None
    occurred_at: datetime


class ClientView(NamedTuple):
    """A client at one moment. `client` is None where only refused commands bear its name."""

    client: ClientRow | None
    wallets: list[WalletRow]
    history: list[HistoryRow]


def view(connection: Connection, client_id: str, *, page_size: int) -> ClientView:
    """The client, its wallets and its newest transactions, all of one snapshot.

    `connection` is an autocommit one without a transaction under way. Raises psycopg.Error.
    """
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        row = connection.execute(_SQL["client"], {"client_id": client_id}).fetchone()
        found = None if row is None else ClientRow._make(row)
        return ClientView(
            found,
            wallets(connection, client_id),
            history(connection, client_id, page_size=page_size),
        )


def view_at(connection: Connection, client_id: str, at: datetime) -> ClientView:
    """The client's wallets as they stood at that moment, by the journal; without transactions.

    The profile is today's. Needs no transaction: what is past does not change. Raises
    psycopg.Error.
    """
    parameters = {"client_id": client_id, "at": at}
    row = connection.execute(_SQL["client_at"], parameters).fetchone()
    rows = connection.execute(_SQL["wallets_at"], parameters)
    found = None if row is None else ClientRow._make(row)
    return ClientView(found, [WalletRow._make(wallet) for wallet in rows], [])


def wallets(connection: Connection, client_id: str) -> list[WalletRow]:
    """The client's wallets by currency; none for an unknown client. Raises psycopg.Error."""
    rows = connection.execute(_SQL["wallets"], {"client_id": client_id})
    return [WalletRow._make(row) for row in rows]


def history(
    connection: Connection,
    client_id: str,
    *,
    currency: str | None = None,
    before_id: int | None = None,
    page_size: int = 50,
) -> list[HistoryRow]:
    """A page of the client's transactions, newest first, refused and received ones too.

    `currency` None means all, `before_id` is exclusive and None for the newest page. Raises
    psycopg.Error.
    """
    parameters = {
        "client_id": client_id,
        "currency": currency,
        "before_id": before_id,
        "page_size": page_size,
    }
    rows = connection.execute(_SQL["history"], parameters)
    return [HistoryRow._make(row) for row in rows]


def currencies(connection: Connection) -> Currencies:
    """ISO 4217's currencies and the operator's own units. Raises psycopg.Error."""
    return Currencies(own_scales(connection))
