"""The wall clock of each process jumps by an hour, under load: no rule of ours may rest on it."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.run import STEPS, is_listening
from tests.faults.whole import PROCESSES, Whole, whole
from tests.producers.world import eventually
from tests.scene import Process, Scene

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

_STEPS_S = [pytest.param(number, id=f"{seconds:+d} s") for number, seconds in STEPS.items()]


@pytest.mark.parametrize("step", _STEPS_S)
def test_a_step_of_the_processes_clocks_changes_nothing(
    scene: Scene, step: signal.Signals, tmp_path: Path
) -> None:
    scene.extra["WALLET_RATE_LIMIT"] = "1000/s"  # each bucket is filled by time, and never empty
    with whole(scene, tmp_path) as system:
        system.send(400)
        _hold(system, "late", timedelta(minutes=20))
        _hold(system, "soon", timedelta(seconds=10))
        ends_at = time.monotonic() + 10.0
        for name in PROCESSES:
            _step(system.processes[name], step)
            system.traffic.back(f"clock of the {name} by {STEPS[step]} s", time.monotonic())
            system.send(150)
            assert "the clock is stepped" in system.log(name)
        assert _held(scene, "soon") == 100 or time.monotonic() > ends_at - 1.0
        # Released by the database's clock, not an hour later; and the other not an hour early.
        eventually(lambda: _held(scene, "soon") == 0, ends_at + 5.0 - time.monotonic())
        assert _held(scene, "late") == 100
    assert _strange_attempts(scene) == 0


def _step(process: Process, step: signal.Signals) -> None:
    eventually(lambda: is_listening(process.started.pid))
    process.started.send_signal(step)


def _hold(system: Whole, client: str, length: timedelta) -> None:
    """A hold of 1.00 of a client of its own, which the ordinary load does not touch."""
    expires_at = (datetime.now(UTC) + length).isoformat()
    system.command(client, type_="credit", command_id="m", amount="1")
    system.command(client, type_="hold", command_id="h", amount="1", expires_at=expires_at)


def _held(scene: Scene, client: str) -> int:
    return int(
        scene.scalar(
            "SELECT coalesce(sum(balance), 0) FROM accounts WHERE client_id = %s AND kind = 'held'",
            client,
        )
    )


def _strange_attempts(scene: Scene) -> int:
    """Calls that the record has at an hour at which nobody made them."""
    return int(
        scene.scalar(
            "SELECT count(*) FROM fulfillment_attempts"
            " WHERE abs(extract(epoch FROM started_at - now())) > 1800"
        )
    )
