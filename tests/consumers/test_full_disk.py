"""A worker whose batches PostgreSQL refuses for want of room: what it does, says and shows."""

from __future__ import annotations

import psycopg

from tests.producers.world import eventually
from tests.scene import Scene

# As a server says it whose data can't grow; tests/faults/test_disk.py fills a real disk.
_FULL = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device'
        USING ERRCODE = 'disk_full', HINT = 'Check free disk space.';
END $$;
CREATE TRIGGER no_room BEFORE INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION no_room()
"""


def test_a_worker_without_room_says_so_and_goes_on_with_the_same_batch(scene: Scene) -> None:
    with (
        psycopg.connect(scene.env.database_url, autocommit=True) as owner,
        scene.running() as worker,
    ):
        eventually(lambda: worker.trouble is None)
        assert dict(worker.failures.counts) == {"53100": 0}
        owner.execute(_FULL)
        placed = scene.command("anna", type_="deposit", command_id="d-1", amount="1")
        eventually(lambda: worker.failures.counts["53100"] >= 3)
        assert worker.trouble == (
            'PostgreSQL fails: could not extend file "base/1/2": No space left on device'
        )
        owner.execute("DROP TRIGGER no_room ON outbox")
        assert scene.answered(1).only(placed)["status"] == "applied"
        eventually(lambda: worker.trouble is None)
    assert scene.balance("anna") == 100
