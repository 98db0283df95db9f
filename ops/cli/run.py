"""`wallet run`: the processes, alone or together."""

import threading
from typing import Annotated

import typer

from consumers.worker import Worker
from ops.cli import place
from ops.cli.place import Place
from ops.cli.verb import examples, group
from ops.process import run_processes, run_until_signalled
from ops.readiness import wait_until_ready
from ops.telemetry import configure_logging
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

    def work(stop: threading.Event) -> None:
        if wait_until_ready(found.settings, found.database_url, stop):
            Worker(found.settings, database_url=found.database_url).run(stop)

    run_until_signalled(work, bound=bound)


@application.command(epilog=examples("wallet run relay"))
def relay(bound: Bound = False) -> None:
    """Publish what the worker has decided: results, dead letters and balances, each once.

    One works, further ones stand by and take over when it dies or freezes.
    """
    found = place.both()
    configure_logging(found.settings, process="relay")

    def work(stop: threading.Event) -> None:
        if wait_until_ready(found.settings, found.database_url, stop):
            Relay(found.settings, database_url=found.database_url).run(stop)

    run_until_signalled(work, bound=bound)


@application.command("all", epilog=examples("wallet run all"))
def all_() -> None:
    """Run one worker and one relay, each a process of its own, until Ctrl-C or SIGTERM.

    If one of them fails, the other is ended, too, and the exit code is 1.
    """
    found = place.both()
    configure_logging(found.settings, process="wallet")
    # Refused here once instead of by each of them.
    run_until_ready(found)
    if not run_processes(("worker", "relay"), environ=found.environ):
        raise typer.Exit(1)


def run_until_ready(found: Place) -> None:
    """Wait for the servers; a signal meanwhile ends the process in order."""
    ready: list[bool] = []
    run_until_signalled(
        lambda stop: ready.append(wait_until_ready(found.settings, found.database_url, stop))
    )
    if not ready[0]:
        raise typer.Exit
