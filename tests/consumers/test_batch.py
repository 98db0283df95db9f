"""Batches on a real database: however the records are cut into them, the answers are the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from ledger.database import connect
from ledger.verification import verify
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper
from tests.ledger.damage import command


@pytest.fixture
def session(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    with connect(wallet_env.database_url, application_name="test-worker") as connection:
        yield connection


def _assert_books_in_order(wallet_env: WalletEnv) -> None:
    url = wallet_env.database_url
    with connect(url, application_name="test-verify", long_queries=True) as reader:
        assert [finding for finding in verify(reader) if not finding.holds] == []


def test_transfers_that_cross_between_two_workers_neither_block_nor_lose_money(
    wallet_env: WalletEnv,
) -> None:
    names = [f"c{n}" for n in range(6)]
    failures: list[Exception] = []

    def work(partition: int) -> None:
        url = wallet_env.database_url
        with connect(url, application_name=f"test-worker-{partition}") as connection:
            bookkeeper = Bookkeeper(connection, partition=partition)
            for turn in range(20):
                # One worker lists the accounts upwards, the other downwards.
                order = names if partition == 0 else names[::-1]
                pairs = zip(order, order[1:] + order[:1], strict=True)
                try:
                    bookkeeper.apply(
                        [
                            command(one, "transfer", f"0.{turn + 10}", to_client_id=other)
                            for one, other in pairs
                        ]
                    )
                except psycopg.Error as error:
                    failures.append(error)

    with connect(wallet_env.database_url, application_name="test-worker") as connection:
        Bookkeeper(connection, partition=7).apply([command(n, "credit", "100") for n in names])
    threads = [threading.Thread(target=work, args=(partition,)) for partition in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    _assert_books_in_order(wallet_env)


def test_a_batch_that_fails_leaves_nothing_behind(
    wallet_env: WalletEnv, session: psycopg.Connection
) -> None:
    bookkeeper = Bookkeeper(session)
    bookkeeper.apply([command("alice", "credit", "10")])
    before = replace(bookkeeper.position)
    bookkeeper.position.epoch += 1  # as if another had taken the partition
    with pytest.raises(psycopg.Error, match="fenced") as fenced:
        bookkeeper.apply([command("alice", "credit", "5"), command("bob", "credit", "5")])
    assert fenced.value.sqlstate == "WF001"
    bookkeeper.position.epoch -= 1
    assert bookkeeper.position == before
    [answer] = bookkeeper.results([command("alice", "get_wallet")])
    assert [wallet["balance"] for wallet in answer["wallets"]] == ["10.00"]
    assert session.execute("SELECT count(*) FROM clients").fetchone() == (1,)
    _assert_books_in_order(wallet_env)
