"""The database's side: settings, rights, clock, and what hangs open."""

from collections.abc import Iterator
from datetime import UTC, datetime

from psycopg import Connection

from ledger import inspection
from ledger.database import RUNTIME_ROLE, connect
from ops.doctor.finding import Finding, error, warning, well

# transaction_timeout, on which the guard against frozen processes rests, came with 17.
_VERSION_MIN = 170_000
_CLOCK_DIFFERENCE_S_MAX = 1.0
_CONNECTIONS_SHARE_MAX = 0.8
# Fewer may be an operator's own, a backup's or a restart's.
_CHECKPOINTS_REQUESTED_MIN = 10
_MIB = 1024 * 1024


def examine_database(database_url: str) -> Iterator[Finding]:
    """Look at a migrated database, as the login itself. Raises psycopg.Error."""
    with connect(
        database_url, application_name="wallet-doctor", role=None, long_queries=True
    ) as connection:
        yield from _durability(connection)
        yield from _rights(connection)
        yield from _tables(connection)
        yield from _sessions(connection)
        yield _clock(connection)
        yield _buffers(connection)
        yield _checkpoints(connection)
    with connect(database_url, application_name="wallet-doctor") as runtime:
        yield _session_settings(runtime)


def _durability(connection: Connection) -> Iterator[Finding]:
    found = inspection.settings(connection)
    version = found["server_version"].split()[0]
    if int(found["server_version_num"]) < _VERSION_MIN:
        yield error(
            "version", f"PostgreSQL is {version}.", "Upgrade it to 17 or newer: transactions of "
            "frozen processes are ended by transaction_timeout, which older ones don't have."
        )  # fmt: skip
    else:
        yield well("version", f"PostgreSQL is {version}.")
    for name in ("fsync", "full_page_writes"):
        if found[name] == "on":
            yield well(name, f"{name} is on.")
        else:
            yield error(
                name, f"{name} is off: a crash of the server can lose or damage the ledger.",
                f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
            )  # fmt: skip
    if found["autovacuum"] == "on":
        yield well("autovacuum", "autovacuum is on.")
    else:
        yield error(
            "autovacuum", "autovacuum is off: the outbox only grows, and reading it slows down.",
            "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();",
        )  # fmt: skip


def _session_settings(connection: Connection) -> Finding:
    """What our own sessions set for themselves, as they really have it."""
    found = inspection.settings(connection)
    wrong = [n for n, want in (("synchronous_commit", "on"), ("jit", "off")) if found[n] != want]
    if wrong:
        return error(
            "session", f"our sessions have another {' and '.join(wrong)} than they ask for.",
            "A connection pooler is in between and keeps settings back: connect directly.",
        )  # fmt: skip
    return well("session", "Our sessions have synchronous_commit on and jit off.")


def _rights(connection: Connection) -> Iterator[Finding]:
    [(login, is_super, may_set)] = inspection.rows(connection, "login")
    if not may_set:
        yield error(
            "login", f"{login} can't become {RUNTIME_ROLE}.", f"GRANT {RUNTIME_ROLE} TO {login};"
        )
    elif is_super:
        yield warning(
            "login", f"{login} is a superuser: our processes can undo every protection.",
            "Give DATABASE_URL a login of its own that may only SET ROLE "
            f"{RUNTIME_ROLE}; the owner belongs in WALLET_MIGRATE_DATABASE_URL.",
        )  # fmt: skip
    else:
        yield well("login", f"{login} is no superuser and may become {RUNTIME_ROLE}.")
    forbidden = [row[0] for row in inspection.rows(connection, "forbidden_rights")]
    [(triggers,)] = inspection.rows(connection, "append_only")
    if forbidden:
        rights = ", ".join(forbidden)
        yield error(
            "journal", f"{RUNTIME_ROLE} has {rights} on transactions: history can be changed.",
            f"REVOKE {rights} ON transactions FROM {RUNTIME_ROLE};",
        )  # fmt: skip
    elif not triggers:
        yield error(
            "journal", "The trigger that keeps the journal from changes is off.",
            "ALTER TABLE transactions ENABLE ALWAYS TRIGGER transactions_append_only;",
        )  # fmt: skip
    else:
        yield well("journal", "The journal is append-only, by rights and by its trigger.")
    missing = [row[0] for row in inspection.rows(connection, "missing_rights")]
    if missing:
        yield error(
            "rights", f"{RUNTIME_ROLE} lacks rights: {', '.join(missing)}.",
            "Grant them again, as the files of ledger/sql/migrations do.",
        )  # fmt: skip
    else:
        yield well("rights", f"{RUNTIME_ROLE} has the rights that our processes need.")


