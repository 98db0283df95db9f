"""`wallet history`: a client's transactions, page after page or all of them as CSV."""

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any

import typer
from psycopg import Connection

from ledger import query
from ledger.currency import is_code
from ledger.database import connect
from ledger.migration import pending
from ledger.query import HistoryRow
from ops.cli import place
from ops.cli.account import transaction_table
from ops.cli.failure import UsageError, VerbError
from ops.cli.screen import console, print_json, say
from ops.cli.transaction import transaction_object
from ops.cli.verb import Json, examples, single
from ops.readiness import check_migrations

_DEFAULT_LIMIT = 50
_ROWS_PER_QUERY = 1_000
_BIGINT_MAX = 2**63 - 1
# What a spreadsheet would take for a formula, in texts that anybody may have sent.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_COLUMNS = (
    "transaction_id",
    "occurred_at",
    "command_id",
    "type",
    "status",
    "reason",
    "currency",
    "amount",
    "balance_before",
    "balance_after",
    "counterparty",
    "reference",
    "description",
)

_EPILOG = examples(
    "wallet history alice",
    "wallet history alice --currency EUR --limit 200",
    "wallet history alice --before 4711 --json",
    "wallet history alice --csv > alice.csv",
)


def _history(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="The client's id.")],
    currency: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Only this currency's wallet.", show_default=False),
    ] = None,
    before: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_BIGINT_MAX,
            metavar="TRANSACTION_ID",
            help="Only older than this one: the next page.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="COUNT",
            help=f"How many. Default: {_DEFAULT_LIMIT}, and all with --csv.",
            show_default=False,
        ),
    ] = None,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="CSV with a header line. A text that a spreadsheet would take for a formula "
            "has a ' before it.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a client's transactions, newest first, refused and received ones too.

    It asks the ledger itself. JSON is one page, as a get_history answers it: `transactions`, and
    in `next_before` what --before takes next, or null. Exit 1 if there is no such client.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other")
    if currency is not None and not is_code(currency):
        raise UsageError(f"{currency!r} is no code of a currency, such as USD")
    found = place.database()
    check_migrations(pending(found.database_url))
    with connect(
        found.database_url, application_name="wallet-history", long_queries=True
    ) as connection:
        currencies = query.currencies(connection)
        rows = _rows(connection, client, currency, before)
        shown = (transaction_object(row, currencies) for row in rows)
        if as_csv:
            count = _print_csv(islice(shown, limit))
        else:
            count = _print_page(shown, limit or _DEFAULT_LIMIT, as_json=as_json)
        if count == 0:
            _check_client(connection, client)


def _rows(
    connection: Connection, client: str, currency: str | None, before: int | None
) -> Iterator[HistoryRow]:
    """All rows, newest first, a page at a time: no long snapshot, and little memory."""
    while True:
        page = query.history(
            connection, client, currency=currency, before_id=before, page_size=_ROWS_PER_QUERY
        )
        yield from page
        if len(page) < _ROWS_PER_QUERY:
            return
        before = page[-1].transaction_id


def _print_page(shown: Iterator[dict[str, Any]], limit: int, *, as_json: bool) -> int:
    page = list(islice(shown, limit))
    next_before = page[-1]["transaction_id"] if next(shown, None) is not None else None
    if as_json:
        print_json({"transactions": page, "next_before": next_before})
        return len(page)
    if page:
        console().print(transaction_table(page))
    if next_before is not None:
        say(f"There are older ones: --before {next_before}")
    return len(page)


def _print_csv(shown: Iterable[dict[str, Any]]) -> int:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    count = 0
    for count, entry in enumerate(shown, 1):  # noqa: B007 - the last one is the count
        free = {name: _harmless(entry[name]) for name in ("reference", "description")}
        writer.writerow([{**entry, **free}[column] for column in _COLUMNS])
    return count


def _harmless(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text


def _check_client(connection: Connection, client: str) -> None:
    """Nothing was found: raises VerbError where that is so because there is no such client."""
    view = query.view(connection, client, page_size=1)
    if view.client is None and not view.history:
        raise VerbError(f"there is no client {client!r}")
    say("No transactions.")


application = single(_history, _EPILOG, "history")
