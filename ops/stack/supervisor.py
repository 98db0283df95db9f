"""Runs a stack's servers as its children, says how they are, and ends them with itself.

Started as a script, so that it imports nothing but the standard library and is up at once:
`python supervisor.py DATA_DIR detached|bound`. Bound, it lives as long as the other end of
its stdin: a parent that is killed closes it as surely as one that ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

_LOCK_TIMEOUT_S = 5.0
_KILLED_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1


def main(data_dir: Path, *, bound: bool) -> int:
    """Run the plan in the folder until told to stop; returns the exit code."""
    if not bound and os.fork() != 0:
        return 0  # whoever started us is not to be our parent: it would have to wait for us
    lock = _take_lock(data_dir / "supervisor.lock")
    if lock is None:
        return 1
    wake = _wake_on_signals()
    plan = json.loads((data_dir / "plan.json").read_text(encoding="utf-8"))
    parts = [Part(data_dir, spec) for spec in plan["parts"]]
    try:
        for part in parts:
            part.start()
        _watch(data_dir, parts, wake, bound=bound)
    finally:
        _write_state(data_dir, "stopping", parts)
        _stop(parts)
        _write_state(data_dir, "stopped", parts)
        for path in plan["remove_paths"]:
            shutil.rmtree(path, ignore_errors=True)
    return 0


class Part:
    """One server: how to run it, its process, and how that ended."""

    def __init__(self, data_dir: Path, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.ended_at: str | None = None
        self._data_dir = data_dir

    def start(self) -> None:
        """Start the process, its output appended to its log."""
        log_path = Path(self.spec["output_path"])
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.spec["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._data_dir,
                user=self.spec["uid"],
                group=self.spec["gid"],
                extra_groups=None if self.spec["uid"] is None else [],
                # Safe: this process has one thread.
                preexec_fn=_die_with_parent(self.spec["stop_signal"]),  # noqa: PLW1509
            )

    def reap(self) -> bool:
        """Say whether the process has ended since the last call."""
        if self.process is None or self.ended_at or self.process.poll() is None:
            return False
        self.ended_at = datetime.now(UTC).isoformat(timespec="seconds")
        return True

    def signal(self, number: int) -> None:
        """Send the signal, if the process still runs."""
        if self.process is not None:
            self.process.send_signal(number)

    def report(self) -> dict[str, Any]:
        """Return what state.json says of this part."""
        process = self.process
        return {
            "pid": process.pid if process else None,
            "exit_code": process.returncode if process else None,
            "ended_at": self.ended_at,
        }


def _watch(data_dir: Path, parts: list[Part], wake: BinaryIO, *, bound: bool) -> None:
    """Keep the state file true until a signal says stop or the parent is gone."""
    _write_state(data_dir, "running", parts)
    sources = [wake.fileno(), *([sys.stdin.fileno()] if bound else [])]
    while True:
        readable, _, _ = select.select(sources, [], [])
        if sys.stdin.fileno() in readable:
            return
        if set(wake.read(64)) - {signal.SIGCHLD}:
            return
        if any([part.reap() for part in parts]):  # noqa: C419 - each of them, not the first
            _write_state(data_dir, "running", parts)


def _stop(parts: list[Part]) -> None:
    """Ask all to end at once, wait for each in turn, kill what does not go."""
    for part in parts:
        part.signal(part.spec["stop_signal"])
    for part in parts:
        if part.process is None:
            continue
        try:
            part.process.wait(part.spec["stop_timeout_s"])
        except subprocess.TimeoutExpired:
            part.signal(signal.SIGKILL)
            part.process.wait(_KILLED_TIMEOUT_S)
        part.reap()


def _write_state(data_dir: Path, phase: str, parts: list[Part]) -> None:
    state = {
        "phase": phase,
        "pid": os.getpid(),
        "parts": {part.spec["name"]: part.report() for part in parts},
    }
    path = data_dir / "state.json.part"
    path.write_text(json.dumps(state, indent=1), encoding="utf-8")
    path.replace(data_dir / "state.json")


def _take_lock(path: Path) -> BinaryIO | None:
    """Return the held lock; None if another supervisor has it.

    A moment's patience: whoever asks for the stack's status touches the lock too.
    """
    lock = path.open("ab")
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        else:
            return lock


def _wake_on_signals() -> BinaryIO:
    """Return a pipe that a byte, the signal's number, comes out of for each signal."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return os.fdopen(reading, "rb", buffering=0)


def _die_with_parent(number: int) -> Callable[[], None]:
    """Return what a child runs before its program: it gets the signal if the supervisor dies.

    Linux only; elsewhere a supervisor killed by SIGKILL leaves its servers to the next start.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()

    def arrange() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:  # it died before we asked
                os._exit(1)

    return arrange


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), bound=sys.argv[2] == "bound"))
