"""How a verb's module makes its application, with a help page that can be worked from."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def examples(*lines: str) -> str:
    """A help page's end: what to type, one example a line."""
    shown = [f"  [cyan]{escape(line)}[/cyan]" for line in lines]
    note = "[dim]--data-dir FOLDER and --debug go with every verb; see wallet --help.[/dim]"
    return "\n".join(["[bold]Examples[/bold]", *shown, "", note])


def group(name: str, summary: str, epilog: str) -> typer.Typer:
    """The application of a group of verbs, such as `topics`; its commands are added to it."""
    return typer.Typer(
        name=name, help=summary, epilog=epilog, no_args_is_help=True, rich_markup_mode="rich"
    )


def single(function: Callable[..., None], epilog: str, name: str) -> typer.Typer:
    """The application of one verb: unnamed, so that Typer adds the verb and no group around it."""
    made = typer.Typer(rich_markup_mode="rich")
    made.command(name, epilog=epilog, no_args_is_help=False)(function)
    return made
