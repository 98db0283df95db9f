"""A database with orders in it, a fulfillment service, and processes between the two."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ledger.database import connect
from ledger.verification import verify
from ops.fulfillment_stub.behaviour import Behaviour
from ops.fulfillment_stub.server import Stub, serving
from producers.fulfillment import Fulfillment
from schemas.settings import load_settings
from tests.background import in_background
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper
from tests.producers.world import eventually

# Short, so that a test waits for little; what is short by name still holds in the same proportions.
QUICK = {
    "WALLET_FULFILLMENT_TIMEOUT_S": "0.5",
    "WALLET_FULFILLMENT_BACKOFF_S": "0.02",
    "WALLET_BREAKER_PROBE_S": "0.05",
    "WALLET_BREAKER_RAMP_S": "0.3",
}


@dataclass(slots=True)
class Shop:
    """Orders placed by the workers' own path, without Kafka; told of by the outbox."""

    env: WalletEnv
    bookkeeper: Bookkeeper
    told: list[dict[str, Any]] = field(default_factory=list)

    def place(
        self, *order_ids: str, client: str = "anna", amount: str = "10.00", **more: Any
    ) -> None:
        """Have the client place orders, each with the money for it."""
        for order_id in order_ids:
            self.request(client, "credit", f"money-{client}-{order_id}", amount=amount)
        wanted = {"type": "place_order", "amount": amount, **more}
        records = [
            (client, {**wanted, "command_id": f"place-{o}", "order_id": o}) for o in order_ids
        ]
        assert {row["event"] for row in self.bookkeeper.results(records)} == {"order_placed"}

    def request(self, client: str, kind: str, command_id: str, **fields: Any) -> dict[str, Any]:
        """One record, and the value that answers it."""
        value = {"command_id": command_id, "type": kind, **fields}
        rows = self.bookkeeper.apply([(client, value)])
        answer: dict[str, Any]
        [answer] = [row["value"] for row in rows if row["event_id"].count("/") == 2]
        self.told += [row for row in rows if row["value"] is not answer]
        return answer

    @contextmanager
    def fulfillment(self, url: str, **more: str) -> Iterator[Fulfillment]:
        """A fulfillment process in a thread of its own; what it raised is raised at the end."""
        environ = {**self.env.env, **QUICK, "FULFILLMENT_URL": url, **more}
        made = Fulfillment(load_settings(environ), database_url=self.env.database_url)
        with in_background("fulfillment", made.run):
            yield made

    def ended(self, *order_ids: str, timeout_s: float = 15.0) -> dict[str, str]:
        """Wait until none of the orders (default: none at all) is pending; each one's status."""

        def statuses() -> dict[str, str]:
            rows = self.rows("SELECT order_id, status FROM orders")
            return {o: s for o, s in rows if not order_ids or o in order_ids}

        eventually(lambda: "pending" not in statuses().values(), timeout_s)
        return statuses()

    def order(self, order_id: str) -> dict[str, Any]:
        """The order's row of order_summaries."""
        with connect(self.env.database_url, application_name="test") as session:
            cursor = session.execute(
                "SELECT * FROM order_summaries WHERE order_id = %s", (order_id,)
            )
            names = [column.name for column in cursor.description or ()]
            [row] = cursor.fetchall()
        return dict(zip(names, row, strict=True))

    def attempts(self, order_id: str) -> list[tuple[Any, ...]]:
        """(outcome, HTTP status, error, counted) of an order's calls, in their order."""
        return self.rows(
            "SELECT outcome, http_status, error, counted FROM fulfillment_attempts"
            f" WHERE order_id = '{order_id}' ORDER BY attempt"
        )

    def balances(self, client: str = "anna") -> dict[str, int]:
        """The client's accounts in minor units, by kind."""
        rows = self.rows(f"SELECT kind, balance FROM accounts WHERE client_id = '{client}'")
        return {kind: balance for kind, balance in rows if balance}

    def events(self) -> list[dict[str, Any]]:
        """What the outbox tells of now, and told before."""
        self.told += self.bookkeeper._outbox()
        return [row["value"] for row in self.told if "event" in row["value"]]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.env.database_url, autocommit=True) as session:
            return session.execute(query.encode()).fetchall()

    def assert_books_in_order(self) -> None:
        url = self.env.database_url
        with connect(url, application_name="test-verify", long_queries=True) as reader:
            assert [finding for finding in verify(reader) if not finding.holds] == []


@contextmanager
def opened(env: WalletEnv) -> Iterator[Shop]:
    """A shop on the test's database."""
    with connect(env.database_url, application_name="test-worker") as connection:
        yield Shop(env, Bookkeeper(connection))


@contextmanager
def stubbed(**switches: Any) -> Iterator[tuple[Stub, str]]:
    """A stub that behaves so, and its URL."""
    stub = Stub(Behaviour(**switches), seed=1)
    with serving(stub) as url:
        yield stub, url


@contextmanager
def raw_service(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A service on a bare socket: `answer` is given each connection with its first request, and
    what it leaves open is closed. Its URL.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve_one(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                answer(connection, _request(connection))
            except OSError:
                return  # the other side had enough

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            if stopped.is_set():
                connection.close()
                return
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listening.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/orders"
    finally:
        stopped.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join(5)
        listening.close()


def _request(connection: socket.socket) -> bytes:
    """A whole request, by its Content-Length."""
    read = b""
    while b"\r\n\r\n" not in read:
        part = connection.recv(65_536)
        if not part:
            return read
        read += part
    head, _, body = read.partition(b"\r\n\r\n")
    [length] = [
        int(line[15:])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
