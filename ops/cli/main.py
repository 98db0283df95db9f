"""The `wallet` command: its verbs, the options they all take, and what a failure looks like."""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer

from ops.cli.screen import complain


class Verb(NamedTuple):
    """A line of the overview. `module` makes the verb with its `application`."""

    module: str
    group: str
    summary: str


_STACK, _WORK, _LOOK, _CARE = "Set up", "Run and send", "Look", "Look after"
VERBS = {
    "demo": Verb("ops.cli.demo", _STACK, "Everything at once: a story in, its results, the books."),
    "stack": Verb("ops.cli.stack", _STACK, "The embedded Kafka and PostgreSQL: start, stop, ask."),
    "migrate": Verb("ops.cli.migrate", _STACK, "Bring the database's schema up to date."),
    "topics": Verb("ops.cli.topics", _STACK, "Make the topics, list them, compare them."),
    "run": Verb("ops.cli.run", _WORK, "Run the worker, the relay, fulfillment, or all of them."),
    "fulfillment-stub": Verb(
        "ops.cli.fulfillment_stub", _WORK, "An HTTP fulfillment service with a switch for faults."
    ),
    "send": Verb("ops.cli.send", _WORK, "Publish one command and wait for its result."),
    "tail": Verb("ops.cli.tail", _LOOK, "Results as they come, a line each."),
    "show": Verb("ops.cli.show", _LOOK, "A client's balances and newest transactions."),
    "history": Verb("ops.cli.history", _LOOK, "A client's transactions, by page or as CSV."),
    "order": Verb("ops.cli.order", _LOOK, "An order and its life."),
    "orders": Verb(
        "ops.cli.orders", _LOOK, "Orders that wait, failed, or may have been delivered."
    ),
    "currencies": Verb(
        "ops.cli.currencies", _STACK, "The currencies that are known, and units of your own."
    ),
    "verify": Verb("ops.cli.verify", _LOOK, "Check the books."),
    "bench": Verb("ops.cli.bench", _LOOK, "Measure rate and latency on this machine."),
    "lag": Verb("ops.cli.lag", _CARE, "How far the workers are behind."),
    "offsets": Verb("ops.cli.offsets", _CARE, "The workers' positions, and setting them by hand."),
    "outbox": Verb("ops.cli.outbox", _CARE, "What the relay has still to publish."),
    "dlt": Verb("ops.cli.dlt", _CARE, "Dead letters: list, show, and send them again."),
    "doctor": Verb("ops.cli.doctor", _CARE, "What is wrong with the surroundings, and what to do."),
}

_EPILOG = """\
Without KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL every verb uses the stack that runs in the data \
directory.

Exit codes: 0 fine · 1 a check failed, a thing was not found or a command was rejected · \
2 a wrong option or setting · 3 could not connect · 130 interrupted.

First steps: [cyan]wallet stack start[/cyan], [cyan]wallet migrate[/cyan], \
[cyan]wallet topics apply[/cyan], [cyan]wallet run all[/cyan]; then, elsewhere, \
[cyan]wallet send deposit alice 100 --wait[/cyan]
"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit with its code. `arguments` are by default the process's own."""
    line = common_options_first(sys.argv[1:] if arguments is None else arguments)
    try:
        _application(line)(args=line, prog_name="wallet")
    except Exception as error:  # noqa: BLE001 - a person gets a sentence, not a traceback
        sys.exit(_report(error))
    sys.exit(0)


def common_options_first(arguments: Sequence[str]) -> list[str]:
    """Move --data-dir and --debug before the verb, so that they may stand anywhere.

    What follows `--` or belongs to a console tool of Kafka's stays as it is.
    """
    common: list[str] = []
    others: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--" or (word == "console" and others == ["stack"]):
            others += [word, *rest]
            break
        if word == "--data-dir" and rest:
            common += [word, rest.pop(0)]
        elif word == "--debug" or word.startswith("--data-dir="):
            common.append(word)
        else:
            others.append(word)
    return common + others


def _application(line: Sequence[str]) -> typer.Typer:
    """All verbs, of which only those named in the line are imported.

    The overview takes 0.2 s and not 0.8, and a verb whose libraries are missing hurts no other.
    """
    app = typer.Typer(
        callback=_common,
        epilog=_EPILOG,
        rich_markup_mode="rich",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    completing = "_WALLET_COMPLETE" in os.environ
    for name, verb in VERBS.items():
        if name in line or completing:
            made: typer.Typer = importlib.import_module(verb.module).application
            app.add_typer(made, rich_help_panel=verb.group)
        else:
            app.command(name, help=verb.summary, rich_help_panel=verb.group)(_not_imported)
    return app


def _not_imported() -> None:
    raise RuntimeError("a verb that the line does not name was called")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("wallet-transaction-system"))
        raise typer.Exit


def _common(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder of the embedded Kafka and PostgreSQL; as WALLET_DATA_DIR. "
            "It may stand behind the verb, too.",
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a failure's traceback; as WALLET_DEBUG=true.")
    ] = False,
    _show_version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """A wallet that is driven by messages: commands in by Kafka, a double-entry ledger in
    PostgreSQL, every outcome out exactly once.
    """
    # The options are other spellings of variables: started processes inherit them.
    if data_dir is not None:
        os.environ["WALLET_DATA_DIR"] = str(data_dir)
    if debug:
        os.environ["WALLET_DEBUG"] = "true"


def _report(error: Exception) -> int:
    """Say what went wrong, in a sentence or with its traceback, and give the exit code."""
    from ops.cli.diagnosis import diagnose, wants_traceback  # noqa: PLC0415 - 0.4 s for failures

    found = diagnose(error)
    complain(found.sentence, error if wants_traceback() else None)
    return found.exit_code
