"""What a person reads: the console, tables, JSON, and text that can do no harm to a terminal."""

import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def console(*, stderr: bool = False) -> Console:
    """A console that takes text as it is: no markup, no highlighting, no emoji codes."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def say(text: str) -> None:
    """One line about what is going on, on stderr: stdout is for what was asked for."""
    console(stderr=True).print(text, soft_wrap=True)


def complain(sentence: str, error: BaseException | None = None) -> None:
    """Say what went wrong on stderr; with the error, its traceback before it.

    A sentence may name what a person or another system gave: no terminal obeys it.
    """
    screen = console(stderr=True)
    if error is not None:
        screen.print(
            _safe_lines("".join(traceback.format_exception(error))), soft_wrap=True, end=""
        )
    screen.print(Text.assemble(("error: ", "bold red"), _safe_lines(sentence)), soft_wrap=True)


def print_json(value: Any) -> None:
    """The value as JSON on stdout, indented for a person, read all the same by a program."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(line: bytes) -> None:
    """One JSON object on a line of its own, seen at once by whoever reads the pipe."""
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()


def table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """A table to add rows to; the columns named in `right` hold figures."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    made.header_style = "bold"
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def safe(text: str, length_max: int = 10_000) -> str:
    """The text in one line, without control characters that a terminal would obey."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= length_max else shown[: length_max - 1] + "…"


def safe_bytes(value: bytes | None, length_max: int = 200) -> str:
    r"""Any bytes in one line: text where it is UTF-8, `\x..` where it is not."""
    if value is None:
        return "null"
    text = value[: 4 * length_max].decode("utf-8", errors="backslashreplace")
    return safe(text, length_max)


def _safe_lines(text: str) -> str:
    return "\n".join(map(safe, text.split("\n")))
