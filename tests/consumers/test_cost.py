"""What a batch costs, counted and not timed: no noise can trip it, and no slower way slips in."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg.pq import Trace

from ledger import outbox
from ledger.database import connect
from ledger.outbox import Outbox
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper, Record
from tests.ledger.damage import command

CLIENTS = 500
COMMANDS = 1_000

_PAGE_BYTES = 8_192
_COUNTERS = """
SELECT (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables),
       (SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'accounts_pkey'),
       wal_bytes, wal_fpi
FROM pg_stat_get_backend_wal(%s)
"""

_STATISTICS = """
SELECT attname, attstattarget FROM pg_attribute
WHERE attrelid = 'transactions'::regclass AND attnum > 0 AND NOT attisdropped
"""


class Cost(NamedTuple):
    """Of one batch of COMMANDS commands; rows written and WAL bytes are for each of them,
    `account_scans` are the ways down the accounts' index for all.
    """

    round_trips: int
    statements: int
    rows: float
    account_scans: int
    wal_bytes: float


@pytest.fixture
def session(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    with connect(wallet_env.database_url, application_name="test-worker") as connection:
        yield connection


def _mix(chance: random.Random) -> list[Record]:
    """Credits, debits and transfers, 40, 40 and 20 of 100."""
    made = []
    for _ in range(COMMANDS):
        client, share = chance.randrange(CLIENTS), chance.random()
        amount = f"{chance.randrange(1, 500) / 100:.2f}"
        if share < 0.2:
            to = f"client-{(client + chance.randrange(1, CLIENTS)) % CLIENTS}"
            made.append(command(f"client-{client}", "transfer", amount, to_client_id=to))
        else:
            kind = "credit" if share < 0.6 else "debit"
            made.append(command(f"client-{client}", kind, amount))
    return made


@pytest.fixture
def measure(
    wallet_env: WalletEnv, session: psycopg.Connection, tmp_path: Path
) -> Iterator[Measure]:
    with psycopg.connect(wallet_env.database_url, autocommit=True) as watch:
        yield Measure(watch, tmp_path / "trace")


@dataclass(frozen=True, slots=True)
class Measure:
    """Asks the server's own counters through `watch`, and has libpq write down the protocol."""

    watch: psycopg.Connection
    trace: Path

    def cost(self, session: psycopg.Connection, work: Callable[[], object]) -> Cost:
        """What `work` has the session do."""
        before = self._counters(session)
        with self.trace.open("w+b") as trace:
            session.pgconn.trace(trace.fileno())
            session.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
            try:
                work()
            finally:
                session.pgconn.untrace()
        rows, scans, wal_bytes, pages = (
            b - a for a, b in zip(before, self._counters(session), strict=True)
        )
        answers = re.findall(rb"^B\t\d+\t(\w+)", self.trace.read_bytes(), re.MULTILINE)
        return Cost(
            answers.count(b"ReadyForQuery"),
            answers.count(b"CommandComplete"),
            rows / COMMANDS,
            scans,
            # Whole pages, which follow a checkpoint, are no matter of the batch's.
            max(0, wal_bytes - pages * _PAGE_BYTES) / COMMANDS,
        )

    def _counters(self, session: psycopg.Connection) -> tuple[int, ...]:
        session.execute("SELECT pg_stat_force_next_flush()")
        session.execute("SELECT")  # what was counted is handed in between two statements
        found = self.watch.execute(_COUNTERS, (session.info.backend_pid,)).fetchone()
        assert found is not None
        return tuple(int(value) for value in found)


def test_a_batch_of_money_stays_within_its_round_trips_statements_rows_and_wal(
    session: psycopg.Connection, measure: Measure
) -> None:
    books, chance = Bookkeeper(session), random.Random(1)
    books.apply([command(f"client-{n}", "credit", "1000") for n in range(CLIENTS)])
    books.apply(_mix(chance))  # the statements are prepared now
    items = books.items(_mix(chance))
    cost = measure.cost(session, lambda: books.enter(items))
    # One round trip each: locking and loading; the journal's COPY; accounts, outbox, positions and
    # COMMIT.
    assert cost.round_trips <= 3
    assert cost.statements <= 8
    # The journal's row; each client's account once; the outbox's rows are shared by many answers.
    assert 1.4 <= cost.rows <= 1.7
    # To lock each client's; they are written where they stand.
    assert CLIENTS * 0.8 <= cost.account_scans <= CLIENTS
    assert 500 <= cost.wal_bytes <= 1_400


def test_a_batch_of_the_relays_stays_within_its_round_trips_statements_and_wal(
    wallet_env: WalletEnv,
    session: psycopg.Connection,
    measure: Measure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[psycopg.Connection] = []

    def opening(url: str, *, application_name: str) -> psycopg.Connection:
        opened.append(connect(url, application_name=application_name))
        return opened[-1]

    monkeypatch.setattr(outbox, "connect", opening)
    books = Bookkeeper(session)
    books.enter(books.items(_mix(random.Random(2))))
    with Outbox(wallet_env.database_url, part=0, part_count=1) as relay:

        def round_() -> None:
            batch = relay.read(records_max=10_000, bytes_max=10_000_000)
            assert batch.record_count >= COMMANDS
            assert relay.delete(batch.ids) == len(batch.rows)

        cost = measure.cost(opened[0], round_)
    # Rows, then their clients' accounts, in one transaction; the delete.
    assert cost.round_trips <= 3
    assert cost.statements <= 6
    assert 0.0 < cost.rows <= 0.1
    assert 0 < cost.wal_bytes <= 60


def test_the_journals_statistics_need_few_rows(session: psycopg.Connection) -> None:
    """Autovacuum gathers them again and again, beside batches: of 300 rows for each entry of the
    column that has the most, 100 of them by default.
    """
    found = session.execute(_STATISTICS).fetchall()
    assert [column for column, entries in found if entries is None or entries > 20] == []
    searched = {"client_id", "currency", "id", "counterparty", "order_id", "original_command_id"}
    searched |= {"command_id", "merchant_id"}
    assert searched <= {column for column, entries in found if entries}
