"""`wallet outbox status`: what waits, for how long, and who is there to publish it."""

from __future__ import annotations

import pytest

from tests.ops.shell import Shell, until
from tests.scene import Scene


def test_what_waits_is_counted_and_abandoned_rows_are_code_1(desk: Shell, scene: Scene) -> None:
    assert desk.json("outbox", "status")["pending"] == 0
    assert "Nothing waits" in desk.fine("outbox", "status")
    scene.insert_many(1, 3)
    scene.insert("event/x", topic="order-result", at="2026-01-01T00:00:00Z")
    shown = desk.json("outbox", "status", code=1)
    assert {topic["topic"]: topic["pending"] for topic in shown["topics"]} == {
        "order-result": 1,
        "wallet-result": 3,
    }
    assert shown["oldest_seconds"] > 86_400
    ran = desk.wallet("outbox", "status")
    assert ran.returncode == 1
    assert "no relay owns the outbox" in ran.stderr
    assert "wallet-result" in ran.stdout


def test_the_relays_are_told_apart(desk: Shell, scene: Scene) -> None:
    def roles() -> list[bool]:
        return [relay["is_owner"] for relay in desk.json("outbox", "status")["relays"]]

    with scene.relay(), scene.relay():
        until(lambda: roles() == [True, False])
        assert "standing by" in desk.fine("outbox", "status", "--max-age", "60")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [(["status", "--max-age", "-1"], "Invalid value"), (["stat"], "No such command")],
)
def test_a_line_that_makes_no_sense_is_code_2(line: list[str], sentence: str) -> None:
    ran = Shell({}).wallet("outbox", *line)
    assert ran.returncode == 2
    assert sentence in ran.stderr
