"""`wallet outbox`: what the relay has still to publish."""

from typing import Annotated, Any

import typer

from ledger.backlog import Backlog, read_backlog
from ledger.database import connect
from ledger.migration import pending
from ops.cli import place
from ops.cli.screen import console, print_json, say, table
from ops.cli.verb import Json, examples, group
from ops.readiness import check_migrations
from schemas.moment import format_moment

application = group(
    "outbox",
    "What has been decided and is still to be published by the relay.",
    epilog=examples("wallet outbox status", "wallet outbox status --json --max-age 60"),
)


@application.callback()
def _group() -> None:
    """What has been decided and is still to be published by the relay."""


@application.command(
    epilog=examples("wallet outbox status", "wallet outbox status --json --max-age 60")
)
def status(
    max_age: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Exit 1 where the oldest record has waited longer.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how many records wait for each topic and for how long, and which relays are there.

    Exit 1 where records wait and no relay owns a part.
    """
    found = place.database()
    check_migrations(pending(found.database_url))
    with connect(
        found.database_url, application_name="wallet-outbox", long_queries=True
    ) as connection:
        backlog = read_backlog(connection)
    if as_json:
        print_json(_object(backlog))
    else:
        _print(backlog)
    abandoned = backlog.records > 0 and not any(relay.is_owner for relay in backlog.relays)
    if abandoned:
        say("Records wait and no relay owns the outbox: `wallet run relay` publishes them.")
    if abandoned or (max_age is not None and backlog.oldest_s > max_age):
        raise typer.Exit(1)


def _object(backlog: Backlog) -> dict[str, Any]:
    vacuumed_at = backlog.vacuumed_at
    return {
        "pending": backlog.records,
        "oldest_seconds": round(backlog.oldest_s, 3),
        "topics": [
            {
                "topic": each.topic,
                "pending": each.records,
                "bytes": each.bytes,
                "oldest_at": format_moment(each.oldest_at),
                "oldest_seconds": round(each.oldest_s, 3),
            }
            for each in backlog.waiting
        ],
        "relays": [relay._asdict() for relay in backlog.relays],
        "table": {
            "bytes": backlog.table_bytes,
            "dead_rows": backlog.dead_rows,
            "vacuumed_at": None if vacuumed_at is None else format_moment(vacuumed_at),
        },
    }


def _print(backlog: Backlog) -> None:
    screen = console()
    if backlog.waiting:
        figures = ("Pending", "KiB", "Oldest")
        rows = table("Topic", *figures, right=figures)
        for each in backlog.waiting:
            size, oldest = f"{each.bytes / 1024:,.0f}", f"{each.oldest_s:,.1f} s"
            rows.add_row(each.topic, f"{each.records:,}", size, oldest)
        screen.print(rows)
    else:
        screen.print("Nothing waits.")
    for relay in backlog.relays:
        role = "owner" if relay.is_owner else "standing by"
        screen.print(f"Relay of part {relay.part}: {role}, session {relay.pid}")
    if not backlog.relays:
        screen.print("No relay has a session.")
    vacuumed = "never" if backlog.vacuumed_at is None else f"{backlog.vacuumed_at:%Y-%m-%d %H:%M}"
    screen.print(
        f"Table: {backlog.table_bytes / 1024**2:,.1f} MiB, {backlog.dead_rows:,} dead rows, "
        f"vacuumed by itself: {vacuumed}"
    )
