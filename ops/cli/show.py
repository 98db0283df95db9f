"""`wallet show`: a client's balances and newest transactions, as the ledger has them."""

from datetime import datetime
from typing import Annotated, Any

import typer

from ledger import query
from ledger.currency import Currencies
from ledger.database import connect
from ledger.migration import pending
from ops.cli import place
from ops.cli.account import transaction_table, wallet_table
from ops.cli.failure import UsageError, VerbError
from ops.cli.screen import console, print_json, safe
from ops.cli.transaction import amount_text, transaction_object
from ops.cli.verb import Json, examples, single
from ops.readiness import check_migrations
from schemas.moment import format_moment, parse_moment

_EPILOG = examples(
    "wallet show alice",
    "wallet show alice --last 50",
    "wallet show alice --at 2026-03-01T12:00:00Z",
    "wallet show alice --json",
)


def _show(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="The client's id.")],
    last: Annotated[
        int,
        typer.Option(min=0, max=1000, metavar="COUNT", help="How many transactions, newest first."),
    ] = 10,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The balances as they stood then, by the journal: 2026-03-01T12:00:00Z.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a client's profile, wallets and newest transactions, refused ones too.

    It asks the ledger itself, so it is newer than any topic. Exit 1 if there is no such client.
    """
    moment = None if at is None else _moment(at)
    found = place.database()
    check_migrations(pending(found.database_url))
    with connect(
        found.database_url, application_name="wallet-show", long_queries=True
    ) as connection:
        if moment is None:
            view = query.view(connection, client, page_size=last)
        else:
            view = query.view_at(connection, client, moment)
        currencies = query.currencies(connection)
    shown = _object(client, view, currencies)
    if as_json and (view.client or view.history):
        print_json(shown)
    elif view.client or view.history:
        _print(shown)
    if view.client is None:
        when = None if moment is None else format_moment(moment)
        raise VerbError(_absence(client, when, refused=bool(view.history)))


def _moment(text: str) -> datetime:
    moment = parse_moment(text)
    if moment is None:
        raise UsageError(f"--at takes an RFC 3339 time such as 2026-03-01T12:00:00Z, not {text!r}")
    return moment


def _absence(client: str, when: str | None, *, refused: bool) -> str:
    if when is not None:
        return f"there was no client {client!r} at {when}"
    sentence = f"there is no client {client!r}"
    if refused:
        return f"{sentence}: what is shown was refused, and a refused command makes no client"
    return sentence


def _object(client: str, view: query.ClientView, currencies: Currencies) -> dict[str, Any]:
    """The view in the contract's words: `wallets` and `transactions` as a get_wallet has them."""
    profile = view.client
    return {
        "client_id": client,
        "registered": None if profile is None else profile.registered,
        "name": None if profile is None else profile.name,
        "email": None if profile is None else profile.email,
        "phone": None if profile is None else profile.phone,
        "created_at": None if profile is None else format_moment(profile.created_at),
        "wallets": [
            wallet._asdict()
            | {
                "balance": amount_text(wallet.balance, wallet.currency, currencies),
                "held": amount_text(wallet.held, wallet.currency, currencies),
                "updated_at": format_moment(wallet.updated_at),
            }
            for wallet in view.wallets
        ],
        "transactions": [transaction_object(row, currencies) for row in view.history],
    }


def _print(shown: dict[str, Any]) -> None:
    screen = console()
    name = f"{shown['name']}" if shown["name"] else "not registered" * (not shown["registered"])
    contact = [text for text in (shown["email"], shown["phone"]) if text]
    parts = [part for part in (shown["client_id"], name, *contact) if part]
    screen.print(safe("  ".join(parts)), style="bold", soft_wrap=True)
    screen.print()
    screen.print(wallet_table(shown["wallets"]) if shown["wallets"] else "No wallet.")
    if shown["transactions"]:
        screen.print()
        screen.print(transaction_table(shown["transactions"]))


application = single(_show, _EPILOG, "show")
