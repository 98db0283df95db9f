"""/livez, /readyz and /metrics of a running process, on a port of their own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from consumers.worker import Worker
from ops.metrics import FulfillmentMetrics, Postgres, RelayMetrics, WorkerMetrics
from producers.fulfillment import Fulfillment
from producers.relay import Relay

_log = structlog.get_logger(__name__)

# A batch, a relay transaction or a wait for a server takes at most half of it between two beats.
LIVE_WITHIN_S = 60.0
_TEXT = "text/plain; charset=utf-8"


class Monitor:
    """What a process says of itself: it waits for its servers until it watches somebody."""

    def __init__(self, database_url: str, books_check_interval_s: int | None) -> None:
        self.postgres = Postgres(database_url)
        self._database_url = database_url
        self._books_check_interval_s = books_check_interval_s
        self._stopped = threading.Event()
        self._subject: Worker | Relay | Fulfillment | None = None
        self._registry = CollectorRegistry()

    def watch_worker(self, worker: Worker) -> None:
        """Tell of this worker from now on."""
        self._registry = WorkerMetrics(worker, self.postgres).registry
        self._subject = worker

    def watch_relay(self, relay: Relay) -> None:
        """Tell of this relay from now on, and check the books now and then, if that is wanted."""
        metrics = RelayMetrics(relay, self.postgres)
        self._registry = metrics.registry
        self._subject = relay
        if self._books_check_interval_s is not None:
            args = (metrics, self._books_check_interval_s)
            threading.Thread(target=self._check_books, args=args, daemon=True).start()

    def watch_fulfillment(self, fulfillment: Fulfillment) -> None:
        """Tell of this fulfillment process from now on."""
        self._registry = FulfillmentMetrics(fulfillment, self.postgres).registry
        self._subject = fulfillment

    def fault(self) -> str | None:
        """Why the process should be started again; None while its loop comes round."""
        if self._subject is None:
            return None
        silent_s = time.monotonic() - self._subject.beat_at_s
        return f"no sign of life for {silent_s:.0f} s" if silent_s > LIVE_WITHIN_S else None

    def unreadiness(self) -> str | None:
        """Why the process does not do its work at this moment; None where it does.

        A relay that stands by is ready: it takes over by itself.
        """
        subject = self._subject
        if subject is None:
            return "waiting for PostgreSQL or Kafka"
        if self.postgres.outbox() is None:
            return "PostgreSQL does not answer"
        if isinstance(subject, Worker | Fulfillment):
            return subject.trouble
        return "the relay has not taken its place yet" if subject.is_owner is None else None

    def metrics(self) -> bytes:
        """The figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Ask nobody any more."""
        self._stopped.set()
        self.postgres.close()

    def _check_books(self, metrics: RelayMetrics, interval_s: int) -> None:
        while not self._stopped.wait(interval_s):
            metrics.check_books(self._database_url)


@contextmanager
def serving(
    port: int | None, database_url: str, books_check_interval_s: int | None = None
) -> Iterator[Monitor | None]:
    """Serve on all interfaces while the block runs; None, and nothing at all, without a port.

    Raises OSError where the port can't be had.
    """
    if port is None:
        yield None
        return
    monitor = Monitor(database_url, books_check_interval_s)
    server = ThreadingHTTPServer(("0.0.0.0", port), _handler(monitor))  # noqa: S104 - probes and scrapers come from elsewhere
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    _log.info("health and metrics", port=server.server_port)
    try:
        yield monitor
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        monitor.close()


def _handler(monitor: Monitor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10  # of a connection on which nothing comes

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, monitor.metrics())
            elif path in {"/livez", "/readyz"}:
                trouble = monitor.fault() if path == "/livez" else monitor.unreadiness()
                text = f"{trouble or 'ok'}\n".encode()
                self._answer(200 if trouble is None else 503, _TEXT, text)
            else:
                self._answer(404, _TEXT, b"/livez, /readyz or /metrics\n")

        do_HEAD = do_GET  # noqa: N815 - likewise

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - likewise
            _log.debug("asked", line=format % args)

    return Handler
