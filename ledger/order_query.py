"""What operators ask about orders: which there are, and one order's life."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from ledger.statement import statements

_SQL = statements("order.sql")


class OrderRow(NamedTuple):
    """An order as it stands; amounts in minor units. `money` is where they are (escrow, revenue,
    wallet), `refunded` what of them is back in the wallet. `due_at` and `leased_until` are those of
    a pending order's job.
    """

    client_id: str
    order_id: str
    status: str
    fulfillment_id: str | None
    currency: str
    amount: int
    money: str
    refunded: int
    attempts: int
    rounds: int
    reason: str | None
    detail: str | None
    reference: str | None
    description: str | None
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    leased_until: datetime | None


class Movement(NamedTuple):
    """A row of the journal about an order; `debit_kind` is None where no money moved."""

    at: datetime
    type: str
    command_id: str
    status: str
    reason: str | None
    currency: str | None
    amount: int | None
    debit_kind: str | None
    credit_kind: str | None


class AttemptRow(NamedTuple):
    """A call to the fulfillment API, as fulfillment_attempts has it."""

    at: datetime
    attempt: int
    round: int
    outcome: str
    counted: bool
    http_status: int | None
    error: str | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which orders; None stands for any. `older_than_s` is for how long nothing has changed."""

    client_id: str | None = None
    order_id: str | None = None
    status: str | None = None
    reason: str | None = None
    older_than_s: float | None = None


def orders(connection: Connection, wanted: Filter, count_max: int) -> list[OrderRow]:
    """The orders, those first whose last change is the longest ago. Raises psycopg.Error."""
    parameters = {
        "client_id": wanted.client_id,
        "order_id": wanted.order_id,
        "status": wanted.status,
        "reason": wanted.reason,
        "older_than_s": wanted.older_than_s,
        "count": count_max,
    }
    return [OrderRow._make(row) for row in connection.execute(_SQL["orders"], parameters)]


def counts(connection: Connection) -> dict[str, int]:
    """How many orders there are of each status. Raises psycopg.Error."""
    return dict(connection.execute(_SQL["counts"]).fetchall())


def movements(connection: Connection, order: OrderRow) -> list[Movement]:
    """What the journal has about the order, in its order. Raises psycopg.Error."""
    key = {"client_id": order.client_id, "order_id": order.order_id}
    return [Movement._make(row) for row in connection.execute(_SQL["movements"], key)]


def attempts(connection: Connection, order: OrderRow) -> list[AttemptRow]:
    """The calls that were made for the order. Raises psycopg.Error."""
    key = {"client_id": order.client_id, "order_id": order.order_id}
    return [AttemptRow._make(row) for row in connection.execute(_SQL["attempts"], key)]
