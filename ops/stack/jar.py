"""Kafka's jars, fetched once by jgo and kept in its cache."""

from __future__ import annotations

import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jgo
from jgo.maven import PythonResolver

from ops.stack.folder import locked
from ops.stack.report import StackError

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.4"
_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.apache.kafka:kafka-tools:{KAFKA_VERSION}"
_BINDING = f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}"
_PROGRESS_INTERVAL_S = 2.0


def classpath(progress: Callable[[str], None]) -> str:
    """Return the class path of Kafka, its tools and a Log4j binding, fetching what is missing.

    Blocks while it downloads (about 60 MB, once per user). Raises StackError if the jars
    can't be had or don't fit together.
    """
    cache = cache_dir()
    listing = cache / f"kafka-{KAFKA_VERSION}-log4j-{LOG4J_VERSION}.classpath"
    known = _listed(listing)
    if known:
        return known
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "jars.lock", lambda: progress("Another process is fetching Kafka…")):
        known = _listed(listing)  # the other process may have just done it
        if known:
            return known
        progress(f"Fetching Apache Kafka {KAFKA_VERSION} (about 60 MB, once)…")
        try:
            jars = _resolve(progress)
        except (OSError, RuntimeError, ValueError) as error:
            raise StackError(f"Kafka's jars could not be fetched: {error}") from error
        _check_versions(jars)
        part = listing.with_suffix(".part")
        part.write_text(os.pathsep.join(map(str, jars)), encoding="utf-8")
        part.replace(listing)
    return listing.read_text(encoding="utf-8")


def cache_dir() -> Path:
    """Return the folder for what is worth keeping between stacks."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "wallet-transaction-system"


def _listed(listing: Path) -> str | None:
    """Return the class path found by an earlier run if all its jars are still there."""
    try:
        text = listing.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return text if all(Path(jar).is_file() for jar in text.split(os.pathsep)) else None


def _resolve(progress: Callable[[str], None]) -> list[Path]:
    """Let jgo resolve, a second time if an interrupted download left a broken jar behind."""
    jars = _build(progress, update=False)
    broken = [jar for jar in jars if not zipfile.is_zipfile(jar)]
    if not broken:
        return jars
    progress(f"{len(broken)} files of an interrupted download are fetched again…")
    for jar in broken:
        jar.unlink()
        for copy in _repository_dir().rglob(jar.name):
            copy.unlink()
    jars = _build(progress, update=True)
    broken = [jar for jar in jars if not zipfile.is_zipfile(jar)]
    if broken:
        raise StackError(f"Kafka's jars are broken after a second download: {broken}")
    return jars


def _build(progress: Callable[[str], None], *, update: bool) -> list[Path]:
    resolver = PythonResolver(progress_callback=_Download(progress).file)
    kafka = jgo.build(_KAFKA, resolver=resolver, update=update).all_jars
    # Resolved together with Kafka, the binding's own pins would win over Kafka's.
    binding = jgo.build(_BINDING, resolver=resolver, update=update).all_jars
    jars = [*kafka, *(jar for jar in binding if Path(jar).name.startswith("log4j-slf4j-impl-"))]
    return [Path(jar) for jar in jars]


def _repository_dir() -> Path:
    return Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")


def _check_versions(jars: list[Path]) -> None:
    """Raise StackError unless Kafka, its log binding and one version of all of Kafka are there."""
    names = [jar.name for jar in jars]
    kafka = [name for name in names if re.match(r"kafka[-_]", name)]
    strangers = [name for name in kafka if not name.endswith(f"-{KAFKA_VERSION}.jar")]
    if not kafka or strangers or not any(name.startswith("log4j-slf4j-impl-") for name in names):
        raise StackError(f"Kafka's jars don't fit together: {strangers or names}")


class _Download:
    """Counts what jgo fetches, and says so every few seconds."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._files = 0
        self._bytes = 0
        self._said_at = time.monotonic()

    @contextmanager
    def file(self, filename: str, size: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002 - jgo's signature
        """Count one file; yields what jgo calls with the size of each chunk, in bytes."""
        self._files += 1
        yield self._chunk

    def _chunk(self, size: int) -> None:
        self._bytes += size
        if time.monotonic() - self._said_at >= _PROGRESS_INTERVAL_S:
            self._said_at = time.monotonic()
            self._progress(f"    {self._files} files, {self._bytes / 1e6:.0f} MB")
