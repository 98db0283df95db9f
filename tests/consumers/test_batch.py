"""Batches on a real database: however the records are cut into them, the answers are the same."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.database import connect
from ledger.rule import Rules
from ledger.verification import verify
from schemas.result import WALLET_RESULT_SHAPE
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper, Record
from tests.ledger.damage import command
from tests.ledger.model import Model, Outcome, Sent, Shown
from tests.ledger.script import Script, Status, random_step, scripts


@pytest.fixture
def session(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    with connect(wallet_env.database_url, application_name="test-worker") as connection:
        yield connection


def _assert_books_in_order(wallet_env: WalletEnv) -> None:
    url = wallet_env.database_url
    with connect(url, application_name="test-verify", long_queries=True) as reader:
        assert [finding for finding in verify(reader) if not finding.holds] == []


class _World:
    """One example's own clients in a database that all examples share, and its model."""

    def __init__(self, number: int, bookkeeper: Bookkeeper, model: Model) -> None:
        self._prefix = f"e{number}-"
        self._number = number
        self._bookkeeper = bookkeeper
        self._model = model
        self._first: dict[tuple[str, str], dict[str, Any]] = {}

    def set_status(self, step: Status) -> None:
        """What an operator does by hand, between two batches."""
        changed = self._bookkeeper.connection.execute(
            "UPDATE accounts SET status = %s WHERE client_id = %s AND currency = %s",
            (step.status, self._prefix + step.client, step.currency),
        )
        wallet = self._model.wallets.get((step.client, step.currency))
        assert changed.rowcount == (0 if wallet is None else 1)
        if wallet is not None:
            wallet.status = step.status

    def apply(self, batch: list[Sent]) -> None:
        """Apply one batch and hold every answer to the model's."""
        offset = self._bookkeeper.position.next_offset
        rows = self._bookkeeper.apply([self._record(sent) for sent in batch])
        answers = {row["event_id"]: row for row in rows}
        received = [row["event_id"] for row in rows if row["event_id"].count("/") == 3]
        for at, sent in enumerate(batch, offset):
            expected = self._model.answer(sent)
            answer = answers[f"wallet-command/0/{at}"]["value"]
            assert self._outcome(answer) == expected, sent
            assert answer["source"] == {"topic": "wallet-command", "partition": 0, "offset": at}
            self._compare_with_first(sent, answer)
            moved = expected.status == "applied" and not expected.duplicate
            assert answers[f"wallet-command/0/{at}"]["moved"] == moved
            if moved and sent.type == "transfer":
                self._check_received(sent, answers[received.pop(0)])
        assert received == []

    def _compare_with_first(self, sent: Sent, answer: dict[str, Any]) -> None:
        WALLET_RESULT_SHAPE.validate_python(answer)
        if answer["duplicate"]:
            first = self._first[sent.client, sent.id]
            assert answer == {**first, "duplicate": True, "source": answer["source"]}
        elif answer["transaction_id"] is not None:
            self._first[sent.client, sent.id] = answer

    def _check_received(self, sent: Sent, row: dict[str, Any]) -> None:
        value = row["value"]
        WALLET_RESULT_SHAPE.validate_python(value)
        assert row["key"] == value["client_id"] == f"{self._prefix}{sent.to}"
        assert value["counterparty"] == self._prefix + sent.client
        assert (value["type"], value["source"]) == ("transfer_received", None)
        assert value["command_id"] == sent.id
        gained = _minor(value["balance_after"]) - _minor(value["balance_before"])
        assert gained == _minor(value["amount"]) == sent.amount
        assert row["moved"]

    def _record(self, sent: Sent) -> Record:
        value: dict[str, Any] = {"command_id": sent.id, "type": sent.type, "name": sent.name}
        if sent.type != "register_client":
            value["currency"] = sent.currency
        if sent.amount is not None:
            value["amount"] = f"{sent.amount // 100}.{sent.amount % 100:02}"
        if sent.to is not None:
            value["to_client_id"] = self._prefix + sent.to
        value["email"] = sent.email and self._prefix + sent.email
        value["phone"] = sent.phone and f"{sent.phone}{self._number:05}"
        if sent.fault == "invalid_request":
            value["ammount"] = "1"
        elif sent.fault is not None:
            value["amount"] = "0" if sent.fault == "invalid_amount" else "1"
        return self._prefix + sent.client, value

    def _outcome(self, answer: dict[str, Any]) -> Outcome:
        """The record in the model's words."""
        outcome = Outcome(
            answer["status"], answer["reason"], _minor_or_none(answer["balance_before"]),
            _minor_or_none(answer["balance_after"]), answer["duplicate"],
        )  # fmt: skip
        if answer["status"] != "answered":
            return outcome
        wallets = tuple(
            (w["currency"], _minor(w["balance"]), w["status"]) for w in answer["wallets"]
        )
        recent = tuple(self._shown(t) for t in answer["transactions"])
        return outcome._replace(wallets=wallets, recent=recent)

    def _shown(self, listed: dict[str, Any]) -> Shown:
        counterparty = listed["counterparty"]
        return Shown(
            listed["command_id"], listed["type"], listed["status"], listed["reason"],
            _minor_or_none(listed["balance_before"]), _minor_or_none(listed["balance_after"]),
            counterparty and counterparty.removeprefix(self._prefix),
        )  # fmt: skip


def _minor(text: str) -> int:
    return int(text.replace(".", ""))


def _minor_or_none(text: str | None) -> int | None:
    return None if text is None else _minor(text)


def _play(world: _World, script: Script, sizes: list[int]) -> None:
    """Cut the script into batches of these sizes, over and over; a status ends one early."""
    size, batch = itertools.cycle(sizes), list[Sent]()
    room = next(size)
    for step in script:
        if isinstance(step, Status):
            world.apply(batch)
            world.set_status(step)
            batch = []
        else:
            batch.append(step)
        if len(batch) >= room:
            world.apply(batch)
            batch, room = [], next(size)
    world.apply(batch)


@pytest.mark.parametrize("auto_create", [True, False])
def test_the_same_script_is_answered_as_the_model_says_however_it_is_cut_into_batches(
    wallet_env: WalletEnv, session: psycopg.Connection, auto_create: bool
) -> None:
    bookkeeper = Bookkeeper(session, Rules(auto_create=auto_create))
    numbers = itertools.count()

    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(scripts, st.lists(st.integers(1, 12), min_size=1, max_size=6))
    def play(script: Script, sizes: list[int]) -> None:
        for cut in (sizes, [len(script) + 1], [1]):
            _play(_World(next(numbers), bookkeeper, Model(auto_create)), script, cut)

    play()
    _assert_books_in_order(wallet_env)


def test_a_long_script_is_answered_as_the_model_says(
    wallet_env: WalletEnv, session: psycopg.Connection
) -> None:
    random = Random(11)
    script = [random_step(random) for _ in range(1500)]
    sizes = [random.randrange(1, 80) for _ in range(50)]
    _play(_World(0, Bookkeeper(session), Model()), script, sizes)
    _assert_books_in_order(wallet_env)


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
