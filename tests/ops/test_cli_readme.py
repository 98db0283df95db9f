"""The README's tour: a stack of one's own, and Kafka's own console tools as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack import TOOLS, fetch
from tests.ops.shell import Ran, Shell
from tests.producers.shop import stubbed

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def home() -> Iterator[Shell]:
    """A running stack in a data directory, found by that alone, with a local Kafka's tools."""
    # Not below pytest's own folder: each run of pytest that starts closes it to other users, and
    # where we are root PostgreSQL is one.
    with tempfile.TemporaryDirectory(prefix="wallet-home-", ignore_cleanup_errors=True) as name:
        yield from _at_home(Path(name))


def _at_home(folder: Path) -> Iterator[Shell]:
    java = fetch(print)
    for tool in ("kafka-console-producer", "kafka-console-consumer"):
        script = folder / f"{tool}.sh"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(java.command((), TOOLS[tool]))} "$@"\n')
        script.chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    shell = Shell({"WALLET_DATA_DIR": str(folder / "data"), "PATH": path})
    started = shell.wallet("stack", "start")
    try:
        assert started.returncode == 0, started.stderr
        assert "wallet topics apply" in started.stderr  # what comes next
        yield shell
    finally:
        assert shell.wallet("stack", "stop").stderr == "Stopped.\n"


def test_a_stack_says_how_it_is_and_where(home: Shell) -> None:
    status = home.json("stack", "status")
    assert status["state"] == "running"
    assert status["environment"] == home.json("stack", "env")
    assert "already runs" in home.wallet("stack", "start").stderr
    assert "postgres  running" in home.fine("stack", "status")
    evaluated = _bash(home, 'eval "$(wallet stack env)" && echo "$DATABASE_URL"')
    assert evaluated.stdout.strip() == status["environment"]["DATABASE_URL"]
    wrong = _bash(home, "wallet stack console kafka-topics --describe --topic none")
    assert wrong.returncode == 1  # the tool's own code


@pytest.mark.timeout(900)  # a dozen Java processes, one after another
def test_the_readmes_console_recipes_give_results(home: Shell) -> None:
    own, local, order = _recipes()
    home.fine("migrate")
    home.fine("topics", "apply")
    # The first to ask for a group on a new broker, which once ended the process with SIGSEGV.
    first = home.process("lag")
    assert first.returncode == 0, first.stderr
    with stubbed() as (stub, url), home.started("run", "all", FULFILLMENT_URL=url) as running:
        running.says("the relay owns its part")
        [carols] = _results(_bash(home, own))
        assert (carols["client_id"], carols["status"], carols["balance_after"]) == (
            *("carol", "applied", "25.00"),
        )
        both = _results(_bash(home, local))
        assert [result["command_id"] for result in both] == ["c-1", "c-2"]
        assert both[1]["balance_after"] == "20.00"
        placed, ended = _results(_bash(home, order))
        assert (placed["event"], placed["status"]) == ("order_placed", "pending")
        assert (ended["event"], ended["balance_after"]) == ("order_completed", "7.50")
        assert stub.record.ids == {"carol/ORD-1": ended["fulfillment_id"]}
        assert running.end(signal.SIGTERM) == 0


def _recipes() -> list[str]:
    section = README.read_text(encoding="utf-8").split("console tools\n", 1)[1].split("\n## ")[0]
    recipes = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(recipes) == 3
    return recipes


def _bash(shell: Shell, script: str) -> Ran:
    ran = subprocess.run(
        ["bash", "-c", script],
        env=shell.environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def _results(ran: Ran) -> list[dict[str, str]]:
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in lines]
