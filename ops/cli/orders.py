"""`wallet orders`: the orders that wait, failed, or may have been delivered; and the breaker."""

import re
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from ledger import fulfillment, order_query, query
from ledger.breaker import Breaker, BreakerState
from ledger.database import connect
from ledger.migration import pending
from ledger.order_query import Filter
from ops.cli import place
from ops.cli.failure import UsageError
from ops.cli.line import STYLES, money
from ops.cli.order import order_object
from ops.cli.screen import console, print_json, safe, table
from ops.cli.verb import Json, examples, single
from ops.readiness import check_migrations
from schemas.moment import format_moment

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_EPILOG = examples(
    "wallet orders",
    "wallet orders --status pending --older-than 10m",
    "wallet orders --unknown --json",
    "wallet orders --client alice --limit 200",
)


def _orders(
    status: Annotated[
        Literal["pending", "completed", "failed", "cancelled"] | None,
        typer.Option(help="Only orders of this status.", show_default=False),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only those that nothing has changed of for so long: 90s, 10m, 2h or 3d.",
            show_default=False,
        ),
    ] = None,
    unknown: Annotated[
        bool,
        typer.Option("--unknown", help="Only failed ones that may have been delivered."),
    ] = False,
    client: Annotated[
        str | None,
        typer.Option(metavar="CLIENT", help="Only this client's.", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="COUNT", help="How many at most.")
    ] = 50,
    as_json: Json = False,
) -> None:
    """List orders, those first whose last change is the longest ago, and tell of the breaker.

    While the circuit breaker is open no order is sent to the fulfillment API but probes.
    """
    if unknown and status not in (None, "failed"):
        raise UsageError("--unknown lists failed orders: --status must be left out or failed")
    wanted = Filter(
        client_id=client,
        status=status,
        reason="fulfillment_unknown" if unknown else None,
        older_than_s=None if older_than is None else _seconds(older_than),
    )
    found = place.database()
    check_migrations(pending(found.database_url))
    with connect(
        found.database_url, application_name="wallet-orders", long_queries=True
    ) as connection:
        rows = order_query.orders(connection, wanted, limit)
        currencies = query.currencies(connection)
        counts = order_query.counts(connection)
        breaker = fulfillment.look(connection).breaker
    shown = [order_object(row, currencies) for row in rows]
    if as_json:
        print_json({"breaker": _breaker_object(breaker), "counts": counts, "orders": shown})
    else:
        _print(shown, counts, breaker, is_full=len(rows) == limit)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9})(s|m|min|h|d)", text)
    if found is None:
        raise UsageError(f"--older-than takes a time such as 90s, 10m, 2h or 3d, not {text!r}")
    return float(int(found[1]) * _SECONDS[found[2]])


def _breaker_object(breaker: Breaker) -> dict[str, Any]:
    since = breaker.opened_at or breaker.ramp_from
    return {
        "state": breaker.state.name.lower(),
        "since": None if since is None else format_moment(since),
        "failures_in_a_row": breaker.failures,
    }


def _print(
    orders: list[dict[str, Any]], counts: dict[str, int], breaker: Breaker, *, is_full: bool
) -> None:
    screen = console()
    if orders:
        rows = table(
            "Client", "Order", "Status", "Amount", "Attempts", "Changed", "Fulfillment or reason",
            right=("Amount", "Attempts"),
        )  # fmt: skip
        for order in orders:
            rows.add_row(
                safe(order["client_id"]),
                safe(order["order_id"]),
                Text(order["status"], STYLES.get(order["status"], "")),
                money(order["amount"], order["currency"]),
                str(order["attempts"]),
                order["updated_at"][:19].replace("T", " "),
                safe(order["fulfillment_id"] or order["reason"] or ""),
            )
        screen.print(rows)
    else:
        screen.print("No such order.")
    if is_full:
        screen.print(f"The first {len(orders)}; --limit shows more.")
    counted = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    screen.print(f"Orders in all: {counted or 'none'}")
    screen.print(_breaker_line(breaker))


def _breaker_line(breaker: Breaker) -> Text:
    since = breaker.opened_at or breaker.ramp_from
    moment = "" if since is None else f" since {since:%Y-%m-%d %H:%M:%S} UTC"
    if breaker.state is BreakerState.OPEN:
        return Text(f"The circuit breaker is open{moment}: only probes are sent.", "bold red")
    if breaker.state is BreakerState.RAMPING:
        return Text(f"The circuit breaker has closed{moment}: orders are sent at a rising rate.")
    return Text("The circuit breaker is closed.")


application = single(_orders, _EPILOG, "orders")
