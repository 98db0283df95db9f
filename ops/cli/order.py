"""`wallet order`: one order and its life, event by event."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.text import Text

from ledger import order_query, query
from ledger.currency import Currencies
from ledger.database import connect
from ledger.migration import pending
from ledger.order_query import AttemptRow, Filter, Movement, OrderRow
from ops.cli import place
from ops.cli.failure import UsageError, VerbError
from ops.cli.line import STYLES, money
from ops.cli.screen import console, print_json, safe, table
from ops.cli.transaction import amount_text
from ops.cli.verb import Json, examples, single
from ops.readiness import check_migrations
from schemas.moment import format_moment

_EPILOG = examples(
    "wallet order ORD-1", "wallet order ORD-1 --client alice", "wallet order ORD-1 --json"
)
_CLIENTS_MAX = 10


def _order(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")],
    client: Annotated[
        str | None,
        typer.Option(
            metavar="CLIENT",
            help="Whose order; needed where several clients have one of this id.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show an order and its life: requests, calls to the fulfillment API, money moved.

    It asks the ledger itself. Exit 1 if there is no such order.
    """
    found = place.database()
    check_migrations(pending(found.database_url))
    with connect(
        found.database_url, application_name="wallet-order", long_queries=True
    ) as connection:
        rows = order_query.orders(connection, Filter(client, order), _CLIENTS_MAX)
        shown = _only(rows, order, client)
        currencies = query.currencies(connection)
        life = _life(
            order_query.movements(connection, shown),
            order_query.attempts(connection, shown),
            currencies,
        )
    value = order_object(shown, currencies) | {"life": life}
    if as_json:
        print_json(value)
    else:
        _print(value)


def _only(rows: list[OrderRow], order: str, client: str | None) -> OrderRow:
    if len(rows) == 1:
        return rows[0]
    if rows:
        clients = ", ".join(row.client_id for row in rows)
        raise UsageError(
            f"several clients have an order {order!r}: name one by --client ({clients})"
        )
    whose = "" if client is None else f" of client {client!r}"
    raise VerbError(f"there is no order {order!r}{whose}")


def order_object(row: OrderRow, currencies: Currencies) -> dict[str, Any]:
    """An order in the contract's words, and where its money is."""
    moments = {
        name: None if (at := getattr(row, name)) is None else format_moment(at)
        for name in ("created_at", "updated_at", "due_at", "leased_until")
    }
    amounts = {
        name: amount_text(getattr(row, name), row.currency, currencies)
        for name in ("amount", "refunded")
    }
    return row._asdict() | amounts | moments


def _life(
    movements: Iterable[Movement], calls: Iterable[AttemptRow], currencies: Currencies
) -> list[dict[str, Any]]:
    """Everything in the order in which it happened; a call stands where it began."""
    events: list[dict[str, Any]] = [
        {
            "at": format_moment(m.at),
            "event": m.type,
            "outcome": m.reason or m.status,
            "attempt": None,
            "http_status": None,
            "command_id": None if "/" in m.command_id else m.command_id,
            "amount": amount_text(m.amount, m.currency, currencies) if m.debit_kind else None,
            "currency": m.currency,
            "from": m.debit_kind,
            "to": m.credit_kind,
        }
        for m in movements
    ]
    events += [
        {
            "at": format_moment(call.at),
            "event": "fulfillment",
            "outcome": call.outcome,
            "attempt": call.attempt,
            "http_status": call.http_status,
            "error": call.error,
            "counted": call.counted,
            "duration_ms": call.duration_ms,
        }
        for call in calls
    ]
    return sorted(events, key=lambda event: str(event["at"]))


def _print(value: dict[str, Any]) -> None:
    screen = console()
    line = Text(f"{value['client_id']}  {safe(value['order_id'])}  ", "bold")
    line.append(value["status"], STYLES.get(value["status"], ""))
    line.append(f"  {money(value['amount'], value['currency'])}")
    if value["fulfillment_id"] is not None:
        line.append(f"  fulfillment {safe(value['fulfillment_id'])}")
    screen.print(line, soft_wrap=True)
    if value["detail"] is not None:
        screen.print(Text(f"{value['reason']}: {safe(value['detail'])}", "red"), soft_wrap=True)
    screen.print()
    rows = table("When", "Event", "Outcome", "Attempt", "HTTP", "Money", right=("Attempt", "HTTP"))
    for event in value["life"]:
        rows.add_row(
            event["at"][:23].replace("T", " "),
            event["event"],
            _outcome(event),
            "" if event["attempt"] is None else str(event["attempt"]),
            "" if event["http_status"] is None else str(event["http_status"]),
            _movement(event),
        )
    screen.print(rows)


def _outcome(event: dict[str, Any]) -> Text:
    outcome = Text(event["outcome"], STYLES.get(event["outcome"], ""))
    if event.get("error") is not None:
        outcome.append(f", {event['error']}", "dim")
    if event.get("counted") is False:
        outcome.append(" (not counted)", "dim")
    return outcome


def _movement(event: dict[str, Any]) -> str:
    if event.get("amount") is None:
        return ""
    return f"{money(event['amount'], event['currency'])} {event['from']} → {event['to']}"


application = single(_order, _EPILOG, "order")
