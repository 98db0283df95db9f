"""A shell for the tests: the real command in an environment of its own."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

import pytest
import structlog

from ops.cli.main import main

WALLET = [sys.executable, "-m", "ops.cli"]
_OURS = ("WALLET_", "KAFKA_", "PG", "DATABASE_URL", "FULFILLMENT_")


class Ran(NamedTuple):
    """What became of a line."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Shell:
    """Runs `wallet …`; only `env` says where Kafka and PostgreSQL are."""

    env: Mapping[str, str]

    @property
    def environ(self) -> dict[str, str]:
        """This process's environment without what would decide for the command, and `env`."""
        others = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        return {**others, "PYTHONUNBUFFERED": "1", **self.env}

    def wallet(self, *line: str, **env: str) -> Ran:
        """Run one line to its end, in this very process: a new one would import for 0.7 s."""
        said, complained = io.StringIO(), io.StringIO()
        with (
            _log_kept(),
            mock.patch.dict(os.environ, {**self.environ, **env}, clear=True),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complained),
            pytest.raises(SystemExit) as ended,
        ):
            main(line)
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, said.getvalue(), complained.getvalue())

    def process(self, *line: str, **env: str) -> Ran:
        """Run one line to its end, in a process of its own."""
        ran = subprocess.run(
            [*WALLET, *line],
            env={**self.environ, **env},
            text=True,
            capture_output=True,
            timeout=90,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def fine(self, *line: str, **env: str) -> str:
        """Run one line that must end with 0; what it printed."""
        ran = self.wallet(*line, **env)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def json(self, *line: str, code: int = 0) -> Any:
        """Run one line with --json that must end with this code; what it printed."""
        ran = self.wallet(*line, "--json")
        assert ran.returncode == code, ran.stderr
        return json.loads(ran.stdout)

    @contextmanager
    def started(self, *line: str, **env: str) -> Iterator[Running]:
        """A line that runs on; killed at the end, if it still runs. Its standard input closes when
        this process is gone, which ends one that is `--bound`.
        """
        with subprocess.Popen(
            [*WALLET, *line],
            env={**self.environ, **env},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            running = Running(process)
            try:
                yield running
            finally:
                process.kill()


@contextmanager
def _log_kept() -> Iterator[None]:
    """A verb configures its process's log; this process goes on to other tests with its own."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers = handlers
        root.setLevel(level)


class Running:
    """A command that runs, and what it has said so far, both streams in one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        threading.Thread(target=self._read, daemon=True).start()

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it has said this."""
        until(lambda: self.said.count(text) >= times, lambda: f"no {text!r} in:\n{self.said}")

    def end(self, number: int) -> int:
        """Send a signal and return the exit code, as subprocess has it."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line


def until(
    condition: Callable[[], bool],
    complaint: Callable[[], str] = lambda: "it did not come true in time",
    timeout_s: float = 60,
) -> None:
    """Wait until the condition holds; fails with the complaint if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.05)