def _tables(connection: Connection) -> Iterator[Finding]:
    wrong = inspection.rows(connection, "sequences")
    for name, cache_size in wrong:
        yield error(
            "sequences", f"{name} has CACHE {cache_size}: ids are taken out of order, and readers "
            "see a client's results so.", f"ALTER SEQUENCE {name} CACHE 1;",
        )  # fmt: skip
    if not wrong:
        yield well("sequences", "Ids are taken one by one (CACHE 1).")
    [(options,)] = inspection.rows(connection, "outbox_options")
    disabled = "autovacuum_enabled=false" in options or "autovacuum_enabled=off" in options
    tuned = any(option.startswith("autovacuum_vacuum_threshold=") for option in options)
    if disabled or not tuned:
        yield warning(
            "outbox", "The outbox is not vacuumed as it was made: reading it slows down.",
            "ALTER TABLE outbox RESET (autovacuum_enabled); ALTER TABLE outbox SET "
            "(autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);",
        )  # fmt: skip
    else:
        yield well("outbox", "The outbox has its own autovacuum settings.")


def _sessions(connection: Connection) -> Iterator[Finding]:
    hanging = inspection.rows(connection, "long_transactions")
    for pid, name, state, seconds in hanging:
        yield warning(
            "transactions", f"Session {pid} ({name or 'unnamed'}, {state or 'hidden'}) has been in "
            f"one transaction for {seconds:,.0f} s: it holds back vacuum, and locks perhaps.",
            f"Find out whose it is; SELECT pg_terminate_backend({pid}); ends it.",
        )  # fmt: skip
    prepared = inspection.rows(connection, "prepared_transactions")
    for gid, seconds in prepared:
        yield error(
            "transactions", f"The prepared transaction {gid!r} has hung for {seconds:,.0f} s, "
            "with its locks.", f"COMMIT PREPARED or ROLLBACK PREPARED '{gid}';",
        )  # fmt: skip
    if not hanging and not prepared:
        yield well("transactions", "No transaction of the database has been open for a minute.")
    [(used,)] = inspection.rows(connection, "connection_count")
    allowed = int(inspection.settings(connection)["max_connections"])
    if used > allowed * _CONNECTIONS_SHARE_MAX:
        yield warning(
            "connections", f"{used} of {allowed} connections are in use.",
            "Raise max_connections, or find out who holds so many.",
        )  # fmt: skip
    else:
        yield well("connections", f"{used} of {allowed} connections are in use.")


def _clock(connection: Connection) -> Finding:
    before = datetime.now(UTC)
    theirs = inspection.clock(connection)
    after = datetime.now(UTC)
    # Where the server's moment lies within ours, nothing can be said against it.
    ahead_s = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    if ahead_s > _CLOCK_DIFFERENCE_S_MAX:
        return warning(
            "clock", f"This machine's clock and PostgreSQL's differ by {ahead_s:,.1f} s.",
            "Synchronise both (chrony, ntpd): what expires is judged by PostgreSQL's.",
        )  # fmt: skip
    return well("clock", "This machine's clock and PostgreSQL's agree.")


def _buffers(connection: Connection) -> Finding:
    """Whether there is room for what commands change in no order: accounts, and the indexes by
    client. The journal itself only grows at its end.
    """
    [(changed, buffers)] = inspection.rows(connection, "changed_in_no_order")
    sizes = f"{changed / _MIB:,.0f} MiB, shared_buffers {buffers / _MIB:,.0f} MiB"
    if changed > buffers:
        return warning(
            "buffers", f"Accounts, and the indexes by client, have {sizes}: commands wait for "
            "pages.", "Raise shared_buffers (up to a quarter of the server's memory) and restart "
            "it; past that, let PostgreSQL have more memory.",
        )  # fmt: skip
    return well("buffers", f"Accounts, and the indexes by client, have {sizes}.")


def _checkpoints(connection: Connection) -> Finding:
    [(timed, requested)] = inspection.rows(connection, "checkpoints")
    counted = f"{requested} of {timed + requested} checkpoints did not come by the clock"
    if requested >= max(timed, _CHECKPOINTS_REQUESTED_MIN):
        return warning(
            "checkpoints", f"{counted}: the log reached max_wal_size before, and behind each "
            "checkpoint whole pages are logged again.",
            "ALTER SYSTEM SET max_wal_size = '8GB'; SELECT pg_reload_conf(); and, to count anew, "
            "SELECT pg_stat_reset_shared('checkpointer');",
        )  # fmt: skip
    return well("checkpoints", f"{counted}.")
