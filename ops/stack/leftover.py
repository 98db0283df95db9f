"""Servers of this data folder that outlived their supervisor, and the files they left."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from ops.stack.folder import Folder
from ops.stack.kafka import BROKER_CLASS

_STOP_TIMEOUT_S = 15.0
_KILL_TIMEOUT_S = 5.0


def find_supervisor(folder: Folder, pid: int | None) -> psutil.Process | None:
    """Return this folder's supervisor if the process id is still its own."""
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
    except psutil.Error:
        return None
    return process if "supervisor.py" in " ".join(command) and str(folder.root) in command else None


def clear(folder: Folder, sockets: Path) -> None:
    """End the servers that no supervisor watches any more, then remove their stale files.

    The caller holds the start lock and knows that no supervisor lives. A process is ended only
    if its working folder and its program say that it serves this very data.
    """
    found = list(_servers(folder))
    for process in found:
        _signal(process, signal.SIGTERM if _is_broker(process) else signal.SIGQUIT)
    _, stubborn = psutil.wait_procs(found, timeout=_STOP_TIMEOUT_S)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=_KILL_TIMEOUT_S)
    # PostgreSQL trusts the process id in these files, which may be somebody else's by now.
    (folder.postgres / "postmaster.pid").unlink(missing_ok=True)
    shutil.rmtree(sockets, ignore_errors=True)


def _servers(folder: Folder) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            cwd, name = process.cwd(), process.name()
        except psutil.Error:
            continue  # gone, or somebody else's
        is_server = cwd == str(folder.postgres) and name == "postgres"
        if is_server or (cwd == str(folder.root) and _is_broker(process)):
            yield process


def _is_broker(process: psutil.Process) -> bool:
    try:
        return BROKER_CLASS in process.cmdline()
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
