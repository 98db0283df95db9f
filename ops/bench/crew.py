"""The processes of a measurement: started anew, heard by JSON lines, ended however we end."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import IO, Any, Self

from ops.bench.failure import BenchError

_END_TIMEOUT_S = 30.0
_LOG_BYTES = 2_000

Message = dict[str, Any]


def tell(message: Message) -> None:
    """Say something to the process that started this one; to be called from a crew's process."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Crew:
    """The processes that run at this moment, by name. A context manager: leaving it ends them.

    They are bound to this process by their standard input: it closes when we are gone, SIGKILL
    included. They live in sessions of their own, so that a Ctrl-C reaches them through us.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._news: queue.SimpleQueue[tuple[str, Message | None]] = queue.SimpleQueue()
        self._ended: set[str] = set()
        self._inboxes: defaultdict[str, deque[Message]] = defaultdict(deque)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self._end(list(self._processes.values()))
        finally:
            self._log.close()

    def start(self, name: str, role: str, arguments: Message) -> None:
        """Start a role of ops.bench under a name of its own."""
        self._start(name, ["ops.bench", role, json.dumps(arguments)])

    def start_deployed(self, role: str, **environ: str) -> None:
        """Start a process as it is deployed, `wallet run ROLE`, under its role's name; `environ`
        are further variables of its.
        """
        self._start(role, ["ops.cli", "run", role, "--bound"], environ)

    def pids(self) -> dict[str, int]:
        """The process ids of those that were not ended yet."""
        return {name: process.pid for name, process in self._processes.items()}

    def receive(self, name: str, timeout_s: float) -> Message | None:
        """The next thing that a process says; None if it says nothing in time.

        Raises BenchError where it, or another one, has failed meanwhile.
        """
        deadline = time.monotonic() + timeout_s
        while not self._inboxes[name]:
            try:
                sender, message = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if message is None:
                self._check_end(sender, expected=sender != name)
            else:
                self._inboxes[sender].append(message)
        return self._inboxes[name].popleft()

    def end(self, *names: str) -> dict[str, list[Message]]:
        """End processes in order, and give what each has said and nobody has heard yet.

        Raises BenchError where one of them fails or does not end.
        """
        processes = {name: self._processes[name] for name in names}
        self._end(list(processes.values()))
        while not self._ended.issuperset(names):
            sender, message = self._news.get(timeout=_END_TIMEOUT_S)
            if message is not None:
                self._inboxes[sender].append(message)
            else:
                self._check_end(sender, expected=True)
        for name in names:
            del self._processes[name]
            self._ended.discard(name)
        return {name: list(self._inboxes.pop(name, ())) for name in names}

    def _start(
        self, name: str, module_and_arguments: list[str], environ: Mapping[str, str] | None = None
    ) -> None:
        process = subprocess.Popen(
            # -P: a folder `schemas` beside the caller must not be taken for ours.
            [sys.executable, "-P", "-m", *module_and_arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**self._environ, **(environ or {})},
            start_new_session=True,
            text=True,
        )
        self._processes[name] = process
        threading.Thread(target=self._listen, args=(name, process), daemon=True).start()

    def _listen(self, name: str, process: "subprocess.Popen[str]") -> None:
        if process.stdout is not None:
            for line in process.stdout:
                self._news.put((name, json.loads(line)))
            process.stdout.close()
        process.wait()
        self._news.put((name, None))

    def _end(self, processes: "list[subprocess.Popen[str]]") -> None:
        try:
            for process in processes:
                process.terminate()
            deadline = time.monotonic() + _END_TIMEOUT_S
            for process in processes:
                process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for process in processes:
                process.kill()  # does nothing to one that has ended
                if process.stdin is not None:
                    process.stdin.close()

    def _check_end(self, name: str, *, expected: bool) -> None:
        code = self._processes[name].wait()
        self._ended.add(name)
        # One that we ended before it could arrange for its signals has nothing to finish.
        if expected and code in {0, -15}:
            return
        raise BenchError(f"the {name} ended with code {code}; the end of the log:\n{self._tail()}")

    def _tail(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        start = max(0, size - _LOG_BYTES)
        text = os.pread(self._log.fileno(), _LOG_BYTES, start)
        return text.decode("utf-8", "replace").strip()
