"""Random commands in random batches: after each one the ledger is the model's, the books right."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ledger.database import connect
from ledger.rate import RateLimit
from ledger.refusal import Refusal
from ledger.rule import Rules
from ledger.verification import verify
from schemas.result import ORDER_RESULT_SHAPE, WALLET_RESULT_SHAPE
from schemas.topic import ORDER_REQUEST
from tests.conftest import WalletEnv
from tests.consumers.wire import Wire, minor
from tests.ledger.bookkeeper import Bookkeeper, topic_of
from tests.ledger.model import Model
from tests.ledger.script import Called, Due, Ended, Status, Sweep, sent, turn
from tests.ledger.term import Rate, Sent

# `make model` does so many commands, in runs with a database each: the checks of the books take
# 12 ms on 1,000 rows, and 30 on 3,000.
COMMANDS = int(os.environ.get("WALLET_TEST_COMMANDS", "10000"))
SEED = int(os.environ.get("WALLET_TEST_SEED", "11"))
COMMANDS_PER_RUN = 2_000
# A command's id is one of so many of its client's: it is often used again, and referred to.
IDS = 300
# Some time ago: a record's time is never ahead of the database's clock.
STARTED_AT_MS = 1_700_000_000_000

_STORED = """
SELECT a.client_id, a.currency, sum(a.balance) FILTER (WHERE a.kind = 'available'),
       coalesce(sum(a.balance) FILTER (WHERE a.kind = 'held'), 0),
       coalesce(sum(a.balance) FILTER (WHERE a.kind = 'escrow'), 0),
       min(a.status) FILTER (WHERE a.kind = 'available')
FROM accounts AS a WHERE a.client_id LIKE %s GROUP BY 1, 2
"""
_HOLDS = "SELECT client_id, hold_id, currency, amount, status FROM holds WHERE client_id LIKE %s"
_ORDERS = """
SELECT client_id, order_id, currency, amount, status, money = 'escrow', fulfillment_id, reason,
       attempts
FROM order_summaries WHERE client_id LIKE %s
"""
_SYSTEM = """
SELECT s.kind, t.currency, sum(s.amount)
FROM transactions AS t, LATERAL (VALUES (t.debit_kind, -t.amount), (t.credit_kind, t.amount)) AS s (kind, amount)
WHERE t.client_id LIKE %s AND s.kind NOT IN ('available', 'held', 'escrow', 'peer') GROUP BY 1, 2
"""  # noqa: E501

# And queries, whose ids stay free: a command that takes one is answered later.
_NOT_REMEMBERED = ("idempotency_conflict", "rate_limited")

# Not integers(): those are mostly small, which is always the same few commands.
_numbers = st.binary(min_size=8, max_size=8).map(lambda some: int.from_bytes(some, "little"))
_some = st.lists(_numbers, min_size=1, max_size=12)
_many = st.lists(_numbers, min_size=40, max_size=120)


@dataclass(slots=True)
class Run:
    """One database that a run's examples share, and what they did there."""

    session: psycopg.Connection
    reader: psycopg.Connection
    example: itertools.count[int] = field(default_factory=itertools.count)
    met: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    batches: int = 0


