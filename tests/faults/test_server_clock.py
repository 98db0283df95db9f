"""PostgreSQL's clock, by which all is decided, is set an hour ahead and back under load."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.faults.conftest import scene_on
from tests.faults.proof_server import Servers, servers
from tests.faults.server_clock import LOOK_S, ServerClock
from tests.faults.whole import whole
from tests.producers.world import eventually
from tests.scene import Scene

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

_HOUR_S = 3600
_LATE_S = 30.0


@pytest.fixture
def own() -> Iterator[Servers]:
    """Kafka, and PostgreSQL with a clock of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="wallet-test-", ignore_cleanup_errors=True) as folder,
        servers(Path(folder), print, by_own_clock=True) as found,
    ):
        if found.clock is None:
            pytest.skip("libfaketime is not installed, so PostgreSQL has no clock of its own")
        found.clock.set(_HOUR_S)
        time.sleep(2 * LOOK_S)
        if not 0.9 * _HOUR_S < _off_s(found.database_url) < 1.1 * _HOUR_S:
            pytest.skip("libfaketime does not work here, so PostgreSQL has no clock of its own")
        found.clock.set(0)
        time.sleep(2 * LOOK_S)
        yield found


@pytest.fixture
def clock(own: Servers) -> ServerClock:
    assert own.clock is not None
    return own.clock


@pytest.fixture
def scene(own: Servers) -> Scene:
    return scene_on(own, WALLET_RATE_LIMIT="50/s")


def test_an_hour_ahead_and_back_loses_and_doubles_nothing_and_nobody_waits_for_it(
    own: Servers, clock: ServerClock, scene: Scene, tmp_path: Path
) -> None:
    with whole(scene, tmp_path) as system:
        good = system.stub.behaviour
        in_an_hour = (datetime.now(UTC) + timedelta(minutes=40)).isoformat()
        system.command("late", type_="credit", command_id="m", amount="1")
        system.command("late", type_="hold", command_id="h", amount="1", expires_at=in_an_hour)
        for off_s in (_HOUR_S, 0, -_HOUR_S, 0):
            # Orders wait for their next try, and the breaker is open, when the clock is set.
            system.stub.behaviour = good.changed({"down": True})
            system.send(200)
            eventually(lambda: scene.scalar("SELECT opened_at FROM fulfillment_breaker"), 30)
            clock.set(off_s)
            time.sleep(2 * LOOK_S)
            assert abs(_off_s(own.database_url) - off_s) < 60
            system.stub.behaviour = good
            set_at = time.monotonic()
            system.traffic.back(f"clock of PostgreSQL set to {off_s:+d} s", set_at)
            eventually(lambda: not _orders_wait(scene), _LATE_S)
        assert scene.balance("late") == 100  # the hour in which its hold ended was the database's
    said = system.log("fulfillment")
    assert "the database's clock was set back" in said


def _orders_wait(scene: Scene) -> bool:
    return bool(scene.scalar("SELECT EXISTS (SELECT FROM orders WHERE status = 'pending')"))


def _off_s(database_url: str) -> float:
    with psycopg.connect(database_url, autocommit=True) as session:
        row = session.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return float((row[0] - datetime.now(UTC)).total_seconds())
