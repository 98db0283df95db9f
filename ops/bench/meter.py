"""CPU time and memory by process, from /proc: ours, the broker's, PostgreSQL's, the machine's."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from ops.bench.ground import Ground
from ops.bench.listener import find_listeners

_PROC = Path("/proc")
_BACKENDS = """
SELECT /* uncounted */ pid, datname, coalesce(nullif(application_name, ''), backend_type)
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (datname = current_database() OR datname IS NULL)
"""
OTHERS = "everything else on the machine"

Usage = dict[str, float]
# By process id: the part that it is, and its seconds so far.
Reading = dict[int, tuple[str, float]]


class Meter:
    """Reads how much CPU time the parts of a measurement have used so far, and what memory they
    have. A context manager: leaving it ends the session by which PostgreSQL's processes are found.

    `left_out` says which parts can't be read, and why.
    """

    def __init__(self, ground: Ground) -> None:
        self._session = ground.connect()
        self._database = ground.database
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self.left_out: list[str] = []
        self._brokers = find_listeners(ground.settings.kafka_bootstrap_servers or "")
        if not (_PROC / "self" / "stat").exists():
            self.left_out.append("all CPU times: this system has no /proc")
        if not self._brokers:
            self.left_out.append("the broker: no process that we may see listens for it here")
        self._is_local = self._own_backend_is_here()
        if not self._is_local:
            self.left_out.append("PostgreSQL: its processes are not on this machine")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._session.close()

    def read(self, pids: Mapping[str, int]) -> Reading:
        """Each process's part and CPU seconds; under 0 the whole machine's, where known.

        `pids` are our own processes, by the part that each is.
        """
        found: Reading = {0: (OTHERS, self._machine_s())}
        for pid, part in self._parts(pids).items():
            used_s = self._process_s(pid)
            if used_s is not None:
                found[pid] = (part, used_s)
        return found

    def memory(self, pids: Mapping[str, int]) -> dict[str, int]:
        """Each part's resident memory in bytes, without what it shares with others: PostgreSQL's
        buffers would be counted once for each of its processes.
        """
        found: defaultdict[str, int] = defaultdict(int)
        for pid, part in self._parts(pids).items():
            found[part] += _unshared_bytes(pid)
        return {part: size for part, size in found.items() if size}  # others have just ended

    def _parts(self, pids: Mapping[str, int]) -> dict[int, str]:
        parts = {pid: name for name, pid in pids.items()} | dict.fromkeys(self._brokers, "broker")
        return parts | (self._backends() if self._is_local else {})

    def _backends(self) -> dict[int, str]:
        parts = {}
        for pid, database, application in self._session.execute(_BACKENDS).fetchall():
            shared = database is None
            parts[int(pid)] = f"postgres, {'in the background' if shared else application}"
        return parts

    def _own_backend_is_here(self) -> bool:
        """Whether the process that serves our session is seen in /proc under its own name."""
        title = _PROC / str(self._session.info.backend_pid) / "cmdline"
        try:
            return self._database.encode() in title.read_bytes()
        except OSError:
            return False

    def _process_s(self, pid: int) -> float | None:
        try:
            text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        fields = text.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / self._ticks_per_s

    def _machine_s(self) -> float:
        """The CPU time of all that ran; proc(5): user nice system idle iowait irq softirq."""
        try:
            text = (_PROC / "stat").read_text(encoding="ascii")
        except OSError:
            return 0.0
        user, nice, system, _idle, _iowait, irq, softirq = map(int, text.split()[1:8])
        return (user + nice + system + irq + softirq) / self._ticks_per_s


def _unshared_bytes(pid: int) -> int:
    """proc(5): VmRSS is all that is resident, RssShmem what of it is shared; 0 if it has ended."""
    try:
        text = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    sizes = {name: size.split() for name, _, size in (s.partition(":") for s in text.split("\n"))}
    resident, shared = (int((sizes.get(name) or ["0"])[0]) for name in ("VmRSS", "RssShmem"))
    return (resident - shared) * 1024


def used_between(before: Reading, after: Reading) -> Usage:
    """CPU seconds by part between two readings; a process that came in between counts wholly."""
    used: defaultdict[str, float] = defaultdict(float)
    for pid, (part, used_s) in after.items():
        used[part] += used_s - before.get(pid, (part, 0.0))[1]
    machine_s = used.pop(OTHERS, 0.0)
    return {**used, OTHERS: max(0.0, machine_s - sum(used.values()))}


def total(usages: Iterable[Usage]) -> Usage:
    """The sum by part."""
    summed: defaultdict[str, float] = defaultdict(float)
    for usage in usages:
        for part, used_s in usage.items():
            summed[part] += used_s
    return dict(summed)
