"""What share of the cores a worker, and its session in PostgreSQL, get where cores are short."""

import os
import socket
import struct
from pathlib import Path

import structlog
from psycopg import Connection

from schemas.settings import SettingsError

_log = structlog.get_logger(__name__)

_PROCESSES = Path("/proc")
# In the place of a process's id: the thread that asks.
_THIS = 0
# struct ucred of unix(7): the process, its user, its group.
_CREDENTIALS = struct.Struct("3i")


def take_nice(nice: int | None) -> None:
    """Give this process WALLET_WORKER_NICE, where it is set: this thread, and those it will start.

    Raises SettingsError where the system refuses it.
    """
    if nice is None:
        return
    try:
        _set_nice(_THIS, nice)
    except OSError as error:
        mistake = (
            f"WALLET_WORKER_NICE={nice}: {error.strerror}. Less than it is started with takes root "
            "or CAP_SYS_NICE; unset it, or give the worker its share from outside"
        )
        raise SettingsError([mistake]) from error


def give_nice(connection: Connection, nice: int | None) -> None:
    """Give it to the session's process in PostgreSQL, too, where that is one of this machine's:
    the worker waits for nothing else. The log says where it is not, or where the system refuses it.
    """
    if nice is None:
        return
    process_id = _process_of(connection)
    if process_id is None:
        _log.info("only the worker gets its nice value: PostgreSQL's process can't be seen here")
        return
    try:
        _set_nice(process_id, nice)
    except OSError as error:
        _log.warning("PostgreSQL's process keeps its nice value", error=error.strerror)


def _set_nice(process_id: int, nice: int) -> None:
    """Linux first shares the cores out among sessions, and heeds nice within each of them alone
    (sched(7), autogroup). So where the process leads a session, that one gets the value, too.
    """
    os.setpriority(os.PRIO_PROCESS, process_id, nice)
    leader_id = process_id or os.getpid()
    autogroup = _PROCESSES / str(leader_id) / "autogroup"
    if os.getsid(leader_id) == leader_id and autogroup.exists():
        autogroup.write_text(str(nice), encoding="ascii")


def _process_of(connection: Connection) -> int | None:
    """The session's process, None where it is no child of the server's that listens on this
    machine's socket: the server, or a pooler, may number its processes elsewhere.
    """
    if not connection.info.host.startswith("/") or not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        given = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    server_id, _, _ = _CREDENTIALS.unpack(given)
    process_id = connection.info.backend_pid
    try:
        # proc(5): the parent comes behind the name, which stands in brackets, and the state.
        line = (_PROCESSES / str(process_id) / "stat").read_text(encoding="utf-8")
    except OSError:
        return None
    parent_id = int(line.rpartition(")")[2].split()[1])
    return process_id if parent_id == server_id else None
