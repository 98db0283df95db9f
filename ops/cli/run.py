"""`wallet run`: the processes, alone or together."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from consumers.precedence import take_nice
from consumers.worker import Worker
from ops.cli import place
from ops.cli.failure import VerbError
from ops.cli.place import Place
from ops.cli.verb import examples, group
from ops.health import Monitor, serving
from ops.process import run_processes, run_until_signalled
from ops.readiness import wait_for_schema, wait_until_ready
from ops.telemetry import configure_logging
from producers.fulfillment import Fulfillment
from producers.relay import Relay

application = group(
    "run",
    "The processes. SIGTERM and Ctrl-C end them in order, with exit code 0; a second one at once. "
    "They wait for Kafka and PostgreSQL, and refuse to start (exit 1) where migrations or topics "
    "are missing.",
    epilog=examples(
        "wallet run all",
        "WALLET_LOG_FORMAT=json wallet run worker",
        "wallet run relay",
        "wallet run fulfillment",
    ),
)

Bound = Annotated[
    bool, typer.Option("--bound", hidden=True, help="End when standard input closes.")
]


@application.command(epilog=examples("wallet run worker"))
def worker(bound: Bound = False) -> None:
    """Take commands and requests from both input topics and apply them to the ledger.

    Several share the partitions; one that is killed is replaced by the others.
    """
    found = place.both()
    configure_logging(found.settings, process="worker")
    take_nice(found.settings.worker_nice)

    def work(stop: threading.Event) -> None:
        with _health(found, bound=bound) as monitor:
            if wait_until_ready(found.settings, found.database_url, stop):
                worker = Worker(found.settings, database_url=found.database_url)
                if monitor is not None:
                    monitor.watch_worker(worker)
                worker.run(stop)

    run_until_signalled(work, bound=bound)


@application.command(epilog=examples("wallet run relay"))
def relay(bound: Bound = False) -> None:
    """Publish what the worker has decided: results, dead letters and balances, each once.

    One works, further ones stand by and take over when it dies or freezes.
    """
    found = place.both()
    configure_logging(found.settings, process="relay")

    def work(stop: threading.Event) -> None:
        # Of `run all` the worker has the port itself.
        with _health(found, bound=bound, step=1) as monitor:
            if wait_until_ready(found.settings, found.database_url, stop):
                relay = Relay(found.settings, database_url=found.database_url)
                if monitor is not None:
                    monitor.watch_relay(relay)
                relay.run(stop)

    run_until_signalled(work, bound=bound)


@application.command(
    epilog=examples(
        "FULFILLMENT_URL=https://fulfillment.example.com/orders wallet run fulfillment",
        "wallet fulfillment-stub",
    )
)
def fulfillment(bound: Bound = False) -> None:
    """Send orders to the fulfillment API at FULFILLMENT_URL, and settle what comes of it.

    Any number may run; they share the orders, and one circuit breaker. It needs PostgreSQL alone.
    """
    found = place.database()
    configure_logging(found.settings, process="fulfillment")
    made = Fulfillment(found.settings, database_url=found.database_url)

    def work(stop: threading.Event) -> None:
        with _health(found, bound=bound, step=2) as monitor:
            if wait_for_schema(found.database_url, stop):
                if monitor is not None:
                    monitor.watch_fulfillment(made)
                made.run(stop)

    run_until_signalled(work, bound=bound)


@application.command("all", epilog=examples("wallet run all"))
def all_(bound: Bound = False) -> None:
    """Run one worker, one relay and, where FULFILLMENT_URL is set, one fulfillment process.

    Each is a process of its own, until Ctrl-C or SIGTERM. If one of them fails, the others are
    ended, too, and the exit code is 1.
    """
    found = place.both()
    configure_logging(found.settings, process="wallet")
    # Refused here once instead of by each of them.
    run_until_ready(found)
    roles = ["worker", "relay"]
    if found.settings.fulfillment_url is not None:
        roles.append("fulfillment")
    if not run_processes(roles, environ=found.environ, bound=bound):
        raise typer.Exit(1)


@contextmanager
def _health(found: Place, *, bound: bool, step: int = 0) -> Iterator[Monitor | None]:
    """Serve health and metrics, where a port is given; a child of `run all` takes a port of its
    own, `step` further.
    """
    settings = found.settings
    port = settings.metrics_port
    if port is not None and bound:
        port += step
    with ExitStack() as stack:
        served = serving(port, found.database_url, settings.books_check_interval_s)
        try:
            monitor = stack.enter_context(served)
        except OSError as error:
            raise VerbError(
                f"port {port} (WALLET_METRICS_PORT) can't be opened: {error.strerror}"
            ) from error
        yield monitor


def run_until_ready(found: Place) -> None:
    """Wait for the servers; a signal meanwhile ends the process in order."""
    ready: list[bool] = []
    run_until_signalled(
        lambda stop: ready.append(wait_until_ready(found.settings, found.database_url, stop))
    )
    if not ready[0]:
        raise typer.Exit
