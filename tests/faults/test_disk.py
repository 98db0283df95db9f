"""PostgreSQL's disk full, under load: no room for its data, and none for its WAL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import scene_on
from tests.faults.proof_server import Servers, servers
from tests.faults.small_disk import NoMountError, SmallDisk
from tests.faults.whole import Whole, whole
from tests.producers.world import eventually
from tests.scene import Scene

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

_FULL_S = 12.0  # longer than any wait between two tries


@pytest.fixture(scope="module")
def own() -> Iterator[Servers]:
    """Kafka, and PostgreSQL on a disk that can be full."""
    with tempfile.TemporaryDirectory(prefix="wallet-test-", ignore_cleanup_errors=True) as folder:
        try:
            with servers(Path(folder), print, on_small_disk=True) as found:
                yield found
        except NoMountError as error:
            pytest.skip(f"no disk can be made full here: {error}")


@pytest.fixture
def scene(own: Servers) -> Scene:
    return scene_on(own)


@pytest.fixture
def disk(own: Servers) -> SmallDisk:
    return own.small_disk()


def test_data_that_can_not_grow_is_waited_for(
    disk: SmallDisk, scene: Scene, tmp_path: Path
) -> None:
    with whole(scene, tmp_path) as system:
        good = system.stub.behaviour
        system.stub.behaviour = good.changed({"down": True})
        system.send(800)
        eventually(lambda: scene.scalar("SELECT count(*) FROM orders") > 20)
        disk.fill()
        system.stub.behaviour = good
        system.send(300)
        for name in ("worker", "fulfillment"):
            _awaits_room(system, name)
        time.sleep(_FULL_S)
        disk.make_room()
        system.traffic.back("disk full for data", time.monotonic())
        system.send(100)
    # Said once by each, and nobody took a record for the one at fault.
    assert system.log("worker").count("postgres: batch not applied") == 1
    assert system.log("worker").count("batch applied after trouble") == 1
    assert system.log("fulfillment").count("PostgreSQL does not take") == 1
    assert "poison" not in system.log("worker")


def test_wal_that_can_not_be_written_ends_the_server_and_is_waited_for(
    own: Servers, disk: SmallDisk, scene: Scene, tmp_path: Path
) -> None:
    with whole(scene, tmp_path) as system:
        system.send(300)
        disk.fill()
        system.send(100)
        own.exhaust_wal()
        time.sleep(5)
        disk.make_room()
        own.database.start()
        system.traffic.back("disk full for WAL", time.monotonic())
        system.send(100)
    assert "poison" not in system.log("worker")


def _awaits_room(system: Whole, name: str) -> None:
    eventually(lambda: "No space left on device" in system.log(name), 30)
