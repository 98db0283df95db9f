"""Starting a supervisor, and letting one go that is bound to this process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.stack import supervisor
from ops.stack.folder import Folder, read_tail
from ops.stack.report import StackError

STOP_TIMEOUT_S = 60.0
_STATE_TIMEOUT_S = 10.0
_POLL_INTERVAL_S = 0.05
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How the supervisor runs one server; without `uid` it runs under our own account."""

    name: str
    command: list[str]
    output_path: str
    stop_signal: int
    stop_timeout_s: float
    uid: int | None = None
    gid: int | None = None


def write_plan(
    folder: Folder, parts: Sequence[PartPlan], *, ports: list[int], remove_paths: Sequence[Path]
) -> None:
    """Write what the supervisor is to run, and what it deletes after the end."""
    plan = {
        "ports": ports,
        "parts": [asdict(part) for part in parts],
        "remove_paths": [str(path) for path in remove_paths],
    }
    folder.plan.write_text(json.dumps(plan, indent=1), encoding="utf-8")


def launch(folder: Folder, *, bound: bool) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own (a Ctrl-C is for us alone) and see it work.

    Bound, the process returned is the supervisor; detached, one that has handed over to it.
    Raises StackError with what it said if it fails.
    """
    folder.state.unlink(missing_ok=True)
    log_path = folder.log / "supervisor.log"
    command = [sys.executable, "-I", str(supervisor.__file__), str(folder.root)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "bound" if bound else "detached"],
            stdin=subprocess.PIPE if bound else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.root,
            start_new_session=True,
        )
    if not bound:
        process.wait()
    if not until(folder.state.exists, _STATE_TIMEOUT_S):
        release(process)
        tail = "\n".join(read_tail(log_path, _TAIL_LINES))
        raise StackError(f"The stack's supervisor did not start:\n{tail}")
    return process


def release(process: subprocess.Popen[bytes]) -> None:
    """Tell a bound supervisor that its time has come, and wait until it has ended."""
    if process.stdin is None:
        return
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until the condition holds; False if it did not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL_S)
    return True
