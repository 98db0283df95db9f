"""The books' checks: silent on true books, and each finds the damage that it is there for."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from ledger import verification
from ledger.database import connect
from ledger.verification import CHECKS, FAULTS_SHOWN_MAX, Finding, UnsettledError, verify
from ops.stack import StackAddress
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper
from tests.ledger.damage import DAMAGES, HELD_IN_ORDER, Damage, command, story, tell_orders


@pytest.fixture
def reader(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    url = wallet_env.database_url
    with connect(url, application_name="test-verify", long_queries=True) as connection:
        yield connection


@pytest.fixture
def bookkeeper(wallet_env: WalletEnv) -> Iterator[Bookkeeper]:
    with connect(wallet_env.database_url, application_name="test-worker") as connection:
        yield Bookkeeper(connection)


@pytest.fixture
def owner(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    """The schema's owner, who alone can switch the protection off, as the damage needs."""
    with psycopg.connect(wallet_env.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def books_to_damage(stack: StackAddress, template_database: str) -> Iterator[psycopg.Connection]:
    """The owner's session with a database of its own; each damage in it is rolled back."""
    name = f"wallet_damaged_{secrets.token_hex(3)}"
    url = urlsplit(stack.database_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(stack.database_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
        with connect(url, application_name="test-worker") as worker:
            books = Bookkeeper(worker)
            tell_orders(books)
            books.apply(story())
        with connect(url, application_name="test-owner", role=None, long_queries=True) as owner:
            yield owner
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _failed(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings if not finding.holds}


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_an_empty_ledger_is_in_order(reader: psycopg.Connection) -> None:
    findings = verify(reader)
    assert [finding.name for finding in findings] == [check.name for check in CHECKS]
    assert _failed(findings) == set()


def test_books_kept_by_the_workers_path_are_in_order(
    bookkeeper: Bookkeeper, reader: psycopg.Connection
) -> None:
    bookkeeper.apply(story())
    seen: list[tuple[str, int, int]] = []
    findings = _by_name(verify(reader, lambda *step: seen.append(step)))
    assert _failed(list(findings.values())) == set()
    # alice USD and EUR, bob USD, carol EUR, dave USD, zoe USD
    assert findings["balances"].examined == findings["accounts"].examined == 6
    assert findings["totals"].examined == 2
    assert findings["positions"].examined == 2
    assert findings["movements"].examined == findings["sources"].examined == 16
    assert seen[-1] == ("clients", 5, 5)


def test_holds_and_orders_in_order_are_no_fault(
    bookkeeper: Bookkeeper, owner: psycopg.Connection, reader: psycopg.Connection
) -> None:
    bookkeeper.apply([command("zoe", "credit", "100.00")])
    owner.execute(HELD_IN_ORDER)
    tell_orders(bookkeeper)
    findings = _by_name(verify(reader))
    assert _failed(list(findings.values())) == set()
    assert findings["holds"].examined == findings["escrow"].examined == 1
    assert findings["orders"].examined == 5
    assert findings["jobs"].examined == findings["refunds"].examined == 1
    # Of Zoe's available account three, of her held one as many (its row of before the hold shows
    # 0). Of Olga's available account eleven, of her escrow all but that of before.
    assert findings["chains"].examined == 3 + 3 + 11 + 10


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_found_by_the_check_that_is_there_for_it(
    damage: Damage, books_to_damage: psycopg.Connection
) -> None:
    with books_to_damage.transaction(force_rollback=True):
        books_to_damage.execute("ALTER TABLE transactions DISABLE TRIGGER transactions_append_only")
        books_to_damage.execute(damage.sql)
        findings = verify(books_to_damage)
    assert _failed(findings) == damage.failed
    assert len(damage.failed) == 1 or damage.because
    assert all(finding.rows for finding in findings if not finding.holds)


def test_every_check_has_a_damage_that_it_finds() -> None:
    assert {name for damage in DAMAGES for name in damage.failed} == {c.name for c in CHECKS}


def test_a_finding_names_the_rows_at_fault_and_counts_them_all(
    bookkeeper: Bookkeeper, owner: psycopg.Connection, reader: psycopg.Connection
) -> None:
    bookkeeper.apply([command(f"c{n:02}", "credit", "1") for n in range(FAULTS_SHOWN_MAX + 5)])
    owner.execute("UPDATE accounts SET balance = 101 WHERE client_id >= 'c01'")
    finding = _by_name(verify(reader))["balances"]
    assert (finding.examined, finding.at_fault) == (25, 24)
    assert len(finding.rows) == FAULTS_SHOWN_MAX
    shown = sorted(finding.rows, key=lambda row: str(row["client_id"]))
    assert shown[0] == {
        "client_id": "c01", "currency": "USD", "kind": "available", "stored": 101, "journal": 100,
    }  # fmt: skip


def test_many_chunks_come_to_the_same_verdict_as_one(
    bookkeeper: Bookkeeper,
    owner: psycopg.Connection,
    reader: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(8):
        bookkeeper.apply([command(f"c{n:02}", "credit", "1") for n in range(40)])
    owner.execute("UPDATE accounts SET balance = 900 WHERE client_id = 'c39'")
    whole = verify(reader)
    monkeypatch.setattr(verification, "_PAGES_PER_CHUNK", 2)
    monkeypatch.setattr(verification, "_CLIENTS_FIRST_CHUNK", 3)
    monkeypatch.setattr(verification, "_CLIENTS_PER_CHUNK_MAX", 3)
    assert verify(reader) == whole
    assert _failed(whole) == {"balances", "totals"}


def test_the_verdict_stands_while_workers_go_on(
    wallet_env: WalletEnv,
    bookkeeper: Bookkeeper,
    reader: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verification, "_PAGES_PER_CHUNK", 4)
    monkeypatch.setattr(verification, "_CLIENTS_FIRST_CHUNK", 2)
    monkeypatch.setattr(verification, "_CLIENTS_PER_CHUNK_MAX", 2)
    stop = threading.Event()

    def work() -> None:
        numbers = itertools.count()
        while not stop.is_set():
            batch = [command(f"c{n % 9}", "deposit", "2") for n in itertools.islice(numbers, 10)]
            transfers = [
                command(f"c{n}", "transfer", "1.5", to_client_id=f"c{n + 1}") for n in range(8)
            ]
            bookkeeper.apply([*batch, *transfers])

    worker = threading.Thread(target=work)
    worker.start()
    try:
        verdicts = [_failed(verify(reader)) for _ in range(12)]
    finally:
        stop.set()
        worker.join()
    assert verdicts == [set()] * 12
    assert bookkeeper.position.next_offset > 100


def test_a_total_waits_for_the_transaction_that_has_taken_ids_and_not_ended(
    owner: psycopg.Connection, reader: psycopg.Connection, bookkeeper: Bookkeeper
) -> None:
    bookkeeper.apply([command("alice", "credit", "10.00")])
    reached = threading.Event()
    findings: list[Finding] = []

    def check() -> None:
        reached.set()
        findings.extend(verify(reader))

    checker = threading.Thread(target=check)
    with owner.transaction():
        owner.execute(
            "INSERT INTO transactions (client_id, command_id, id, type, status, currency, amount,"
            " debit_kind, credit_kind, balance_before, balance_after, held_after, created_at)"
            " VALUES ('alice', 'x', nextval('transaction_ids'), 'credit', 'applied', 'USD', 5,"
            " 'treasury', 'available', 1000, 1005, 0, now())"
        )
        owner.execute("SELECT nextval('transaction_ids')")
        owner.execute("UPDATE accounts SET balance = balance + 5")
        checker.start()
        reached.wait()
        checker.join(0.3)
        assert checker.is_alive()
    checker.join()
    assert findings
    assert _failed(findings) == set()


def test_a_session_that_hangs_with_journal_ids_is_told_of(
    owner: psycopg.Connection, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_SETTLE_TIMEOUT_S", 0.1)
    with owner.transaction():
        owner.execute("SELECT nextval('transaction_ids')")
        with pytest.raises(UnsettledError, match="transaction_ids"):
            verify(reader)


def test_one_long_snapshot_is_refused(reader: psycopg.Connection) -> None:
    reader.autocommit = False
    with pytest.raises(ValueError, match="autocommit"):
        verify(reader)
