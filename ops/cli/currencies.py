"""`wallet currencies`: ISO 4217's currencies and the operator's own units."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from psycopg import Connection

from ledger.currency import ISO_SCALES, SCALE_MAX, CurrencyError, check_own_unit
from ledger.database import connect
from ledger.migration import pending
from ledger.unit import Unit, add_unit, own_units
from ops.cli import place
from ops.cli.failure import UsageError, VerbError
from ops.cli.screen import console, print_json, say, table
from ops.cli.verb import Json, examples, group
from ops.readiness import check_migrations
from schemas.moment import format_moment

application = group(
    "currencies",
    "The currencies that a command may name, with their number of decimals: ISO 4217's, which "
    "come from a library, and the operator's own units.",
    epilog=examples(
        "wallet currencies list", "wallet currencies list --all", "wallet currencies add COIN 0"
    ),
)


@application.command(
    "list",
    epilog=examples("wallet currencies list", "wallet currencies list --all --json"),
)
def list_(
    all_: Annotated[bool, typer.Option("--all", help="ISO 4217's currencies, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the operator's own units; with --all every currency that is known."""
    with _connection() as connection:
        shown = [_object(unit) for unit in own_units(connection)]
    if all_:
        iso = [_iso_object(code, scale) for code, scale in ISO_SCALES.items()]
        shown = sorted([*shown, *iso], key=lambda entry: str(entry["currency"]))
    if as_json:
        print_json(shown)
    elif not shown:
        say("No units of your own; --all shows ISO 4217's, `wallet currencies add` adds one.")
    else:
        rows = table("Currency", "Decimals", "From", "Added", right=("Decimals",))
        for entry in shown:
            origin = "your own" if entry["own"] else "ISO 4217"
            rows.add_row(
                entry["currency"], str(entry["scale"]), origin, (entry["added_at"] or "")[:19]
            )
        console().print(rows)


@application.command(
    epilog=examples("wallet currencies add COIN 0", "wallet currencies add POINTS2026 2")
)
def add(
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="3 to 12 of A-Z and 0-9, a letter first.")
    ],
    scale: Annotated[
        int, typer.Argument(metavar="DECIMALS", help=f"How many decimals it has, 0 to {SCALE_MAX}.")
    ],
    as_json: Json = False,
) -> None:
    """Add a unit of the operator's own, for good: a scale can't change once there are amounts.

    Running workers know it from the next command on that names it. Exit 1 where the unit is there
    already with other decimals; with the same ones there is nothing to do.
    """
    try:
        check_own_unit(code, scale)
    except CurrencyError as error:
        raise UsageError(str(error)) from error
    with _connection() as connection:
        is_new = add_unit(connection, code, scale)
        [unit] = [unit for unit in own_units(connection) if unit.code == code]
    if unit.scale != scale:
        raise VerbError(
            f"{code} is there already, with {unit.scale} decimals: a scale never changes, since "
            "amounts are kept by it. Add a unit of another name"
        )
    if as_json:
        print_json(_object(unit) | {"new": is_new})
    else:
        say(f"Added {code}." if is_new else f"{code} is there already.")


@contextmanager
def _connection() -> Iterator[Connection]:
    found = place.database()
    check_migrations(pending(found.database_url))
    with connect(found.database_url, application_name="wallet-currencies") as connection:
        yield connection


def _object(unit: Unit) -> dict[str, Any]:
    return {
        "currency": unit.code,
        "scale": unit.scale,
        "own": True,
        "added_at": format_moment(unit.created_at),
    }


def _iso_object(code: str, scale: int) -> dict[str, Any]:
    return {"currency": code, "scale": scale, "own": False, "added_at": None}
