"""The stub's HTTP: just enough of HTTP/1.1, quick enough to share a machine with a benchmark."""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import ValidationError

from ops.fulfillment_stub.behaviour import Behaviour, Fault
from ops.fulfillment_stub.record import Record

_REQUEST_BYTES_MAX = 1024 * 1024
_HANG_S = 3_600.0


class Stub:
    """The service: its behaviour, what it remembers, and what it answers."""

    def __init__(self, behaviour: Behaviour, seed: int | None = None) -> None:
        self.behaviour = behaviour
        self.record = Record()
        self.connections: set[asyncio.Transport] = set()
        self._chance = random.Random(seed)

    def fulfill(self, key: str | None) -> tuple[Fault | None, str | None]:
        """What becomes of a call: how it goes wrong, and the id where it is fulfilled.

        Half of the calls that go wrong are fulfilled before they do, as with a real service.
        """
        self.record.call(key)
        if self.behaviour.down:
            return Fault.ERROR, None
        fault = self.behaviour.choose(self._chance)
        if fault in (Fault.REFUSED, Fault.LIMITED):
            return (fault, None) if key not in self.record.ids else (None, self.record.fulfill(key))
        if fault is not None and self._chance.random() < 0.5:
            return fault, None
        return fault, self.record.fulfill(key)

    def administer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Answer a request to /admin: the status, and the JSON to send."""
        if path == "/admin/orders":
            return 200, self.record.orders()
        if path != "/admin":
            return 404, {"error": "there are /admin and /admin/orders"}
        if method in {"PUT", "POST", "PATCH"}:
            try:
                self.behaviour = self.behaviour.changed(orjson.loads(body))
            except (ValidationError, orjson.JSONDecodeError, TypeError) as error:
                return 400, {"error": str(error)}
        return 200, {"behaviour": self.behaviour.model_dump(), **self.record.summary()}


@contextmanager
def serving(stub: Stub, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread while the block runs; gives the URL for orders. Port 0 is any free one.

    Raises OSError where the port can't be had.
    """
    loop = asyncio.new_event_loop()
    try:
        server = loop.run_until_complete(
            loop.create_server(lambda: _Connection(stub), host, port, backlog=1_024)
        )
        thread = threading.Thread(target=loop.run_forever, name="fulfillment-stub", daemon=True)
        thread.start()
        try:
            open_port = server.sockets[0].getsockname()[1]
            yield f"http://{host}:{open_port}/orders"
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            server.close()
            for connection in stub.connections:
                connection.abort()
            loop.run_until_complete(asyncio.sleep(0.01))  # the aborted ones are closed in it
    finally:
        loop.close()


class _Connection(asyncio.Protocol):
    """One client's connection: a request is answered before the next one is looked at."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._read = bytearray()
        self._answering = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._stub.connections.add(transport)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._transport is not None:
            self._stub.connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._read += data
        if len(self._read) > _REQUEST_BYTES_MAX:
            self._send(413, {"error": "too large"})
            self._close()
        self._next()

    def _next(self) -> None:
        """Take the next whole request, if there is one and none is being answered."""
        end = self._read.find(b"\r\n\r\n")
        if self._answering or end < 0 or self._transport is None:
            return
        line, *lines = bytes(self._read[:end]).split(b"\r\n")
        headers = _headers(lines)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or b"transfer-encoding" in headers or line.count(b" ") != 2:
            self._send(400, {"error": "no request of the kind that is understood here"})
            self._close()
            return
        whole = end + 4 + int(length)
        if len(self._read) < whole:
            return
        body = bytes(self._read[end + 4 : whole])
        del self._read[:whole]
        method, target, _ = line.decode("latin-1").split(" ")
        self._answer(method, target.partition("?")[0], headers, body)

    def _answer(self, method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
        if path.startswith("/admin"):
            self._send(*self._stub.administer(method, path, body))
        elif method == "POST":
            key = headers.get(b"idempotency-key")
            outcome = self._stub.fulfill(None if key is None else key.decode("latin-1"))
            delay_s = self._stub.behaviour.delay_ms / 1_000
            if outcome[0] is Fault.HANG:
                delay_s = _HANG_S
            if delay_s == 0:
                self._end(*outcome)
            else:
                self._answering = True
                asyncio.get_running_loop().call_later(delay_s, self._end_late, *outcome)
                return
        else:
            self._send(405, {"error": "orders are sent by POST"})
        self._next()

    def _end_late(self, fault: Fault | None, fulfillment_id: str | None) -> None:
        self._answering = False
        if self._transport is not None:
            self._end(fault, fulfillment_id)
            self._next()

    def _end(self, fault: Fault | None, fulfillment_id: str | None) -> None:
        """Answer a call, or do what its fault is."""
        if fault is None:
            self._send(200, {"id": fulfillment_id})
        elif fault is Fault.REFUSED:
            self._send(422, {"error": "refused"})
        elif fault is Fault.LIMITED:
            seconds = self._stub.behaviour.retry_after_s
            self._send(429, {"error": "too many"}, f"Retry-After: {seconds}\r\n")
        elif fault is Fault.GARBAGE:
            self._send(200, "this is no answer")
        elif fault is Fault.RESET:
            self._reset()
        else:
            self._send(503, {"error": "not now"})

    def _send(self, status: int, value: Any, further: str = "") -> None:
        if self._transport is not None:
            body = orjson.dumps(value)
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{further}\r\n"
            )
            self._transport.write(head.encode() + body)

    def _reset(self) -> None:
        """End the connection by RST and not by FIN."""
        if self._transport is not None:
            found: socket.socket = self._transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    parts = (line.partition(b":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in parts}
