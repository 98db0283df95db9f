"""One Kafka and one PostgreSQL that live in a folder: start, stop, ask."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from ops.stack import jar, kafka, leftover, port, postgres
from ops.stack.account import server_account
from ops.stack.folder import Folder, is_locked, locked, read_json, read_tail
from ops.stack.java import Java, with_class_cache
from ops.stack.launch import STOP_TIMEOUT_S, PartPlan, launch, release, until, write_plan
from ops.stack.report import PartStatus, StackAddress, StackError, StackStatus

_READY_TIMEOUT_S = 90.0
_KILLED_TIMEOUT_S = 10.0
_STATE_TIMEOUT_S = 5.0
_PART_STOP_TIMEOUT_S = 20.0
_POLL_INTERVAL_S = 0.05
_LOG_BYTES_MAX = 10_000_000
_TAIL_LINES = 15
_LOGS = {"kafka": ("kafka.log", "kafka.out"), "postgres": ("postgres.log",)}


class Stack:
    """The embedded stack of one data folder; any number of processes may speak of the same one.

    `progress` is given a sentence whenever something takes a while or is worth knowing.
    """

    def __init__(self, data_dir: Path, *, progress: Callable[[str], None] | None = None) -> None:
        self._folder = Folder(data_dir.expanduser().resolve())
        self._progress: Callable[[str], None] = progress or (lambda _text: None)

    def start(self) -> StackAddress:
        """Start both servers in sessions of their own and return once both answer.

        They outlive this process. Where they run already, says so and returns their address;
        what a crash left is cleared away first. Raises StackError with the end of the log.
        """
        with self._alone():
            status = self.status()
            if status.address is not None:
                self._progress(f"The stack in {self._folder.root} already runs.")
                return status.address
            return self._start(bound=False, throwaway=False)[0]

    @contextmanager
    def bound(self, *, throwaway: bool = False) -> Iterator[StackAddress]:
        """Run both servers for the length of a `with` block.

        However this process ends, SIGKILL included, they end too. `throwaway` ends them without
        ceremony and deletes the data folder. Raises StackError where the stack already runs.
        """
        with self._alone():
            if self.status().state in {"running", "starting"}:
                raise StackError(f"A stack already runs in {self._folder.root}.")
            address, supervisor_process = self._start(bound=True, throwaway=throwaway)
        try:
            yield address
        finally:
            release(supervisor_process)

    def stop(self) -> bool:
        """End both servers, in order if they let us; False if nothing ran."""
        if not self._folder.root.exists():
            return False
        with self._alone():
            ran = self._end_supervisor()
            leftover.clear(self._folder, postgres.socket_dir(self._folder))
        return ran

    def status(self) -> StackStatus:
        """Say how both servers are, with the end of a crashed one's log."""
        state = read_json(self._folder.state)
        alive = is_locked(self._folder.supervisor_lock)
        phase = state.get("phase", "stopped")
        if phase == "stopped" or (alive and phase == "stopping"):
            return StackStatus(data_dir=self._folder.root, state="stopped", address=None)
        parts = tuple(
            self._part_status(name, report, alive=alive)
            for name, report in state.get("parts", {}).items()
        )
        if any(part.state == "crashed" for part in parts):
            return StackStatus(self._folder.root, "crashed", None, parts)
        if not self._is_ready(state):
            return StackStatus(self._folder.root, "starting", None, parts)
        return StackStatus(self._folder.root, "running", self._planned_address(), parts)

    def address(self) -> StackAddress:
        """Return where the running stack listens. Raises StackError if it does not run."""
        status = self.status()
        if status.address is None:
            raise StackError(status.sentence())
        return status.address

    def console(self, tool: str, arguments: Sequence[str]) -> int:
        """Run one of Kafka's own tools on this terminal and return its exit code.

        Raises StackError for an unknown tool or a stack that does not run.
        """
        with subprocess.Popen(self.console_command(tool, arguments)) as process:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    continue  # the tool got it too, and ends in its own way

    def console_command(self, tool: str, arguments: Sequence[str]) -> list[str]:
        """Return the command line that `console` runs."""
        servers = self.address().kafka_bootstrap_servers
        return kafka.tool_command(tool, servers, arguments, java=fetch(self._progress))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock that keeps two starts or stops of one folder apart."""
        self._folder.root.mkdir(parents=True, exist_ok=True, mode=0o700)

        def waiting() -> None:
            self._progress("Another process is starting or stopping this stack: waiting for it…")

        with locked(self._folder.start_lock, waiting):
            yield

    def _start(
        self, *, bound: bool, throwaway: bool
    ) -> tuple[StackAddress, subprocess.Popen[bytes]]:
        """Clear, prepare, launch and wait; under the start lock."""
        status = self.status()
        if status.state != "stopped":
            self._progress(f"{status.sentence()}\nClearing up after it…")
        self._end_supervisor()
        leftover.clear(self._folder, postgres.socket_dir(self._folder))
        self._prepare(throwaway=throwaway)
        self._progress("Starting Kafka and PostgreSQL…")
        process = launch(self._folder, bound=bound)
        try:
            return self._wait_until_ready(), process
        except BaseException:
            release(process)
            self._end_supervisor()
            raise

    def _prepare(self, *, throwaway: bool) -> None:
        """Make what is missing of the data, and write what the supervisor is to run."""
        folder = self._folder
        folder.log.mkdir(exist_ok=True)
        folder.ready.unlink(missing_ok=True)
        java = fetch(self._progress)
        account = server_account()
        broker, controller = port.choose(read_json(folder.plan).get("ports", []), 2)
        kafka.write_settings(folder, broker, controller)
        if not folder.postgres.exists():
            self._progress("Making the data folders of Kafka and PostgreSQL…")
        with ThreadPoolExecutor() as pool:  # a second and a half each
            made = pool.submit(kafka.format_storage, folder, java)
            postgres.make_data(folder, account, self._progress)
            made.result()
        parts = [
            PartPlan(
                name="kafka",
                command=kafka.broker_command(folder, java),
                output_path=self._output_path("kafka"),
                stop_signal=signal.SIGKILL if throwaway else signal.SIGTERM,
                stop_timeout_s=_PART_STOP_TIMEOUT_S,
            ),
            PartPlan(
                name="postgres",
                command=postgres.server_command(folder),
                output_path=self._output_path("postgres"),
                stop_signal=signal.SIGQUIT if throwaway else signal.SIGINT,
                stop_timeout_s=_PART_STOP_TIMEOUT_S,
                uid=account.uid if account else None,
                gid=account.gid if account else None,
            ),
        ]
        remove_paths = [postgres.socket_dir(folder), *([folder.root] if throwaway else [])]
        write_plan(folder, parts, ports=[broker, controller], remove_paths=remove_paths)

    def _output_path(self, name: str) -> str:
        """Return where the process writes to; a log that has grown large makes room first."""
        log_path = self._folder.log / _LOGS[name][-1]
        if log_path.exists() and log_path.stat().st_size > _LOG_BYTES_MAX:
            log_path.replace(log_path.with_name(f"{log_path.name}.1"))
        return str(log_path)

    def _wait_until_ready(self) -> StackAddress:
        """Wait until both servers answer; raises StackError as soon as one has ended."""
        address = self._planned_address()
        client = kafka.admin(address.kafka_bootstrap_servers)
        missing: dict[str, Callable[[], bool]] = {
            "PostgreSQL": lambda: postgres.answers(self._folder),
            "Kafka": lambda: kafka.answers(client),
        }
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while missing:
            status = self.status()
            if status.state in {"crashed", "stopped"}:
                raise StackError(status.sentence())
            if time.monotonic() > deadline:
                logs = f"see the logs in {self._folder.log}"
                raise StackError(f"{' and '.join(missing)} did not come up in time: {logs}")
            missing = {name: answers for name, answers in missing.items() if not answers()}
            time.sleep(_POLL_INTERVAL_S)
        self._folder.ready.write_text(str(read_json(self._folder.state)["pid"]), encoding="utf-8")
        return address

    def _planned_address(self) -> StackAddress:
        broker = read_json(self._folder.plan)["ports"][0]
        return StackAddress(
            kafka_bootstrap_servers=f"127.0.0.1:{broker}",
            database_url=postgres.database_url(self._folder),
        )

    def _is_ready(self, state: dict[str, Any]) -> bool:
        return read_tail(self._folder.ready, 1) == (str(state.get("pid")),)

    def _part_status(self, name: str, report: dict[str, Any], *, alive: bool) -> PartStatus:
        logs = [self._folder.log / log for log in _LOGS[name]]
        pid = report["pid"]
        if alive and report["exit_code"] is None:
            return PartStatus(name, "running", pid, f"runs as process {pid}", logs[0])
        tail = tuple(line for log in logs for line in read_tail(log, _TAIL_LINES))
        detail = _ending(report) if report["ended_at"] else "ended with its killed supervisor"
        return PartStatus(name, "crashed", pid, detail, logs[0], tail)

    def _supervisor(self) -> psutil.Process | None:
        pid = read_json(self._folder.state).get("pid")
        return leftover.find_supervisor(self._folder, pid)

    def _end_supervisor(self) -> bool:
        """End this folder's supervisor and wait until it is gone; False if there is none."""
        lock = self._folder.supervisor_lock
        if not is_locked(lock):
            return False
        process = self._supervisor()
        # One that was started a moment ago has not written its process id yet.
        if process is None and until(lambda: self._supervisor() is not None, _STATE_TIMEOUT_S):
            process = self._supervisor()
        if process is None:
            raise StackError(f"Some process holds {lock} that is not this stack's supervisor.")
        process.terminate()
        if not until(lambda: not is_locked(lock), STOP_TIMEOUT_S):
            process.kill()
            until(lambda: not is_locked(lock), _KILLED_TIMEOUT_S)
        return True


def fetch(progress: Callable[[str], None]) -> Java:
    """Return Java with Kafka, fetching its jars and caching its classes on the first call ever.

    Takes a minute then, and says so; a few milliseconds later on. Raises StackError.
    """
    classpath = jar.classpath(progress)

    def train(folder: Folder, class_cache: Path) -> list[str]:
        return kafka.training_command(folder, class_cache, Java(classpath))

    return with_class_cache(classpath, train, progress)


def _ending(report: dict[str, Any]) -> str:
    code = report["exit_code"]
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"{how} at {report['ended_at']}"
