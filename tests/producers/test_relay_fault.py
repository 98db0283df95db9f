"""The relay killed, frozen and raced: nothing lost, nothing twice, nothing out of order."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from schemas.topic import WALLET_RESULT
from tests.producers.test_relay import expected_numbers, published_numbers
from tests.producers.world import World, eventually

_ROOT = Path(__file__).parent.parent.parent
Relay = subprocess.Popen[bytes]


@contextmanager
def relay_process(world: World, log: Path, *fault: str) -> Iterator[Relay]:
    """A relay in a process of its own, with the fault planted; it is gone when the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.run", *fault, "--", "relay"],
            cwd=_ROOT,
            env={**os.environ, **world.env.env, **world.extra},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def _wait_for_a_word(log: Path, known: int) -> None:
    """Wait until the relay whose log stood at `known` bytes has its part, or stands by for it."""
    said = re.compile(b"owns its part|standing by")
    eventually(lambda: said.search(log.read_bytes(), known), 60)


def _fault(place: str, when: str, nth: int, signal_name: str, delay_s: float = 0.0) -> list[str]:
    return [
        *("--at", f"producers.relay:Relay.{place}", "--when", when, "--nth", str(nth)),
        *("--signal", signal_name, "--delay-s", str(delay_s)),
    ]


def _die(process: Relay) -> None:
    assert process.wait(20) == -signal.SIGKILL


@pytest.mark.contract
def test_killed_between_kafkas_commit_and_its_delete_a_relay_leaves_nothing_to_come_twice(
    world: World, tmp_path: Path
) -> None:
    world.extra["WALLET_RELAY_RECORDS_MAX"] = "200"
    world.insert_many(1, 1000)
    log = tmp_path / "log"
    with relay_process(world, log, *_fault("commit", "after", 3, "KILL")) as process:
        _die(process)
    assert world.waiting() == 600  # two transactions deleted, the third only committed
    assert len(world.read(WALLET_RESULT)) == 600
    with world.relay() as relay:
        eventually(lambda: world.waiting() == 0)
    assert relay.stats.found_published == 200
    assert relay.stats.mismatches == 0
    assert published_numbers(world) == expected_numbers(1, 1000)


@pytest.mark.contract
@pytest.mark.parametrize("place", ["publish", "commit"])
def test_killed_inside_its_transaction_a_relay_loses_nothing_and_shows_nothing(
    world: World, tmp_path: Path, place: str
) -> None:
    world.extra["WALLET_RELAY_RECORDS_MAX"] = "200"
    world.insert_many(1, 500)
    # After publish, long enough for the records to be on the broker; before commit, at once.
    fault = (
        _fault("publish", "after", 2, "KILL", delay_s=0.3)
        if place == "publish"
        else _fault("commit", "before", 2, "KILL")
    )
    with relay_process(world, tmp_path / "log", *fault) as process:
        _die(process)
    assert len(world.read(WALLET_RESULT)) == 200
    assert world.waiting() == 300
    with world.relay() as relay:
        eventually(lambda: world.waiting() == 0)
    assert relay.stats.found_published == 0
    assert published_numbers(world) == expected_numbers(1, 500)


def test_killed_while_taking_over_a_relay_leaves_it_to_the_next(
    world: World, tmp_path: Path
) -> None:
    world.insert_many(1, 100)
    for place in ("commit", "_delete_published"):
        fault = _fault(place, "after" if place == "commit" else "before", 1, "KILL")
        with relay_process(world, tmp_path / "log", *fault) as process:
            _die(process)
    with world.relay() as relay:
        eventually(lambda: world.waiting() == 0)
    assert relay.stats.found_published == 100
    assert published_numbers(world) == expected_numbers(1, 100)


@pytest.mark.slow
def test_frozen_inside_its_transaction_a_relay_is_passed_and_writes_nothing_more(
    world: World, tmp_path: Path
) -> None:
    world.extra["WALLET_RELAY_RECORDS_MAX"] = "200"
    world.insert_many(1, 500)
    log = tmp_path / "log"
    fault = _fault("publish", "after", 2, "STOP", delay_s=0.3)
    with relay_process(world, log, *fault) as frozen:
        eventually(lambda: _is_stopped(frozen))
        frozen_at = time.monotonic()
        with world.relay() as standby:
            eventually(lambda: world.waiting() == 0, timeout_s=15 - (time.monotonic() - frozen_at))
            world.insert_many(501, 100)
            frozen.send_signal(signal.SIGCONT)
            eventually(lambda: b"fenced: another relay took over" in log.read_bytes())
            eventually(lambda: b"standing by" in log.read_bytes())
            eventually(lambda: world.waiting() == 0)
            frozen.send_signal(signal.SIGTERM)
            assert frozen.wait(10) == 0
        assert standby.stats.fenced == 0
    assert published_numbers(world) == expected_numbers(1, 600)


@pytest.mark.slow
def test_two_relays_that_are_killed_in_turn_under_load_publish_each_row_once_and_in_order(
    world: World, tmp_path: Path
) -> None:
    world.extra["WALLET_RELAY_RECORDS_MAX"] = "100"
    written = threading.Event()
    logs = [tmp_path / f"log-{number}" for number in range(3)]

    def told(what: bytes) -> int:
        return sum(log.read_bytes().count(what) for log in logs if log.exists())

    def kill_in_turn(number: int) -> None:
        chance = random.Random(number)
        while not written.is_set():
            known = logs[number].stat().st_size if logs[number].exists() else 0
            with relay_process(world, logs[number]):
                _wait_for_a_word(logs[number], known)
                time.sleep(chance.uniform(0.3, 1.8))

    killers = [threading.Thread(target=kill_in_turn, args=(number,)) for number in (1, 2)]
    for killer in killers:
        killer.start()
    try:
        # A busy machine takes long to start a process: until enough of them have been killed.
        for batch in itertools.count(1):
            world.insert_many(1 + (batch - 1) * 200, 200)
            time.sleep(0.15)
            if batch >= 60 and told(b"owns its part") >= 4:
                break
    finally:
        written.set()
        for killer in killers:
            killer.join()
    with relay_process(world, logs[0]) as last:
        world.insert_many(1 + batch * 200, 1)
        eventually(lambda: world.waiting() == 0)
        last.terminate()
        assert last.wait(10) == 0
    assert published_numbers(world) == expected_numbers(1, batch * 200 + 1)


def _is_stopped(process: Relay) -> bool:
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
