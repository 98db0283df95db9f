"""Grown tables in minutes: clients and transactions by COPY, with books that hold."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import Connection, sql

from ops.bench.ground import Ground
from ops.bench.plan import Plan
from ops.bench.progress import Progress

_ROWS_PER_CHUNK = 100_000
# A btree that grew by keys in no order is filled to ln 2 of its pages. One that is built at once
# would be denser, and split at every other command after it.
_FILL_PERCENT = 70

# Client i of N takes its turn in every pass over all of them: credit, debit, credit, debit, and a
# transfer to the next. So each balance is known without looking at the rows before. The first
# credit is larger than the rest, and after five turns the balance is what it was.
_FIRST_MINOR = 100_000
_TYPES = ("credit", "debit", "credit", "debit", "transfer")
_AMOUNTS_MINOR = (500, 300, 300, 500, 200)
_BALANCES_MINOR = (100_000, 99_700, 100_000, 99_500, 99_500)

_COLUMNS = (
    "client_id, command_id, id, type, status, fingerprint, currency, amount, debit_kind, "
    "credit_kind, counterparty, balance_before, balance_after, held_after, peer_balance_after, "
    "source_topic, source_partition, source_offset, created_at"
)
# k is the number of the transaction, i of its client, p of the pass's turn in the cycle of five.
# `settled` is everybody's balance before and after a pass of transfers, `given` what each gives.
# In a pass of transfers all but the first client have received when they give; the last one's
# recipient is the first, who gave first.
_MAKE = """
COPY (
    SELECT 'client-' || (%(first_client)s + s.i), 'preload-' || lpad(s.k::text, 9, '0'),
           %(first_id)s + s.k, s.type, 'applied', sha256(int8send(s.k)), 'USD', s.amount,
           CASE s.type WHEN 'credit' THEN 'treasury' ELSE 'available' END,
           CASE s.type WHEN 'credit' THEN 'available' WHEN 'debit' THEN 'treasury' ELSE 'peer' END,
           CASE WHEN s.gives THEN 'client-' || (%(first_client)s + (s.i + 1) %% %(clients)s) END,
           s.balance - CASE s.type WHEN 'credit' THEN s.amount ELSE -s.amount END, s.balance,
           0::bigint,
           CASE WHEN s.gives THEN %(settled)s
                + CASE WHEN s.i + 1 < %(clients)s THEN %(given)s ELSE 0 END END::bigint,
           %(topic)s::text, (s.k %% %(partitions)s)::integer, s.k / %(partitions)s,
           statement_timestamp()
    FROM (
        SELECT k, i, types[p + 1] AS type, p = 4 AS gives,
               CASE WHEN k < %(clients)s THEN %(first_minor)s
                    ELSE amounts[p + 1] END::bigint AS amount,
               CASE WHEN p < 4 THEN balances[p + 1]
                    WHEN i = 0 THEN %(settled)s - %(given)s
                    ELSE %(settled)s END::bigint AS balance
        FROM (SELECT k, k %% %(clients)s AS i, (k / %(clients)s) %% 5 AS p
              FROM generate_series(%(start)s::bigint, %(end)s - 1) AS k) AS turn
        CROSS JOIN (SELECT %(types)s::text[] AS types, %(amounts)s::bigint[] AS amounts,
                           %(balances)s::bigint[] AS balances) AS known
    ) AS s
) TO STDOUT (FORMAT binary)
"""
_CLIENTS = """
INSERT INTO clients (client_id, registered, created_at, updated_at)
SELECT 'client-' || i, false, statement_timestamp(), statement_timestamp()
FROM generate_series(%(first_client)s + %(start)s::bigint, %(first_client)s + %(end)s - 1) AS i
"""
# `passes` are complete ones, and the first `more` clients have had one more turn.
_ACCOUNTS = """
INSERT INTO accounts (client_id, currency, kind, balance, version, created_at, updated_at)
SELECT 'client-' || (%(first_client)s + i), 'USD', 'available',
       CASE WHEN %(passes)s %% 5 = 4
            THEN %(settled)s + CASE WHEN i BETWEEN 1 AND %(more)s THEN %(given)s ELSE 0 END
                 - CASE WHEN i < %(more)s THEN %(given)s ELSE 0 END
            ELSE (%(balances)s::bigint[])
                 [(%(passes)s - CASE WHEN i < %(more)s THEN 0 ELSE 1 END) %% 5 + 1]
       END,
       %(passes)s, statement_timestamp(), statement_timestamp()
FROM generate_series(%(start)s::bigint, %(end)s - 1) AS i
"""
_POSITIONS = """
INSERT INTO consumer_positions (topic, partition, topic_id, first_offset, next_offset, epoch,
                                results, updated_at)
