"""Workers that join and leave every second, under load, in order and by SIGKILL."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.faults.traffic import Traffic
from tests.scene import Scene


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_storm_of_rebalances_loses_and_doubles_nothing(
    scene: Scene, tmp_path: Path, protocol: str
) -> None:
    _storm(scene, tmp_path, protocol, rounds=5)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_long_storm_of_rebalances_loses_and_doubles_nothing(
    scene: Scene, tmp_path: Path, protocol: str
) -> None:
    _storm(scene, tmp_path, protocol, rounds=60)


def _storm(scene: Scene, folder: Path, protocol: str, *, rounds: int) -> None:
    scene.extra["WALLET_GROUP_PROTOCOL"] = protocol
    logs = folder / "worker.log"
    with scene.relay(), scene.process("worker", log=logs), Traffic(scene) as traffic:
        for number in range(rounds):
            with scene.process("worker", log=logs) as joins:
                time.sleep(1)
                if number % 2:
                    joins.kill()
                else:
                    # On a busy machine it may not have come to arranging for signals yet.
                    assert joins.end() in {0, -signal.SIGTERM}
        traffic.back(f"storm of {rounds} rebalances, {protocol} protocol", time.monotonic())
    traffic.check()
