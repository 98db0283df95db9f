"""Kafka and PostgreSQL killed, and frozen past every time-out, under load."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import scene_on
from tests.faults.proof_server import Server, Servers, servers
from tests.faults.traffic import Traffic
from tests.producers.world import eventually
from tests.scene import Scene

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

# Longer than any session, transaction or lock time-out of ours (10 s).
_FROZEN_S = 20.0


@pytest.fixture(scope="module")
def own() -> Iterator[Servers]:
    """Kafka and PostgreSQL that may be killed."""
    with (
        tempfile.TemporaryDirectory(prefix="wallet-test-", ignore_cleanup_errors=True) as folder,
        servers(Path(folder), print) as found,
    ):
        yield found


@pytest.fixture
def scene(own: Servers) -> Scene:
    """Topics and a database of the test's own, on servers that it may kill."""
    return scene_on(own)


@pytest.mark.parametrize("name", ["broker", "database"])
def test_a_server_that_was_killed_comes_back(
    own: Servers, scene: Scene, name: str, tmp_path: Path
) -> None:
    server: Server = getattr(own, name)
    with _running(scene, tmp_path), Traffic(scene) as traffic:
        for away_s in (0, 5):
            server.kill()
            time.sleep(away_s)
            server.start()  # returns when it answers
            traffic.back(f"{name} killed, away for {away_s} s", time.monotonic())
    traffic.check()


# 12 s: back only when the transaction's time is over, so that the broker ends it while it starts.
@pytest.mark.parametrize("away_s", [0, 12])
def test_kafka_killed_in_the_middle_of_the_relays_transaction(
    own: Servers, scene: Scene, away_s: int, tmp_path: Path
) -> None:
    at = ["--at", "producers.relay:Relay.commit", "--when", "before", "--signal", "STOP"]
    at += ["--delay-s", "1"]  # for its records to reach the broker
    with (
        scene.process("worker", log=tmp_path / "worker.log"),
        scene.process("relay", *at, "--nth", "100", log=tmp_path / "relay.log") as relay,
        Traffic(scene) as traffic,
    ):
        eventually(lambda: relay.is_frozen)
        own.broker.kill()
        relay.thaw()
        time.sleep(away_s)
        own.broker.start()
        traffic.back(f"broker killed in a transaction, away for {away_s} s", time.monotonic())
    traffic.check()


@pytest.mark.parametrize("name", ["broker", "database"])
def test_a_server_frozen_past_every_time_out_goes_on(
    own: Servers, scene: Scene, name: str, tmp_path: Path
) -> None:
    server: Server = getattr(own, name)
    assert server.process is not None
    first = psutil.Process(server.process.pid)
    with _running(scene, tmp_path), Traffic(scene) as traffic:
        family = [first, *first.children(recursive=True)]
        for process in family:
            process.suspend()
        time.sleep(_FROZEN_S)
        for process in family:
            process.resume()
        traffic.back(f"{name} frozen for {_FROZEN_S:.0f} s", time.monotonic())
    traffic.check()


@contextmanager
def _running(scene: Scene, folder: Path) -> Iterator[None]:
    with (
        scene.process("worker", log=folder / "worker.log"),
        scene.process("relay", log=folder / "relay.log"),
    ):
        yield