SELECT %(topic)s, p, 'preload', 0, n, 1, n, statement_timestamp()
FROM generate_series(0, %(partitions)s - 1) AS p
CROSS JOIN LATERAL (SELECT (%(count)s - p + %(partitions)s - 1) / %(partitions)s AS n) AS counted
"""
_INDEXES = """
SELECT i.relname, x.indisprimary, m.amname = 'btree'
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_am AS m ON m.oid = i.relam
WHERE x.indrelid = %s::regclass ORDER BY i.relname
"""

# Called with what is being made, how much is done and how much there is.
Report = Callable[[str, int, int], None]
Session = Connection[Any]


@dataclass(frozen=True, slots=True)
class Bulk:
    """`count` transactions of `clients` clients, numbered from `first_client` on.

    At least two clients, and a transaction for each. The rows name records of `topic`, in so many
    partitions, whose positions are made with them.
    """

    count: int
    clients: int
    first_client: int
    topic: str
    partitions: int


def load_rows(ground: Ground, plan: Plan, progress: Progress) -> float:
    """Add the plan's clients and transactions, numbered after those there are; the seconds taken.

    Raises psycopg.Error.
    """
    began = time.monotonic()
    settings = ground.settings
    bulk = Bulk(
        plan.preload,
        plan.preload_clients,
        plan.clients,
        f"{settings.topic_prefix}wallet-preload",
        settings.partitions,
    )
    with ground.connect() as session, ground.connect() as second:
        preload(session, second, bulk, progress.parts("preload"))
    return time.monotonic() - began


def preload(session: Session, second: Session, bulk: Bulk, report: Report) -> None:
    """Add clients and transactions of theirs to the books, which then hold as before.

    Nobody else may be at work. Both sessions are in autocommit and the owner's: one makes the rows,
    the other takes them. Raises psycopg.Error.
    """
    count, clients = bulk.count, bulk.clients
    passes, more = divmod(count, clients)
    known: dict[str, Any] = {
        **asdict(bulk), "passes": passes, "more": more, "first_id": _take_ids(session, count),
        "types": list(_TYPES), "amounts": list(_AMOUNTS_MINOR), "balances": list(_BALANCES_MINOR),
        "first_minor": _FIRST_MINOR, "given": _AMOUNTS_MINOR[-1], "settled": _BALANCES_MINOR[-1],
    }  # fmt: skip
    session.execute("SET maintenance_work_mem = '256MB'")
    for label, statement in (("clients", _CLIENTS), ("accounts", _ACCOUNTS)):
        for start, end in _chunks(clients):
            report(label, start, clients)
            session.execute(statement, {**known, "start": start, "end": end})
    indexes = _drop_indexes(session)
    for start, end in _chunks(count):
        report("transactions", start, count)
        _copy(second, session, {**known, "start": start, "end": end})
    for done, (name, definition, is_primary) in enumerate(indexes):
        report("indexes", done, len(indexes))
        _make_index(session, name, definition, is_primary=is_primary)
    for table in ("clients", "accounts"):
        _rebuild_indexes(session, table)
    session.execute(_POSITIONS, known)
    report("vacuum", 0, 1)
    session.execute("VACUUM (ANALYZE) clients, accounts, transactions, consumer_positions")


def _take_ids(session: Session, count: int) -> int:
    """Take `count` ids in a row off the journal's sequence; the first of them."""
    row = session.execute(
        "SELECT setval('transaction_ids', nextval('transaction_ids') + %s - 1)", (count,)
    ).fetchone()
    if row is None:
        raise LookupError("setval() gave no row")
    return int(row[0]) - count + 1


def _chunks(count: int) -> list[tuple[int, int]]:
    return [
        (start, min(start + _ROWS_PER_CHUNK, count)) for start in range(0, count, _ROWS_PER_CHUNK)
    ]


def _copy(source: Session, target: Session, parameters: dict[str, Any]) -> None:
    """Have one session make a chunk of the journal, and the other take it, binary all the way."""
    make = _bound(_MAKE, parameters)
    take = sql.SQL("COPY transactions ({}) FROM STDIN (FORMAT binary)").format(sql.SQL(_COLUMNS))
    with (
        source.cursor() as made,
        target.cursor() as taken,
        made.copy(make) as rows,
        taken.copy(take) as copy,
    ):
        for row in rows:
            copy.write(row)


def _bound(statement: str, parameters: dict[str, Any]) -> bytes:
    """The statement with its parameters written in: COPY takes none."""
    literals = {name: sql.Literal(value).as_string() for name, value in parameters.items()}
    return (statement % literals).encode()


def _drop_indexes(session: Session) -> list[tuple[str, str, bool]]:
    """Drop the journal's indexes: name, definition, and whether it is the primary key's of each."""
    dropped = []
    for name, is_primary, is_btree in session.execute(_INDEXES, ("transactions",)).fetchall():
        if is_btree:
            _alter(session, name, f"SET (fillfactor = {_FILL_PERCENT})")
        row = session.execute("SELECT pg_get_indexdef(%s::regclass)", (name,)).fetchone()
        dropped.append((str(name), str(row and row[0]), bool(is_primary)))
        drop = "ALTER TABLE transactions DROP CONSTRAINT {}" if is_primary else "DROP INDEX {}"
        session.execute(sql.SQL(drop).format(sql.Identifier(name)))
    return dropped


def _make_index(session: Session, name: str, definition: str, *, is_primary: bool) -> None:
    session.execute(definition.encode())
    if is_primary:
        add = "ALTER TABLE transactions ADD CONSTRAINT {0} PRIMARY KEY USING INDEX {0}"
        session.execute(sql.SQL(add).format(sql.Identifier(name)))
    if f"fillfactor='{_FILL_PERCENT}'" in definition:
        _alter(session, name, "RESET (fillfactor)")


def _rebuild_indexes(session: Session, table: str) -> None:
    for name, _, _ in session.execute(_INDEXES, (table,)).fetchall():
        _alter(session, name, f"SET (fillfactor = {_FILL_PERCENT})")
        session.execute(sql.SQL("REINDEX INDEX {}").format(sql.Identifier(name)))
        _alter(session, name, "RESET (fillfactor)")


def _alter(session: Session, index: str, change: str) -> None:
    statement = sql.SQL("ALTER INDEX {} ").format(sql.Identifier(index))
    session.execute(statement + sql.SQL(change))
