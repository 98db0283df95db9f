"""Kafka and PostgreSQL of a proof: real servers in a folder, killed and started again at will."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.stack import StackError, fetch, kafka, port, postgres
from ops.stack.account import Account, server_account
from ops.stack.folder import Folder
from tests.faults.server_clock import ServerClock, server_clock
from tests.faults.small_disk import SmallDisk, mounted

_READY_TIMEOUT_S = 60.0
_RETRY_S = 0.5
# A segment that nothing was written into is not left.
_NEXT_SEGMENT = "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()"
# So that a disk which lies in memory needs little of it; the settings named last win.
_FRUGAL = ["-c", "max_wal_size=256MB", "-c", "shared_buffers=64MB"]


@dataclass(slots=True)
class Server:
    """One of the two. Its process is in a session of its own, so that a Ctrl-C is for us alone."""

    name: str
    command: list[str]
    folder: Folder
    answers: Callable[[], bool]
    account: Account | None = None
    # What the command line begins with, where the server lives on a disk of its own.
    enter: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    is_over: bool = False

    def start(self) -> None:
        """Start it, and return when it answers.

        PostgreSQL refuses while a killed one's sessions are still about; it is asked again then.
        Raises StackError where it does not come up in time.
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        self._spawn()
        while not self.answers():
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} did not come up: see {self._log}")
            if self.has_ended:
                time.sleep(_RETRY_S)
                self._spawn()
            time.sleep(0.02)

    @property
    def has_ended(self) -> bool:
        """Whether it does not run, by whosever doing."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, to the server's first process alone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """Kill it for good; a start that is under way fails."""
        self.is_over = True
        self.kill()

    @property
    def _log(self) -> Path:
        return self.folder.log / f"{self.name}.out"

    def _spawn(self) -> None:
        if self.is_over:
            raise StackError(f"{self.name} is ended")
        account = None if self.enter else self.account
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.enter, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder.root,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )


@dataclass(slots=True)
class Servers:
    """Both, and how they are reached."""

    broker: Server
    database: Server
    bootstrap_servers: str
    database_url: str
    # PostgreSQL's own, where it was asked for.
    disk: SmallDisk | None = None
    clock: ServerClock | None = None

    def small_disk(self) -> SmallDisk:
        """The disk. Raises StackError where PostgreSQL has none of its own."""
        if self.disk is None:
            raise StackError("PostgreSQL's data lies on a disk that can't be full")
        return self.disk

    def exhaust_wal(self) -> None:
        """Have PostgreSQL write WAL on its full disk until it has ended, by itself.

        It panics, starts over, and gives up where it finds no room to recover in.
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not self.database.has_ended:
            if time.monotonic() > deadline:
                raise StackError(f"{self.database.name} lives on without room for WAL")
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(self.database_url, autocommit=True) as session,
            ):
                while True:
                    session.execute(_NEXT_SEGMENT)
            time.sleep(_RETRY_S)


@contextmanager
def servers(
    root: Path,
    say: Callable[[str], None],
    *,
    on_small_disk: bool = False,
    by_own_clock: bool = False,
) -> Iterator[Servers]:
    """Make both in the folder and run them for the length of a `with` block.

    Raises NoMountError where PostgreSQL's data shall lie on a disk that can be full and can't.
    `clock` is None where it shall go by its own and can't.
    """
    folder = Folder(root)
    folder.log.mkdir(parents=True, exist_ok=True)
    java, account = fetch(say), server_account()
    ports = port.choose([], 2)
    kafka.write_settings(folder, *ports)
    kafka.format_storage(folder, java)
    postgres.make_data(folder, account, say)
    bootstrap_servers = f"127.0.0.1:{ports[0]}"
    client = kafka.admin(bootstrap_servers)
    broker = Server(
        "kafka", kafka.broker_command(folder, java), folder,
        lambda: kafka.answers(client) and _leads(client),
    )  # fmt: skip
    database = Server(
        "postgres", postgres.server_command(folder), folder, lambda: postgres.answers(folder),
        account,
    )  # fmt: skip
    with ExitStack() as stack:
        disk, clock = None, server_clock(root) if by_own_clock else None
        if clock is not None:
            database.command = [*clock.command(), *database.command]
        if on_small_disk:
            disk = stack.enter_context(mounted(folder.postgres, account))
            disk.take_in(folder.postgres)
            database.enter, database.command = disk.enter(), [*database.command, *_FRUGAL]
        for server in (broker, database):
            stack.callback(server.end)
            server.start()
        url = postgres.database_url(folder)
        yield Servers(broker, database, bootstrap_servers, url, disk, clock)


def _leads(client: AdminClient) -> bool:
    """Whether the broker leads all partitions again: until then nothing can be sent or read."""
    try:
        topics = client.list_topics(timeout=1.0).topics.values()
    except KafkaException:
        return False
    return all(part.leader >= 0 for topic in topics for part in topic.partitions.values())
