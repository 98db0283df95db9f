"""Batches on a real database: however the records are cut into them, the answers are the same."""

from __future__ import annotations

import itertools
import os
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
from ledger.order import Settlement
from ledger.refusal import Refusal
from ledger.rule import Rules
from ledger.verification import verify
from schemas.result import ORDER_RESULT_SHAPE, WALLET_RESULT_SHAPE
from schemas.topic import ORDER_REQUEST, WALLET_COMMAND
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper, Record, topic_of
from tests.ledger.damage import command
from tests.ledger.model import Model
from tests.ledger.script import (
    Called,
    Due,
    Ended,
    Script,
    Status,
    Turn,
    random_step,
    scripts,
)
from tests.ledger.term import Outcome, Sent, Shown, Told


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
        self._leases: dict[tuple[str, str], Settlement] = {}

    def take_turn(self, step: Turn) -> None:
        """What happens between two batches without a command."""
        if isinstance(step, Status):
            self._set_status(step)
        elif isinstance(step, Due):
            self._make_due(step)
        elif isinstance(step, Called):
            lease = self._bookkeeper.lease(self._prefix + step.client, step.order)
            assert self._model.call(step.client, step.order) == (lease is not None)
            if lease is not None:
                self._leases[step.client, step.order] = lease
        elif isinstance(step, Ended):
            self._end(step)
        else:
            self._sweep()

    def _end(self, step: Ended) -> None:
        if not self._model.end(step.client, step.order, step.end):
            return
        lease = self._leases[step.client, step.order]
        if step.end == "completed":
            lease = lease._replace(fulfillment_id=f"f-{step.order}")
        else:
            refusal = Refusal("fulfillment_refused", "The answer was 400.")
            lease = lease._replace(failure=refusal, keeps_money=step.end == "kept")
        currency = self._model.orders[step.client, step.order].currency
        # Another's lease, and one that has ended the order already, change nothing.
        stale = lease._replace(lease_token=lease.lease_token + 1)
        rows = self._bookkeeper.settle(stale, lease, currency=currency)
        assert [row is None for row in rows] == [True, False]
        assert self._bookkeeper.settle(lease, currency=currency) == [None]

    def _make_due(self, step: Due) -> None:
        changed = self._bookkeeper.connection.execute(
            "UPDATE holds SET expires_at = '2020-01-01' WHERE client_id = %s AND hold_id = %s",
            (self._prefix + step.client, step.hold),
        )
        hold = self._model.holds.get((step.client, step.hold))
        assert changed.rowcount == (0 if hold is None else 1)
        if hold is not None:
            hold.due = True

    def _sweep(self) -> None:
        swept = [row for row in self._bookkeeper.sweep() if row["key"].startswith(self._prefix)]
        told = []
        for row in swept:
            value = row["value"]
            WALLET_RESULT_SHAPE.validate_python(value)
            assert row["event_id"] == f"{value['client_id']}/{value['hold_id']}/expired"
            assert (value["type"], value["status"]) == ("hold_released", "applied")
            assert (value["command_id"], value["source"], row["moved"]) == (None, None, True)
            told.append((value["client_id"].removeprefix(self._prefix), value["hold_id"]))
        assert sorted(told) == self._model.sweep()

    def _set_status(self, step: Status) -> None:
        """What an operator does by hand, between two batches."""
        changed = self._bookkeeper.connection.execute(
            "UPDATE accounts SET status = %s"
            " WHERE client_id = %s AND currency = %s AND kind = 'available'",
            (step.status, self._prefix + step.client, step.currency),
        )
        wallet = self._model.wallets.get((step.client, step.currency))
        assert changed.rowcount == (0 if wallet is None else 1)
        if wallet is not None:
            wallet.status = step.status

    def apply(self, batch: list[Sent]) -> None:
        """Apply one batch and hold every answer to the model's."""
        books = self._bookkeeper
        offsets = {each.topic: each.next_offset for each in (books.requests, books.position)}
        rows = self._bookkeeper.apply([self._record(sent) for sent in batch])
        answers = {row["event_id"]: row for row in rows}
        others = {event_id for event_id in answers if event_id.count("/") == 3}
        for sent in batch:
            expected = self._model.answer(sent)
            topic = topic_of(sent.type)
            at = offsets[topic]
            offsets[topic] += 1
            row = answers[f"{topic}/0/{at}"]
            answer = row["value"]
            if topic == ORDER_REQUEST:
                expected = expected._replace(before=None, held=None)
                assert self._request_outcome(answer) == expected, sent
            else:
                assert self._outcome(answer) == expected, sent
            assert answer["source"] == {"topic": topic, "partition": 0, "offset": at}
            self._compare_with_first(sent, answer)
            moved = expected.status == "applied" and not expected.duplicate
            assert row["moved"] == moved
            if moved:
                others -= self._check_other_side(sent, f"{topic}/0/{at}", answers)
        assert others == set()

    def _compare_with_first(self, sent: Sent, answer: dict[str, Any]) -> None:
        is_command = topic_of(sent.type) == WALLET_COMMAND
        (WALLET_RESULT_SHAPE if is_command else ORDER_RESULT_SHAPE).validate_python(answer)
        if answer["duplicate"]:
            first = self._first[sent.client, sent.id]
            assert answer == {**first, "duplicate": True, "source": answer["source"]}
        elif not is_command or answer["transaction_id"] is not None:
            self._first.setdefault((sent.client, sent.id), answer)

    def _check_other_side(
        self, sent: Sent, event_id: str, answers: dict[str, dict[str, Any]]
    ) -> set[str]:
        """What the other client is told of a transfer or its refund; the record's event id."""
        taken = self._model.taken.get((sent.client, sent.original or sent.id))
        if taken is None or taken.to is None:
            return set()
        kind = "transfer_received" if sent.type == "transfer" else "transfer_reversed"
        row = answers[f"{event_id}/{kind}"]
        value = row["value"]
        WALLET_RESULT_SHAPE.validate_python(value)
        assert row["key"] == value["client_id"] == f"{self._prefix}{taken.to}"
        assert value["counterparty"] == self._prefix + sent.client
        assert (value["type"], value["source"]) == (kind, None)
        assert value["command_id"] == sent.id
        gained = _minor(value["balance_after"]) - _minor(value["balance_before"])
        assert abs(gained) == _minor(value["amount"])
        assert (gained > 0) == (sent.type == "transfer")
        assert row["moved"]
        return {f"{event_id}/{kind}"}

    def _record(self, sent: Sent) -> Record:
        value: dict[str, Any] = {"command_id": sent.id, "type": sent.type, "name": sent.name}
        if sent.type != "register_client":
            value["currency"] = sent.currency
        if sent.amount is not None:
            value["amount"] = f"{sent.amount // 100}.{sent.amount % 100:02}"
        if sent.to is not None:
            value["to_client_id"] = self._prefix + sent.to
        value |= {"merchant_id": sent.merchant, "hold_id": sent.hold, "limit": sent.limit}
        value["order_id"] = sent.order
        value["original_command_id"] = sent.original
        value["expires_at"] = "2020-01-01T00:00:00Z" if sent.late else None
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
            held=_minor_or_none(answer["held"]),
        )  # fmt: skip
        if answer["status"] != "answered":
            return outcome
        wallets = tuple(
            (w["currency"], _minor(w["balance"]), w["status"]) for w in answer["wallets"]
        )
        recent = tuple(self._shown(t) for t in answer["transactions"])
        has_more = answer["next_before"] is not None
        return outcome._replace(wallets=wallets, recent=recent, has_more=has_more)

    def _request_outcome(self, answer: dict[str, Any]) -> Outcome:
        """The record of order-result in the model's words."""
        event = answer["event"]
        status = {"request_rejected": "rejected", "order_details": "answered"}.get(event, "applied")
        told = None
        failed = answer["reason"] == "fulfillment_refused"
        if answer["status"] is not None:
            told = Told(
                answer["status"], _minor(answer["amount"]), answer["currency"],
                answer["fulfillment_id"], answer["attempts"], _minor(answer["refunded"]),
                answer["reason"] if failed else None,
            )  # fmt: skip
        return Outcome(
            status, None if failed else answer["reason"], None,
            _minor_or_none(answer["balance_after"]), answer["duplicate"], order=told,
        )  # fmt: skip

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
    """Cut the script into batches of these sizes, over and over; other steps end one early."""
    size, batch = itertools.cycle(sizes), list[Sent]()
    room = next(size)
    for step in script:
        if not isinstance(step, Sent):
            world.apply(batch)
            world.take_turn(step)
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
    bookkeeper = Bookkeeper(session, Rules(auto_create=auto_create, transfer_refund=True))
    numbers = itertools.count()

    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(scripts, st.lists(st.integers(1, 12), min_size=1, max_size=6))
    def play(script: Script, sizes: list[int]) -> None:
        for cut in (sizes, [len(script) + 1], [1]):
            _play(
                _World(next(numbers), bookkeeper, Model(auto_create, transfer_refund=True)),
                script,
                cut,
            )

    play()
    _assert_books_in_order(wallet_env)


@pytest.mark.parametrize("transfer_refund", [True, False])
def test_long_scripts_are_answered_as_the_model_says(
    wallet_env: WalletEnv, session: psycopg.Connection, transfer_refund: bool
) -> None:
    """10,000 commands a run; WALLET_TEST_COMMANDS makes it longer (`make soak`)."""
    seed = int(os.environ.get("WALLET_TEST_SEED", "11"))
    count = int(os.environ.get("WALLET_TEST_COMMANDS", "10000")) // 2
    random = Random(seed)
    bookkeeper = Bookkeeper(session, Rules(transfer_refund=transfer_refund))
    for number in range(max(1, count // 1000)):
        script = [random_step(random) for _ in range(min(count, 1120))]
        sizes = [random.randrange(1, 200) for _ in range(20)]
        _play(_World(number, bookkeeper, Model(True, transfer_refund)), script, sizes)
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
