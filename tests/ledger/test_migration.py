"""The schema: made once however often it is asked for, and guarding its own history."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ledger.database import connect
from ledger.migration import MIGRATIONS, migrate, pending
from ops.stack import StackAddress
from tests.conftest import WalletEnv

ALL = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))


@pytest.fixture
def empty_database(stack: StackAddress) -> Iterator[str]:
    """A database without a table."""
    name = f"empty_{secrets.token_hex(3)}"
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlsplit(stack.database_url)._replace(path=f"/{name}").geturl()
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_migrations_run_once_and_may_run_again(empty_database: str) -> None:
    assert pending(empty_database) == ALL
    assert migrate(empty_database) == ALL
    assert migrate(empty_database) == []
    assert pending(empty_database) == []


def test_several_may_migrate_at_once(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, [empty_database] * 4))
    assert sorted(name for names in applied for name in names) == ALL


@pytest.mark.parametrize("role", ["wallet_runtime", None])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transactions SET amount = 1",
        "DELETE FROM transactions",
        "TRUNCATE transactions",
    ],
)
def test_history_can_be_changed_by_nobody(
    wallet_env: WalletEnv, role: str | None, change: str
) -> None:
    with (
        connect(wallet_env.database_url, application_name="test", role=role) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute(change.encode())


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE transactions DISABLE TRIGGER transactions_append_only",
        "DROP TRIGGER transactions_append_only ON transactions",
        "DROP TABLE transactions",
        "SET session_replication_role = replica",
        "DELETE FROM accounts",
        "DELETE FROM consumer_positions",
    ],
)
def test_the_runtime_role_can_neither_lift_the_protection_nor_lose_rows(
    wallet_env: WalletEnv, change: str
) -> None:
    with (
        connect(wallet_env.database_url, application_name="test") as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute(change.encode())


def test_not_even_a_replica_role_skips_the_trigger(wallet_env: WalletEnv) -> None:
    with connect(wallet_env.database_url, application_name="test", role=None) as session:
        session.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DELETE FROM transactions")


def test_a_negative_balance_is_refused_by_the_table_itself(wallet_env: WalletEnv) -> None:
    with connect(wallet_env.database_url, application_name="test") as session:
        session.execute(
            "INSERT INTO clients (client_id, registered, created_at, updated_at)"
            " VALUES ('alice', false, now(), now())"
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            session.execute(
                "INSERT INTO accounts (client_id, currency, kind, balance, created_at, updated_at)"
                " VALUES ('alice', 'USD', 'available', -1, now(), now())"
            )


def test_no_runtime_session_waits_for_long(wallet_env: WalletEnv) -> None:
    with connect(wallet_env.database_url, application_name="test") as session:
        for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
            assert session.execute("SELECT current_setting(%s)", (setting,)).fetchone() == ("10s",)
        shown = session.execute("SHOW transaction_timeout").fetchone()
    assert shown == ("20s",)
