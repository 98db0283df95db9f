"""A TCP proxy between one of our processes and a server, to cut, stall or slow what goes through.

A Kafka client connects to where the broker says it is: the broker's address is exchanged for the
proxy's in what the broker answers, byte for byte.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.conftest import WalletEnv

_CHUNK_BYTES = 65_536


class Proxy:
    """Takes connections at `port` of 127.0.0.1 and hands on what comes to the server at `target`, a
    port of 127.0.0.1 or a socket's path. A context manager: leaving it cuts everything.
    """

    def __init__(self, target: int | Path) -> None:
        self._target = target
        self._delay_s = 0.0
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port: int = self._listener.getsockname()[1]
        self._theirs, self._ours = (
            b"127.0.0.1" + port.to_bytes(4, "big")
            for port in (target if isinstance(target, int) else 0, self.port)
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections, and each new one at once, until `mend`."""
        with self._lock:
            self._refuses = True
            cut, self._open = self._open, set()
        for end in cut:
            _close(end)
        self._flows.set()

    def stall(self) -> None:
        """Hand on nothing, end nothing, until `mend`: as if a cable were pulled."""
        self._flows.clear()

    def slow(self, delay_s: float) -> None:
        """Hand on each piece so much later, until `mend`."""
        self._delay_s = delay_s

    def mend(self) -> None:
        """All is well again."""
        self._refuses = False
        self._delay_s = 0.0
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = self._connect()
            except OSError:  # the server is away: so are we
                _close(client)
                continue
            with self._lock:
                refuses = self._refuses
                if not refuses:
                    self._open |= {client, server}
            if refuses:
                _close(client)
                _close(server)
                continue
            for ends in ((client, server), (server, client)):
                answers = ends[0] is server and isinstance(self._target, int)
                threading.Thread(target=self._pump, args=(*ends, answers), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target), timeout=5)
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._target))
        return server

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        kept = b""
        try:
            source.settimeout(None)
            while data := source.recv(_CHUNK_BYTES):
                time.sleep(self._delay_s)
                self._flows.wait()
                if answers:
                    data, kept = _exchanged(kept + data, self._theirs, self._ours)
                sink.sendall(data)
        except OSError:
            pass  # cut, by us or by one of them
        with self._lock:
            self._open -= {source, sink}
        _close(source)
        _close(sink)


def _exchanged(data: bytes, old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """The data with `old` exchanged for `new`, and what at its end may begin another `old`."""
    data = data.replace(old, new)
    for length in range(min(len(old) - 1, len(data)), 0, -1):
        if data.endswith(old[:length]):
            return data[:-length], data[-length:]
    return data, b""


def _close(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def proxied(env: WalletEnv) -> Iterator[tuple[WalletEnv, Proxy, Proxy]]:
    """An environment whose Kafka and PostgreSQL are reached through proxies, and the two of them.

    Both servers must be on this machine.
    """
    with proxied_environ(env.env) as (environ, proxies):
        yield (
            replace(
                env,
                kafka_bootstrap_servers=environ["KAFKA_BOOTSTRAP_SERVERS"],
                database_url=environ["DATABASE_URL"],
                env=environ,
            ),
            proxies["KAFKA_BOOTSTRAP_SERVERS"],
            proxies["DATABASE_URL"],
        )


@contextmanager
def proxied_environ(
    environ: Mapping[str, str],
) -> Iterator[tuple[dict[str, str], dict[str, Proxy]]]:
    """The environment with a proxy before each server that it names, and the proxies by the
    variables' names. All servers must be on this machine.
    """
    made, proxies = dict(environ), dict[str, Proxy]()
    with ExitStack() as stack:
        for variable in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "FULFILLMENT_URL"):
            if variable in environ:
                address = environ[variable]
                proxy = stack.enter_context(Proxy(_target(variable, address)))
                proxies[variable], made[variable] = proxy, _through(variable, address, proxy.port)
        yield made, proxies


def _target(variable: str, address: str) -> int | Path:
    if variable == "DATABASE_URL":
        found = conninfo_to_dict(address)
        host, port = str(found.get("host", "")), int(found.get("port") or 5432)
        return Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else port
    return int(_port(address).group(1))


def _through(variable: str, address: str, port: int) -> str:
    if variable == "DATABASE_URL":
        return make_conninfo(address, host="127.0.0.1", port=port)
    return address.replace(_port(address).group(), f":{port}", 1)


def _port(address: str) -> re.Match[str]:
    found = re.search(r":(\d+)", address)
    if found is None:
        raise ValueError(f"{address} names no port")
    return found
