"""A disk of PostgreSQL's own that can be full: a tmpfs that nobody else sees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ops.stack.account import Account

# The mount lives as long as a process in its namespace; `cat` ends with whoever started it.
_HOLD = 'mount -t tmpfs -o mode=0700,size=90% tmpfs "$1" && echo mounted && exec cat'
_TIMEOUT_S = 10.0
_COPY_TIMEOUT_S = 60.0
_FILL_TRIES = 20


class NoMountError(Exception):
    """This machine does not let us mount anything; the text is its own word for it."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A tmpfs at `path`, for those processes alone that are started through `enter`."""

    path: Path
    holder_pid: int
    account: Account | None = None

    def enter(self) -> list[str]:
        """The beginning of a command line that runs the rest of it as PostgreSQL's user, where the
        disk is to be seen.
        """
        if self.account is not None:
            uid, gid = self.account.uid, self.account.gid
            return [*self._inside(), "--setuid", str(uid), "--setgid", str(gid)]
        # PostgreSQL does not run as root, which we are in there: a second namespace undoes that.
        ids = (f"--map-user={os.getuid()}", f"--map-group={os.getgid()}")
        return [*self._inside(), "unshare", "--user", *ids]

    def take_in(self, folder: Path) -> None:
        """Copy what lies in a folder here, which may be the one that the disk hides."""
        owner = "--same-owner" if self.account is not None else "--no-same-owner"
        command = [*self._inside(), "tar", "-C", str(self.path), "-xp", owner]
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as packed:
            subprocess.run(command, stdin=packed.stdout, check=True, timeout=_COPY_TIMEOUT_S)

    def fill(self) -> None:
        """Leave no page free: what is there can be written over, and nothing be made or grow."""
        for _ in range(_FILL_TRIES):
            held = self._run("stat", "-fc", "%b %f %S", str(self.path))
            blocks, free, size = map(int, held.split())
            # Refused where it has grown in the meantime.
            with suppress(subprocess.CalledProcessError):
                self._limit((blocks - free) * size)
                return
        raise RuntimeError(f"{self.path} grows too fast to be full")

    def make_room(self) -> None:
        """Let it grow again, up to most of the memory: no limit at all could not be taken back."""
        self._limit("90%")

    def _limit(self, size: int | str) -> None:
        # Source and place both named, so that no other option is repeated: not all may be.
        self._run("mount", "-o", f"remount,size={size}", "tmpfs", str(self.path))

    def _inside(self) -> list[str]:
        user = [] if self.account is not None else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.holder_pid), "--mount", *user]

    def _run(self, *command: str) -> str:
        return subprocess.run(
            [*self._inside(), *command], check=True, capture_output=True, text=True,
            timeout=_TIMEOUT_S,
        ).stdout  # fmt: skip


@contextmanager
def mounted(path: Path, account: Account | None) -> Iterator[SmallDisk]:
    """Mount one over a folder, for the length of a `with` block. Raises NoMountError."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        raise NoMountError("unshare and nsenter (util-linux) are not installed")
    ours = [] if account is not None else ["--user", "--map-root-user"]
    holder = subprocess.Popen(
        ["unshare", *ours, "--mount", "sh", "-c", _HOLD, "sh", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        if not holder.stdout or holder.stdout.readline() != "mounted\n":
            said = holder.stderr.read().strip() if holder.stderr else ""
            raise NoMountError(said or "unshare ended without a word")
        yield SmallDisk(path, holder.pid, account)
    finally:
        holder.kill()
        holder.communicate()
