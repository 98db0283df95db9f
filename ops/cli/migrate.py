"""`wallet migrate`: the database's schema."""

from ledger.migration import migrate
from ops.cli import place
from ops.cli.screen import print_json, say
from ops.cli.verb import Json, examples, single

_EPILOG = examples(
    "wallet migrate",
    "WALLET_MIGRATE_DATABASE_URL=postgresql://owner@db/wallet wallet migrate",
)


def _migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date, as its owner.

    May run again at any time, and several at once. Connects by WALLET_MIGRATE_DATABASE_URL, else
    DATABASE_URL, else the stack; makes the role wallet_runtime, as which every other process works.
    """
    applied = migrate(place.owner().database_url)
    if as_json:
        print_json({"applied": applied})
    elif applied:
        say(f"Applied {', '.join(applied)}.")
    else:
        say("The schema is up to date.")


application = single(_migrate, _EPILOG, "migrate")
