"""A process of ours: its signals, its end with its parent, and processes that run others."""

import gc
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import IO, Self

import structlog

_log = structlog.get_logger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Python looks for cycles after every 700 new objects. A batch makes a hundred times as many, all of
# them alive until it is done and none in a cycle: looking took 7 % of all our processes' time.
_GC_OBJECTS = 100_000
# A process that its parent has left behind gets as long to finish its batch.
_ORPHAN_TIMEOUT_S = 20.0


def run_until_signalled(work: Callable[[threading.Event], None], *, bound: bool = False) -> None:
    """Run `work` until it returns; SIGTERM and SIGINT set the event that it is given.

    A second signal ends the process at once, with that signal. `bound` ends it, in the same way
    as a signal, when its standard input closes: when its parent is gone, however that ended. Cycles
    are looked for more rarely from here on. Raises what `work` raises. Call it in the main thread.
    """
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS)
    stop = threading.Event()
    done = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            errors.append(error)
        finally:
            done.set()

    _on_signals(stop.set)
    if bound:
        threading.Thread(target=_watch_parent, args=(stop.set,), daemon=True).start()
    # In a thread of its own, so that a signal is seen while `work` waits in a C library.
    threading.Thread(target=run, daemon=True).start()
    done.wait()
    if errors:
        raise errors[0]


def _on_signals(first: Callable[[], None]) -> None:
    def handle(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)  # a second one ends the process at once
        _log.info("stopping", signal=signal.Signals(number).name)
        first()

    for number in _SIGNALS:
        signal.signal(number, handle)


def _watch_parent(stop: Callable[[], None]) -> None:
    while os.read(0, 1):
        pass
    _log.warning("the parent process is gone: stopping")
    stop()
    threading.Event().wait(_ORPHAN_TIMEOUT_S)
    os._exit(1)


class Processes:
    """Processes of ours, `wallet run ROLE` each, that end when this one does, SIGKILL included.

    A context manager: leaving it ends them in order. They are started anew, never forked, and in
    sessions of their own, so that a Ctrl-C reaches them through us. `output` takes what they log,
    by default our own stderr.
    """

    def __init__(
        self,
        roles: Sequence[str],
        *,
        environ: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> None:
        self._roles = tuple(roles)
        self._environ = dict(environ)
        self._output = output
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # What ended or was asked for, in the order it came: a role, or None for "stop".
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        for role in self._roles:
            self._start(role)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def wait(self) -> dict[str, int]:
        """Wait until `ask_to_stop` is called or one of them ends, then end the others in order.

        The exit codes of all, negative for a signal as subprocess has it.
        """
        ended = self._news.get()
        if ended is not None:
            code = self._processes[ended].wait()
            _log.error("a process ended: stopping the others", role=ended, exit_code=code)
        self.stop()
        return {role: process.wait() for role, process in self._processes.items()}

    def ask_to_stop(self) -> None:
        """Let `wait` come to its end; to be called from a signal handler."""
        self._news.put(None)

    def stop(self) -> None:
        """End those that run by SIGTERM and wait for them; a KeyboardInterrupt kills them."""
        running = [process for process in self._processes.values() if process.poll() is None]
        try:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End those that run, at once."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()

    def _start(self, role: str) -> None:
        # -P: a folder `schemas` beside the caller must not be taken for ours.
        command = [sys.executable, "-P", "-m", "ops.cli", "run", role, "--bound"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closed by the system when we are gone
            stdout=self._output if self._output is not None else sys.stderr,
            stderr=self._output,
            env=self._environ,
            start_new_session=True,
        )
        self._processes[role] = process

        def watch() -> None:
            process.wait()
            self._news.put(role)

        threading.Thread(target=watch, daemon=True).start()


def run_processes(roles: Sequence[str], *, environ: Mapping[str, str], bound: bool = False) -> bool:
    """Run the roles until a signal comes or one of them ends; whether all ended well.

    A second signal kills them all and ends this process at once. `bound` ends them, too, when
    standard input closes. Call it in the main thread.
    """
    with Processes(roles, environ=environ) as processes:

        def first() -> None:
            processes.ask_to_stop()
            for number in _SIGNALS:
                signal.signal(number, at_once)

        def at_once(number: int, _frame: FrameType | None) -> None:
            processes.kill()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        _on_signals(first)
        if bound:
            watched = (processes.ask_to_stop,)
            threading.Thread(target=_watch_parent, args=watched, daemon=True).start()
        codes = processes.wait()
    # One that we ended before it could arrange for its signals has nothing to finish.
    return all(code in {0, -signal.SIGTERM} for code in codes.values())
