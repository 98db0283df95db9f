"""What the demo runs on: a throwaway stack, schema and topics, processes, a fulfillment service."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ledger.migration import migrate
from ops import topic
from ops.fulfillment_stub.behaviour import Behaviour
from ops.fulfillment_stub.server import Stub, serving
from ops.process import Processes
from ops.stack import Stack, StackAddress
from ops.telemetry import configure_logging
from schemas.settings import Settings, load_settings

_ROLES = ("worker", "relay", "fulfillment")
_LOG_LINES = 20
_DELETE_TIMEOUT_S = 5.0
# Of the user's own servers and settings the demo knows nothing.
_NOT_OURS = ("KAFKA_", "DATABASE_URL", "PG", "WALLET_", "FULFILLMENT_URL")


@dataclass(slots=True)
class Stage:
    """Running processes, and where their servers are; `stub` is the fulfillment service.

    `ended` is set when one of them has ended by itself, with all exit codes in `exit_codes`.
    """

    settings: Settings
    database_url: str
    log_path: Path
    stub: Stub
    ended: threading.Event = field(default_factory=threading.Event)
    exit_codes: dict[str, int] = field(default_factory=dict)

    def log_tail(self) -> str:
        """The end of what the processes have logged."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-_LOG_LINES:])


@contextmanager
def stage(progress: Callable[[str], None]) -> Iterator[Stage]:
    """Set everything up for the length of a `with` block; `progress` is told what takes a while.

    However this process ends, SIGKILL included, servers and processes end and the data goes.
    Raises StackError, psycopg.Error or KafkaException where something can't be set up.
    """
    stub = Stub(Behaviour())
    with (
        _folder() as folder,
        serving(stub) as url,
        Stack(folder, progress=progress).bound(throwaway=True) as address,
    ):
        progress("Making the schema and the topics…")
        environ = {**_environ(address), "FULFILLMENT_URL": url}
        settings = load_settings(environ)
        migrate(address.database_url)
        topic.apply(topic.admin_client(settings), settings)
        progress("Starting a worker, a relay and a fulfillment process…")
        configure_logging(settings, process="demo")
        made = Stage(settings, address.database_url, folder / "demo.log", stub)
        with _running(made, environ):
            yield made


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that is gone afterwards: the stack deletes it, unless a Ctrl-C came before that."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-demo-"))
    try:
        yield folder
    finally:
        deadline = time.monotonic() + _DELETE_TIMEOUT_S
        # What an interrupted initdb had started may go on writing for a moment.
        while folder.exists() and time.monotonic() < deadline:
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.05)


def _environ(address: StackAddress) -> dict[str, str]:
    others = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)}
    return others | address.environment()


@contextmanager
def _running(made: Stage, environ: dict[str, str]) -> Iterator[Stage]:
    with (
        made.log_path.open("wb") as log,
        Processes(_ROLES, environ=environ, output=log) as processes,
    ):

        def wait() -> None:
            made.exit_codes.update(processes.wait())
            made.ended.set()

        watcher = threading.Thread(target=wait, daemon=True)
        watcher.start()
        try:
            yield made
        finally:
            processes.ask_to_stop()
        watcher.join()
