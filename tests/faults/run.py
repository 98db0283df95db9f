"""Runs a process of ours that sends itself a signal at one place in its code.

    python -m tests.faults.run --at producers.relay:Relay.commit --when after --nth 3 \
        --signal KILL -- relay

The named function is wrapped before the process starts; the settings come from the environment.
Without `--at` it just runs. SIGUSR1 and SIGUSR2 step the wall clock that its Python code sees
(STEPS); librdkafka and libpq go on by the real one, and the monotonic clock by none of it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import structlog
import time_machine

from ops.process import run_until_signalled
from schemas.settings import Settings, load_settings

_log = structlog.get_logger(__name__)

# By how many seconds a signal steps the clock.
STEPS = {signal.SIGUSR1: 3600, signal.SIGUSR2: -3600}


def main(arguments: Sequence[str]) -> int:
    """Run the process until SIGTERM; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.run", description=__doc__)
    parser.add_argument("--at", metavar="MODULE:CLASS.METHOD")
    parser.add_argument("--when", choices=("before", "after"), default="after")
    parser.add_argument("--nth", type=int, default=1, help="at which call, counted from 1")
    parser.add_argument("--delay-s", type=float, default=0.0, help="how long to wait before it")
    parser.add_argument("--signal", choices=("KILL", "STOP", "TERM"), default="KILL")
    parser.add_argument(
        "--without", action="append", default=[], metavar="PROTECTION",
        help="take it out of our code first (tests.faults.seeded)",
    )  # fmt: skip
    parser.add_argument("process", choices=("fulfillment", "relay", "worker"))
    options = parser.parse_args(arguments)
    if options.at:
        _plant(options)
    for name in options.without:
        seeded: Any = importlib.import_module("tests.faults.seeded")
        seeded.REMOVALS[name]()
    for number in STEPS:
        signal.signal(number, _step)
    settings = load_settings()
    if settings.database_url is None:
        parser.error("DATABASE_URL is not set")
    url = settings.database_url.get_secret_value()
    # In a thread of its own: a handler that sets the event which its own thread waits for may find
    # that thread with the event's lock.
    run_until_signalled(lambda stop: _run(options.process, settings, url, stop))
    return 0


def is_listening(pid: int) -> bool:
    """Whether a process has come so far that a step of its clock would not end it (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return all(int(caught, 16) >> (number - 1) & 1 for number in STEPS)


def _run(process: str, settings: Settings, database_url: str, stop: threading.Event) -> None:
    # By name, so that a fault in one process needs no code of the other.
    module, name = {
        "fulfillment": ("producers.fulfillment", "Fulfillment"),
        "relay": ("producers.relay", "Relay"),
        "worker": ("consumers.worker", "Worker"),
    }[process]
    made = getattr(importlib.import_module(module), name)(settings, database_url=database_url)
    made.run(stop)


def _step(number: int, _frame: object) -> None:
    """For good: a second one adds to it, or takes it back."""
    seconds = STEPS[signal.Signals(number)]
    time_machine.travel(timedelta(seconds=seconds), tick=True).start()
    _log.warning("the clock is stepped", seconds=seconds)


def _plant(options: argparse.Namespace) -> None:
    """Put the wrapped function in the named one's place."""
    module_name, path = options.at.split(":")
    holder: Any = importlib.import_module(module_name)
    *holders, name = path.split(".")
    for part in holders:
        holder = getattr(holder, part)
    setattr(holder, name, _faulty(getattr(holder, name), options))


def _send_ourselves(number: signal.Signals) -> None:
    if number is signal.SIGSTOP:
        # To this thread: the process stops with it. Sent to the process, another thread takes it,
        # and this one goes on until that one has been woken: for a whole commit, as seen.
        signal.pthread_kill(threading.get_ident(), number)
    else:
        os.kill(os.getpid(), number)


def _faulty(function: Callable[..., Any], options: argparse.Namespace) -> Callable[..., Any]:
    calls = 0

    def strike(when: str) -> None:
        if when == options.when and calls == options.nth:
            time.sleep(options.delay_s)
            _send_ourselves(signal.Signals[f"SIG{options.signal}"])

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        strike("before")
        result = function(*args, **kwargs)
        strike("after")
        return result

    return wrapped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
