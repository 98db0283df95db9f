"""The floor of the relay's reads: nothing that will ever be seen lies below it."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import outbox
from ledger.outbox import Floor, Outbox
from ledger.parcel import OutboxRecord, pack
from tests.conftest import WalletEnv

_RECORD = OutboxRecord(
    "wallet-result", None, b"client-1", b"{}", "event/1", "wallet.x.v1", None, None, None, False
)
_INSERT = """
INSERT INTO outbox (bucket, record_count, byte_count, records, created_at)
SELECT %s, %s, %s, %s, now() FROM generate_series(1, %s)
"""


@dataclass(slots=True)
class _Database:
    """Transactions that begin, take ids and end in any order, as PostgreSQL has them."""

    next_xid: int = 100
    next_id: int = 1
    # Ids taken by transactions that still run, by transaction id; and those that are committed.
    running: dict[int, list[int]] = field(default_factory=dict)
    rows: set[int] = field(default_factory=set)

    def begin(self) -> None:
        self.running[self.next_xid] = []
        self.next_xid += 1

    def take_id(self, choice: int) -> None:
        if self.running:
            sorted(self.running.items())[choice % len(self.running)][1].append(self.next_id)
            self.next_id += 1

    def end(self, choice: int, *, commits: bool) -> None:
        if self.running:
            ids = self.running.pop(sorted(self.running)[choice % len(self.running)])
            self.rows.update(ids if commits else ())

    def snapshot(self) -> str:
        return f"{min(self.running, default=self.next_xid)}:{self.next_xid}:"


_steps = st.lists(
    st.tuples(
        st.sampled_from(("begin", "take", "take", "commit", "abort", "read", "read")),
        st.integers(0, 9),
    ),
    max_size=200,
)


@given(_steps, st.integers(1, 4))
def test_a_read_from_the_floor_on_finds_what_a_read_of_all_finds(
    steps: list[tuple[str, int]], records_max: int
) -> None:
    database, floor = _Database(), Floor()

    def read() -> None:
        seen = sorted(i for i in database.rows if i > floor.id)[:records_max]
        assert seen == sorted(database.rows)[:records_max]
        floor.learn(database.snapshot(), seen)
        # Some reads are published and deleted, some are not.
        if len(seen) % 3:
            database.rows.difference_update(seen)

    for what, choice in steps:
        match what:
            case "begin":
                database.begin()
            case "take":
                database.take_id(choice)
            case "read":
                read()
            case _:
                database.end(choice, commits=what == "commit")
    while database.running:
        database.end(0, commits=True)
    for _ in range(len(database.rows) + 2):
        read()
        database.rows.difference_update(sorted(database.rows)[:records_max])


def test_the_floor_rises_behind_what_is_deleted() -> None:
    floor = Floor()
    floor.learn("100:110:", [1, 2, 3])
    assert floor.id == 0
    floor.learn("109:120:", [4])  # one of then still runs
    assert floor.id == 0
    floor.learn("110:130:", [5])
    assert floor.id == 3
    floor.learn("130:140:", [])
    assert floor.id == 5


def test_an_old_snapshot_makes_no_read_walk_over_what_was_deleted(
    wallet_env: WalletEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_READ_ALL_S", 3_600.0)
    [parcel] = pack([_RECORD])
    with (
        psycopg.connect(wallet_env.database_url) as report,
        psycopg.connect(wallet_env.database_url, autocommit=True) as session,
        Outbox(wallet_env.database_url, part=0, part_count=1) as relay,
    ):
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT FROM outbox")
        session.execute(_INSERT, (*parcel, 10_000))
        batch = relay.read(records_max=20_000, bytes_max=10_000_000)
        assert relay.delete(batch.ids) == 10_000
        for _ in range(3):
            session.execute(_INSERT, (*parcel, 1))
            batch = relay.read(records_max=20_000, bytes_max=10_000_000)
            assert relay.delete(batch.ids) == 1
        session.execute(_INSERT, (*parcel, 1))
        before = _blocks(session, relay)
        assert len(relay.read(records_max=20_000, bytes_max=10_000_000).rows) == 1
        assert _blocks(session, relay) - before < 50


def _blocks(session: psycopg.Connection, relay: Outbox) -> int:
    """How often blocks of the outbox and its indexes were looked at."""
    for each in (relay._connection, session):
        each.execute("SELECT pg_stat_force_next_flush()")
        each.execute("SELECT")
    row = session.execute(
        "SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read"
        " FROM pg_statio_user_tables WHERE relname = 'outbox'"
    ).fetchone()
    assert row is not None
    return int(row[0])
