"""The schema's versions: apply what is missing, and say what is."""

import warnings
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from ledger.database import connect

with (
    warnings.catch_warnings()
):  # yoyo still imports pkg_resources' successor with a deprecation of its own
    warnings.simplefilter("ignore", DeprecationWarning)
    from yoyo import get_backend, read_migrations

MIGRATIONS = Path(__file__).parent / "sql" / "migrations"

# Any constant: two `wallet migrate` of one database wait for each other on it. Unlike yoyo's own
# lock table it is gone with its session, so that a killed migration needs no breaking of locks.
_MIGRATION_LOCK = 0x77616C6C6574


def migrate(database_url: str) -> list[str]:
    """Apply every missing migration as the schema's owner, and give the names of those applied now.

    May run again at any time, and by several at once. Each migration is one transaction.
    Raises psycopg.Error; a migration that failed has left nothing behind.
    """
    with connect(
        database_url, application_name="wallet-migrate", role=None, long_queries=True
    ) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        backend = get_backend(_yoyo_url(database_url, guard.info.dbname))
        try:
            missing = backend.to_apply(read_migrations(str(MIGRATIONS)))
            backend.apply_migrations(missing)
            return [migration.id for migration in missing]
        finally:
            backend.connection.close()


def pending(database_url: str) -> list[str]:
    """The names of the migrations that this code needs and the database lacks."""
    wanted = sorted(path.stem for path in MIGRATIONS.glob("*.sql") if ".rollback" not in path.name)
    with connect(
        database_url, application_name="wallet-schema", role=None, long_queries=True
    ) as connection:
        known = connection.execute("SELECT to_regclass('_yoyo_migration')").fetchone()
        if known is None or known[0] is None:
            return wanted
        rows = connection.execute("SELECT migration_id FROM _yoyo_migration").fetchall()
    applied = {str(row[0]) for row in rows}
    return [name for name in wanted if name not in applied]


def _yoyo_url(database_url: str, database: str) -> str:
    """Any libpq conninfo as the URL that yoyo takes; it hands the query on to libpq."""
    given = {name: str(value) for name, value in conninfo_to_dict(database_url).items()}
    # Always named, and in the query, whose escapes yoyo reads: it hands an absent name on as an
    # empty one, and libpq would then take the user's name instead of PGDATABASE, another database
    # than every other process works in.
    given["dbname"] = database
    query = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in given.items())
    return f"postgresql+psycopg:///?{query}"
