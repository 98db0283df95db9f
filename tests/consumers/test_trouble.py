"""The worker in trouble: poisoned records, a lost database, a lost partition, a topic made anew."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

import consumers.batch
from consumers.assignment import Assignment
from consumers.batch import Item, Ledger
from consumers.failure import WorkerStoppedError
from consumers.processor import Processor
from consumers.session import Session
from consumers.topic_log import TopicLog
from consumers.worker import Worker, rising
from ledger.book import Book
from ledger.command import Command
from ledger.decision import decide
from ledger.outcome import Decision
from ledger.position import Position
from ledger.rule import Rules
from schemas.topic import WALLET_COMMAND
from tests.producers.world import eventually
from tests.scene import Scene, command


def decide_badly(command: Command, book: Book, rules: Rules) -> Decision:
    """A bug of ours that some commands hit."""
    if command.reference == "bug":
        raise ZeroDivisionError("our bug")
    decision = decide(command, book, rules)
    if command.reference == "unstorable" and decision.transaction is not None:
        book.journal[-1] = replace(decision.transaction, description="a NUL: \0")
    if command.reference == "impossible" and decision.transaction is not None:
        book.journal[-1] = replace(decision.transaction, amount=0)
    return decision


def credits_of(count: int, bad: dict[int, str]) -> list[Any]:
    """So many credits of 1.00 for three clients; those of `bad` carry its reference."""
    return [
        command(
            f"client-{n % 3}", command_id=f"{n}", type_="credit", amount="1", reference=bad.get(n)
        )
        for n in range(count)
    ]


def test_a_poisoned_record_dies_alone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers.batch, "decide", decide_badly)
    bad = {17: "bug", 40: "unstorable", 41: "impossible", 99: "bug"}
    places = scene.publish(*credits_of(100, bad))
    with scene.running():
        answers = scene.answered(100)
    for number, place in enumerate(places):
        if number in bad:
            headers = answers.letter(place)
            assert headers["wallet-dlt-reason"] == "poison"
            assert headers["wallet-dlt-attempts"] == "3"
        else:
            assert answers.only(place)["status"] == "applied"
    assert sum(scene.balance(f"client-{n}") for n in range(3)) == 9_600


def test_five_poisoned_in_a_row_stop_the_worker_before_the_fifth_is_buried(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers.batch, "decide", decide_badly)
    scene.publish(
        *(command("alice", command_id=f"{n}", type_="get_wallet") for n in range(2)),
        *(command("alice", command_id=f"b{n}", type_="credit", amount="1", reference="bug")
          for n in range(6)),
    )  # fmt: skip
    worker = Worker(scene.settings, database_url=scene.env.database_url)
    with pytest.raises(WorkerStoppedError, match="5 poisoned records in a row"):
        worker.run(threading.Event())
    assert scene.positions_count() == 6


def test_a_record_that_kills_the_process_is_found_and_the_rest_goes_through(
    scene: Scene, tmp_path: Path
) -> None:
    program = (
        "import os, sys, consumers.batch as b\n"
        "from tests.faults.run import main\n"
        "good = b.decide\n"
        "def deadly(command, book, rules):\n"
        "    if command.reference == 'deadly': os.kill(os.getpid(), 9)\n"
        "    return good(command, book, rules)\n"
        "b.decide = deadly\n"
        "sys.exit(main(['worker']))\n"
    )
    places = scene.publish(*credits_of(60, {31: "deadly"}))
    deaths = 0
    with scene.relay():
        while scene.positions_count() < 60:
            with (tmp_path / "log").open("ab") as log:
                worker = subprocess.Popen(
                    [sys.executable, "-c", program],
                    env={**os.environ, **scene.env.env, **scene.extra},
                    stdout=log, stderr=log,
                )  # fmt: skip
                with worker:
                    while worker.poll() is None and scene.positions_count() < 60:
                        time.sleep(0.1)
                    deaths += worker.poll() is not None
                    worker.kill()
            assert deaths < 12, (tmp_path / "log").read_text()
        answers = scene.answered(60)
    assert answers.reason(places[31]) == "poison"
    assert answers.count == 60
    assert sum(scene.balance(f"client-{n}") for n in range(3)) == 5_900


def test_a_worker_waits_while_postgres_is_away_and_then_goes_on(scene: Scene) -> None:
    with scene.running():
        scene.command("alice", command_id="1", type_="credit", amount="1")
        scene.answered(1)
        with postgres_away(scene):
            scene.command("alice", command_id="2", type_="credit", amount="1")
            time.sleep(3)
        scene.answered(2)
    assert scene.balance("alice") == 200


def test_a_worker_that_starts_before_postgres_claims_when_it_is_there(scene: Scene) -> None:
    place = scene.command("alice", command_id="1", type_="credit", amount="1")
    with postgres_away(scene) as away, scene.running() as worker:
        eventually(lambda: not worker.assignment.is_complete)
        time.sleep(1)
        away.end()
        answers = scene.answered(1)
    assert answers.only(place)["status"] == "applied"


@pytest.mark.contract
def test_what_was_read_ahead_before_a_loss_is_read_again_after_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.extra["WALLET_BATCH_RECORDS_MAX"] = "5"
    load, losses = Ledger.load, iter([True])

    def lose_once(ledger: Ledger, items: Sequence[Item], *, wary: bool) -> Book:
        if next(losses, False):
            with psycopg.connect(scene.env.database_url) as session:
                session.execute("UPDATE consumer_positions SET epoch = epoch + 1")
        return load(ledger, items, wary=wary)

    monkeypatch.setattr(Ledger, "load", lose_once)
    places = scene.publish(
        *(command("alice", command_id=f"{i}", type_="deposit", amount="1") for i in range(30))
    )
    with scene.running():
        answers = scene.answered(30)
    told = [answers.only(place)["balance_after"] for place in places]
    assert told == [f"{number}.00" for number in range(1, 31)]


@pytest.mark.parametrize("at", ["write", "commit"])
def test_a_killed_worker_leaves_nothing_half_done(scene: Scene, at: str) -> None:
    scene.publish(*credits_of(30, {}))
    when = "before" if at == "commit" else "after"
    with scene.process(
        "worker", "--at", f"consumers.batch:Ledger.{at}", "--when", when, "--signal", "KILL"
    ) as killed:
        killed.started.wait(30)
        assert scene.positions_count() == 0
    with scene.running():
        answers = scene.answered(30)
    assert answers.count == 30
    assert sum(scene.balance(f"client-{n}") for n in range(3)) == 3_000


def test_a_frozen_worker_holds_nobody_up_and_writes_nothing_when_it_wakes(
    scene: Scene, tmp_path: Path
) -> None:
    scene.publish(*credits_of(30, {}))
    log = tmp_path / "frozen.log"
    fault = ("--at", "consumers.batch:Ledger.load", "--signal", "STOP")
    with scene.process("worker", *fault, log=log) as frozen, scene.relay():
        eventually(lambda: frozen.is_frozen)
        since = time.monotonic()
        with scene.worker():
            scene.answered(30)
            assert time.monotonic() - since < 15
            frozen.thaw()
            eventually(lambda: "fenced" in log.read_text())
            scene.publish(*credits_of(33, {})[30:])
            scene.answered(33)
        # It has all partitions again, and reads on in those that it had been fenced from.
        scene.publish(*credits_of(36, {})[33:])
        answers = scene.answered(36, 15)
        assert frozen.end() == 0
    assert answers.count == 36
    assert sum(scene.balance(f"client-{n}") for n in range(3)) == 3_600


def test_what_is_dropped_after_the_groups_word_of_a_loss_counts_as_fenced_too() -> None:
    def never() -> Any:
        raise AssertionError("nothing is left that needs the database")

    session = Session("", rules=Rules(), default_currency="USD")
    assignment = Assignment(Consumer({"group.id": "nobody's"}), TopicLog({}), never, singly_count=1)
    processor = Processor(session, assignment, lambda _seconds: None, threading.Event())
    read = [Item(WALLET_COMMAND, WALLET_COMMAND, p, 7, None, None, None, 0, 1) for p in (0, 0, 1)]
    processor.process(read)
    assert assignment.fenced_count == 2


def test_what_was_read_before_a_loss_hides_nothing_that_is_read_after_it() -> None:
    def read(offset: int, epoch: int) -> Item:
        return Item(WALLET_COMMAND, WALLET_COMMAND, 0, offset, None, None, None, 0, epoch)

    claimed_again = {(WALLET_COMMAND, 0): Position(WALLET_COMMAND, 0, 3, epoch=2, takings=0)}
    items = [read(5, 1), read(6, 1), read(3, 2), read(4, 2), read(3, 2), read(5, 2)]
    kept = rising(items, claimed_again)
    assert [(item.offset, item.epoch) for item in kept] == [(3, 2), (4, 2), (5, 2)]
    assert rising(items, {}) == []


def test_sigterm_finishes_the_batch_and_ends_with_exit_code_0(scene: Scene) -> None:
    with scene.process("worker") as worker:
        scene.publish(*credits_of(30, {}))
        eventually(lambda: scene.positions_count() == 30)
        assert worker.end() == 0
    assert scene.scalar("SELECT max(takings) FROM consumer_positions") == 0


def test_a_topic_made_anew_is_stopped_and_the_other_goes_on(
    scene: Scene, admin_client: AdminClient
) -> None:
    topic = scene.topics.real(WALLET_COMMAND)
    with scene.running() as worker:
        scene.command("alice", command_id="1", type_="credit", amount="1")
        scene.answered(1)
        for future in admin_client.delete_topics([topic]).values():
            future.result(10)
        time.sleep(0.5)
        scene.make_topic_again(admin_client, topic)
        eventually(lambda: topic in worker.assignment.stopped_topics)
        scene.command("alice", command_id="2", type_="credit", amount="1")
        scene.command("alice", "order-request", command_id="3", type_="get_wallet")
        scene.answered(2)
    with scene.worker() as worker:
        eventually(lambda: topic in worker.assignment.stopped_topics)
    assert scene.balance("alice") == 100


class Away:
    """Postgres is away for this test's database alone: nobody gets in, who is in is put out."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._database = parts.path[1:]
        self._session = psycopg.connect(parts._replace(path="/postgres").geturl(), autocommit=True)

    def begin(self) -> None:
        self._allow(False)
        self._session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (self._database,),
        )

    def end(self) -> None:
        self._allow(True)

    def close(self) -> None:
        self.end()
        self._session.close()

    def _allow(self, allowed: bool) -> None:
        self._session.execute(
            f'ALTER DATABASE "{self._database}" ALLOW_CONNECTIONS {allowed}'.encode()
        )


@contextmanager
def postgres_away(scene: Scene) -> Iterator[Away]:
    away = Away(scene.env.database_url)
    away.begin()
    try:
        yield away
    finally:
        away.close()
