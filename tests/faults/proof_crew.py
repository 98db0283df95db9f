"""The system's processes during a proof: started, killed, frozen, and missed when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

NAMES = ("worker-1", "worker-2", "relay-1", "relay-2", "fulfillment-1", "fulfillment-2")
GROUP = "wallet-worker"
_END_TIMEOUT_S = 30.0
_GROUP_TIMEOUT_S = 40.0


@dataclass(slots=True)
class Crew:
    """Two of each kind, by name. A context manager: leaving it ends them, and reads their codes.

    `ended` holds what nobody has ended: each of it is a finding.
    """

    # By name, for those of NAMES; guests find everything by `environ`.
    environs: Mapping[str, Mapping[str, str]]
    environ: Mapping[str, str]
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    _is_over: bool = False
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        for name in NAMES:
            self.start(name)
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._lock:  # a fault that goes on after a Ctrl-C starts nobody any more
            self._is_over = True
            processes = list(self._started)  # also those that a fault is just ending
        for process in processes:
            process.kill()
            process.wait()

    def start(self, name: str, *fault: str) -> None:
        """Start one; `fault` are options of tests.faults.run."""
        command = [sys.executable, "-m", "tests.faults.run", *fault, name.partition("-")[0]]
        with self._lock, (self.folder / f"{name}.log").open("ab") as log:
            if self._is_over:
                return
            self.running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **self.environs.get(name, self.environ),
                    "PYTHONUNBUFFERED": "1",
                },
                start_new_session=True,
            )
            self._started.append(self.running[name])

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self._take(name)
        process.kill()
        process.wait()

    def end(self, *names: str) -> None:
        """SIGTERM to all of them at once; one that does not end by itself is a finding."""
        processes = {name: self._take(name) for name in names}
        for process in processes.values():
            process.terminate()
        for name, process in processes.items():
            try:
                code = process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            # One that is told to end before it could arrange for its signals has nothing to end.
            if code not in (0, -signal.SIGTERM):
                self.ended.append(f"{name} was told to end, and did with code {code}")

    def await_death(self, name: str, timeout_s: float) -> bool:
        """Wait until one kills itself; False where it did not come to that, and is ended."""
        with self._lock:
            process = self.running[name]
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.end(name)
            return False
        self._take(name)
        return True

    def await_group(self, admin: AdminClient) -> bool:
        """Wait until Kafka counts just the workers that run, and each has its partitions: what is
        gone without a word would else be blamed on the next fault. False where that takes too long.
        """
        deadline = time.monotonic() + _GROUP_TIMEOUT_S
        while time.monotonic() < deadline:
            workers = [name for name in self.pids() if name.startswith("worker")]
            with suppress(KafkaException, TimeoutError):  # Kafka is just coming back
                group = admin.describe_consumer_groups([GROUP], request_timeout=3)[GROUP].result(5)
                stable = group.state is ConsumerGroupState.STABLE
                if stable and len(group.members) == len(workers):
                    return True
            time.sleep(0.2)
        return False

    def signal(self, name: str, number: signal.Signals) -> None:
        with self._lock:
            self.running[name].send_signal(number)

    def pids(self) -> dict[str, int]:
        with self._lock:
            return {name: process.pid for name, process in self.running.items()}

    def missed(self) -> list[str]:
        """Those that ended and nobody's fault it was; each is started again."""
        with self._lock:
            gone = {n: p for n, p in self.running.items() if p.poll() is not None}
        for name, process in gone.items():
            self.ended.append(f"{name} ended by itself with code {process.returncode}")
            self.start(name)
        return list(gone)

    def _take(self, name: str) -> subprocess.Popen[bytes]:
        with self._lock:
            return self.running.pop(name)