class Wallets(RuleBasedStateMachine):
    """The clients of one example."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._wire = Wire(next(run.example))
        self._sent: list[Sent] = []
        self._first: dict[tuple[str, str], dict[str, Any]] = {}
        self._clock_ms = STARTED_AT_MS

    @initialize(
        auto_create=st.sampled_from([True, True, True, False]),
        transfer_refund=st.booleans(),
        rate=st.sampled_from([None, None, Rate(10, 4_000)]),
    )
    def open(self, auto_create: bool, transfer_refund: bool, rate: Rate | None) -> None:
        limit = None if rate is None else RateLimit(*rate)
        self._model = Model(auto_create, transfer_refund, rate, self._clock_ms)
        self._bookkeeper = Bookkeeper(self._run.session, Rules(auto_create, transfer_refund, limit))

    @rule(numbers=_some | _many)
    def send(self, numbers: list[int]) -> None:
        """Apply one batch, and hold every answer to the model's."""
        batch = [self._next(number) for number in numbers]
        note(f"# {[tuple(x for x in command if x is not None) for command in batch]}")
        books = self._bookkeeper
        offsets = {each.topic: each.next_offset for each in (books.requests, books.position)}
        rows = self._bookkeeper.apply(
            [self._wire.record(command) for command in batch], [self._tick(c) for c in batch]
        )
        answers = {row["event_id"]: row for row in rows}
        others = {event_id for event_id in answers if event_id.count("/") == 3}
        for command in batch:
            topic = topic_of(command.type)
            others -= self._check(command, (topic, 0, offsets[topic]), answers)
            offsets[topic] += 1
        assert others == set()
        self._verify()
        self._run.commands += len(batch)
        self._run.batches += 1

    @rule(number=_numbers)
    def take_turn(self, number: int) -> None:
        """What happens without a command: an operator's hand, time, the sweep, fulfillment."""
        step = turn(number)
        if isinstance(step, Status):
            self._set_status(step)
        elif isinstance(step, Due):
            self._make_due(step)
        elif isinstance(step, Sweep):
            self._sweep()
        else:
            self._fulfill(step)

    def _fulfill(self, step: Called | Ended) -> None:
        lease = self._bookkeeper.lease(self._wire.name(step.client), step.order)
        if isinstance(step, Called):
            assert self._model.call(step.client, step.order) == (lease is not None)
            return
        assert self._model.end(step.client, step.order, step.end) == (lease is not None)
        if lease is None:
            return
        if step.end == "completed":
            found = lease._replace(fulfillment_id=f"f-{step.order}")
        else:
            refusal = Refusal("fulfillment_refused", "The answer was 400.")
            found = lease._replace(failure=refusal, keeps_money=step.end == "kept")
        currency = self._model.orders[step.client, step.order].currency
        # Another's lease, and one that has ended the order already, change nothing.
        stale = found._replace(lease_token=found.lease_token + 1)
        rows = self._bookkeeper.settle(stale, found, currency=currency)
        assert [row is None for row in rows] == [True, False]
        assert self._bookkeeper.settle(found, currency=currency) == [None]
        self._verify()

    @invariant()
    def the_ledger_equals_the_model(self) -> None:
        mine, own = (self._wire.name("%"),), self._wire.own
        read = self._run.reader.execute
        stored = {(own(c), cur): tuple(row) for c, cur, *row in read(_STORED, mine).fetchall()}
        assert stored == {
            key: (w.balance, w.held, w.escrow, w.status) for key, w in self._model.wallets.items()
        }
        holds = {(own(c), hold): tuple(row) for c, hold, *row in read(_HOLDS, mine).fetchall()}
        assert holds == {
            key: (h.currency, h.amount, h.status) for key, h in self._model.holds.items()
        }
        orders = {(own(c), order): tuple(row) for c, order, *row in read(_ORDERS, mine).fetchall()}
        assert orders == {
            key: (o.currency, o.amount, o.status, o.holds_escrow, o.fulfillment, o.failure, o.calls)
            for key, o in self._model.orders.items()
        }
        system = {(kind, cur): amount for kind, cur, amount in read(_SYSTEM, mine).fetchall()}
        assert system == self._model.system
        clients = read("SELECT client_id, registered FROM clients WHERE client_id LIKE %s", mine)
        assert {own(c): registered for c, registered in clients.fetchall()} == {
            name: client.registered for name, client in self._model.clients.items()
        }

    def _verify(self) -> None:
        assert [finding for finding in verify(self._run.reader) if not finding.holds] == []

    def _next(self, number: int) -> Sent:
        """A new command or, in a tenth of all cases, one that was sent before."""
        number, again = number // 10, number % 10 == 9
        if again and self._sent:
            return self._sent[number % len(self._sent)]
        made = sent(number, IDS)
        self._sent.append(made)
        return made

    def _tick(self, command: Sent) -> int:
        """When the command's record is sent."""
        self._clock_ms += command.gap_ms
        return self._clock_ms

    def _check(
        self, command: Sent, place: tuple[str, int, int], answers: dict[str, dict[str, Any]]
    ) -> set[str]:
        """Compare one answer with the model's; gives the event ids of what it caused besides."""
        event_id, expected = "/".join(map(str, place)), self._model.answer(command)
        row = answers[event_id]
        if place[0] == ORDER_REQUEST:  # whose results tell less
            expected = expected._replace(before=None, held=None)
        answer, moved = row["value"], expected.status == "applied" and not expected.duplicate
        assert self._wire.outcome(answer) == expected, command
        assert tuple(answer["source"].values()) == place
        assert row["moved"] == moved
        self._compare_with_first(command, answer)
        self._run.met[expected.reason or f"{command.type} {expected.status}"] += 1
        self._run.met["duplicate"] += expected.duplicate
        return self._check_other_side(command, event_id, answers) if moved else set()

    def _compare_with_first(self, command: Sent, answer: dict[str, Any]) -> None:
        is_request = topic_of(command.type) == ORDER_REQUEST
        shape: Any = ORDER_RESULT_SHAPE if is_request else WALLET_RESULT_SHAPE
        shape.validate_python(answer)
        if answer["duplicate"]:
            first = self._first[command.client, command.id]
            assert answer == {**first, "duplicate": True, "source": answer["source"]}
        elif answer["reason"] not in _NOT_REMEMBERED:
            self._first[command.client, command.id] = answer

    def _check_other_side(
        self, command: Sent, event_id: str, answers: dict[str, dict[str, Any]]
    ) -> set[str]:
        """What the other client is told of a transfer or its refund; the record's event id."""
        taken = self._model.taken.get((command.client, command.original or command.id))
        if taken is None or taken.to is None:
            return set()
        kind = "transfer_received" if command.type == "transfer" else "transfer_reversed"
        row = answers[f"{event_id}/{kind}"]
        value = row["value"]
        WALLET_RESULT_SHAPE.validate_python(value)
        assert row["key"] == value["client_id"] == self._wire.name(taken.to)
        assert value["counterparty"] == self._wire.name(command.client)
        assert (value["type"], value["source"]) == (kind, None)
        assert value["command_id"] == command.id
        gained = minor(value["balance_after"]) - minor(value["balance_before"])
        assert abs(gained) == minor(value["amount"])
        assert (gained > 0) == (command.type == "transfer")
        assert row["moved"]
        return {f"{event_id}/{kind}"}

    def _make_due(self, step: Due) -> None:
        changed = self._run.session.execute(
            "UPDATE holds SET expires_at = '2020-01-01' WHERE client_id = %s AND hold_id = %s",
            (self._wire.name(step.client), step.hold),
        )
        hold = self._model.holds.get((step.client, step.hold))
        assert changed.rowcount == (0 if hold is None else 1)
        if hold is not None:
            hold.due = True

    def _set_status(self, step: Status) -> None:
        changed = self._run.session.execute(
            "UPDATE accounts SET status = %s"
            " WHERE client_id = %s AND currency = %s AND kind = 'available'",
            (step.status, self._wire.name(step.client), step.currency),
        )
        wallet = self._model.wallets.get((step.client, step.currency))
        assert changed.rowcount == (0 if wallet is None else 1)
        if wallet is not None:
            wallet.status = step.status

    def _sweep(self) -> None:
        told = []
        for row in self._bookkeeper.sweep():
            value = row["value"]
            WALLET_RESULT_SHAPE.validate_python(value)
            if not row["key"].startswith(self._wire.prefix):
                continue  # an earlier example left it open
            assert row["event_id"] == f"{value['client_id']}/{value['hold_id']}/expired"
            assert (value["type"], value["status"]) == ("hold_released", "applied")
            assert (value["command_id"], value["source"], row["moved"]) == (None, None, True)
            told.append((self._wire.own(value["client_id"]), value["hold_id"]))
        assert sorted(told) == self._model.sweep()
        self._verify()


@pytest.mark.timeout(900)  # what fails is made as short as it can be
@pytest.mark.parametrize("number", range(max(1, COMMANDS // COMMANDS_PER_RUN)))
def test_the_ledger_equals_the_model_after_each_batch(wallet_env: WalletEnv, number: int) -> None:
    """10,000 commands in all; WALLET_TEST_COMMANDS makes it more such runs (`make model`)."""
    url = wallet_env.database_url
    with (
        connect(url, application_name="test-worker") as session,
        connect(url, application_name="test-verify", long_queries=True) as reader,
    ):
        run = Run(session, reader)
        seeds = itertools.count(SEED * 1_000 + number * 10)
        while run.commands < COMMANDS_PER_RUN:
            run_state_machine_as_test(
                cast(type[Wallets], seed(next(seeds))(lambda: Wallets(run))),
                settings=settings(
                    max_examples=4, stateful_step_count=20, database=None,
                    phases=[Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
    print(f"{run.commands} commands in {run.batches} batches:", dict(run.met.most_common()))  # noqa: T201
