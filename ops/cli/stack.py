"""`wallet stack`: the embedded Kafka and PostgreSQL of the data directory."""

import shlex
from typing import Annotated

import typer
from rich.text import Text

from ops.cli.failure import UnreachableError
from ops.cli.screen import console, print_json, safe, say
from ops.cli.verb import Json, examples, group
from ops.stack import TOOLS, Stack, StackAddress, StackStatus
from schemas.settings import load_settings

application = group(
    "stack",
    "The embedded Kafka and PostgreSQL alone: real servers, whose data stays in the data "
    "directory (--data-dir or WALLET_DATA_DIR) when they stop.",
    epilog=examples(
        "wallet stack start",
        "wallet stack status --json",
        'eval "$(wallet stack env)"',
        "wallet stack console kafka-topics --list",
        "wallet stack stop",
    ),
)

_NEXT = """Next: wallet migrate
      wallet topics apply
      wallet run all"""


@application.command(
    epilog=examples("wallet stack start", "wallet stack start --data-dir ./wallet-data")
)
def start() -> None:
    """Start both servers; they run on until `wallet stack stop`.

    The first start ever downloads Kafka and takes a minute. One that runs already is left alone.
    """
    address = _stack().start()
    screen = console()
    screen.print(f"Kafka       {address.kafka_bootstrap_servers}", soft_wrap=True)
    screen.print(f"PostgreSQL  {address.database_url}", soft_wrap=True)
    say(_NEXT)


@application.command(epilog=examples("wallet stack stop"))
def stop() -> None:
    """Stop both servers, in order; their data stays."""
    ran = _stack().stop()
    say("Stopped." if ran else "Nothing was running.")


@application.command(epilog=examples("wallet stack status", "wallet stack status --json"))
def status(as_json: Json = False) -> None:
    """Say how both servers are, with the end of a crashed one's log; exit 1 unless they run."""
    found = _stack().status()
    if as_json:
        print_json(_status_object(found))
    else:
        _print_status(found)
    if found.state != "running":
        raise typer.Exit(1)


@application.command(epilog=examples('eval "$(wallet stack env)"', "wallet stack env --json"))
def env(as_json: Json = False) -> None:
    """Print the export lines that point other programs at the running stack."""
    environment = _running().environment()
    if as_json:
        print_json(environment)
        return
    for name, value in environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@application.command(
    "console",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples(
        "wallet stack console kafka-topics --list",
        "wallet stack console kafka-console-producer --topic wallet-command "
        "--reader-property parse.key=true",
        "wallet stack console kafka-console-consumer --topic wallet-result --from-beginning "
        "--isolation-level read_committed",
    ),
)
def tool_(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help=f"One of {', '.join(TOOLS)}.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENTS...", help="Handed to the tool as they are."),
    ] = None,
) -> None:
    """Run one of Kafka's own tools at the running stack; its exit code is the verb's.

    --bootstrap-server is added. kafka-console-producer takes a key, a tab and a JSON object a line.
    """
    if tool not in TOOLS:
        raise typer.BadParameter(f"{tool!r} is none of {', '.join(TOOLS)}", param_hint="TOOL")
    _running()
    raise typer.Exit(_stack().console(tool, arguments or []))


def _stack() -> Stack:
    return Stack(load_settings().data_dir, progress=say)


def _running() -> StackAddress:
    found = _stack().status()
    if found.address is None:
        raise UnreachableError(f"{found.sentence()}\nStart it with `wallet stack start`.")
    return found.address


def _status_object(found: StackStatus) -> dict[str, object]:
    return {
        "data_dir": str(found.data_dir),
        "state": found.state,
        "environment": None if found.address is None else found.address.environment(),
        "parts": [
            {"name": part.name, "state": part.state, "pid": part.pid, "log": str(part.log_path)}
            for part in found.parts
        ],
    }


def _print_status(found: StackStatus) -> None:
    screen = console()
    screen.print(found.sentence(), soft_wrap=True)
    if found.state not in {"running", "starting"}:
        return
    addresses = ["", ""]
    if found.address is not None:
        addresses = [found.address.kafka_bootstrap_servers, found.address.database_url]
    for part, address in zip(found.parts, addresses, strict=True):
        # No table: an address that is folded can't be copied.
        line = Text(f"{part.name:<9} ", "bold")
        line.append(f"{part.state:<8}", "green" if part.state == "running" else "red")
        line.append(f" process {part.pid}  {safe(address)}  {part.log_path}", "none")
        screen.print(line, soft_wrap=True)
