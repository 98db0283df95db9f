"""`wallet verify`: the books."""

import typer

from ledger.migration import pending
from ops.cli import place
from ops.cli.verb import Json, examples, single
from ops.readiness import check_migrations
from ops.verify import check_books

_EPILOG = examples("wallet verify", "wallet verify --json | jq '.checks[] | select(.holds | not)'")


def _verify(as_json: Json = False) -> None:
    """Check the books while everything runs: balances against the journal, every currency's sum,
    every account's chain of balances, every input record's answer.

    Exit 1, and the rows at fault, if a check fails.
    """
    found = place.database()
    check_migrations(pending(found.database_url))
    if not check_books(found.database_url, as_json=as_json):
        raise typer.Exit(1)


application = single(_verify, _EPILOG, "verify")
