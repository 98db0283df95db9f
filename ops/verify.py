"""The books' verdict for a person or a program: `wallet verify`, and the end of the demo."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ledger import verification
from ledger.database import connect
from ledger.verification import Finding, UnsettledError, verify
from ops.cli.failure import VerbError
from ops.cli.screen import console, print_json, safe


def check_books(database_url: str, *, as_json: bool) -> bool:
    """Check the books, print the verdict on stdout, and say whether every check holds.

    Raises psycopg.Error, VerbError where a hanging session keeps the journal unsettled.
    """
    with (
        connect(database_url, application_name="wallet-verify", long_queries=True) as connection,
        _progress_bar(console(stderr=True)) as progress,
    ):
        try:
            findings = verify(connection, progress)
        except UnsettledError as error:
            raise VerbError(f"the books can't be checked: {error}") from error
    if as_json:
        print_json(as_document(findings))
    else:
        show_findings(findings, console())
    return all(finding.holds for finding in findings)


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """The verdict as JSON shows it; amounts in minor units."""
    checks = [{**asdict(finding), "holds": finding.holds} for finding in findings]
    return {"clean": all(finding.holds for finding in findings), "checks": checks}


def show_findings(findings: Sequence[Finding], screen: Console) -> None:
    """A line per check, then the rows at fault, then the verdict in one line."""
    table = Table("", "check", "rows", box=None, pad_edge=False, header_style="bold")
    table.columns[2].justify = "right"
    for finding in findings:
        mark = Text("ok", "green") if finding.holds else Text("no", "bold red")
        table.add_row(mark, finding.sentence, f"{finding.examined:,}")
    screen.print(table)
    for finding in findings:
        if not finding.holds:
            _show_faults(finding, screen)
    failed = [finding.name for finding in findings if not finding.holds]
    if failed:
        screen.print(Text(f"The books are wrong: {', '.join(failed)}.", "bold red"))
    else:
        screen.print(Text("The books are right.", "bold green"))


def _show_faults(finding: Finding, screen: Console) -> None:
    screen.print()
    count = f"{finding.at_fault:,} of {finding.examined:,} rows (amounts in minor units)"
    screen.print(Text.assemble((finding.name, "bold red"), f": {count}"))
    for row in finding.rows:
        shown = "  ".join(f"{name}={value}" for name, value in row.items() if value is not None)
        screen.print(f"  {safe(shown)}")
    if finding.at_fault > len(finding.rows):
        screen.print(f"  … and {finding.at_fault - len(finding.rows):,} more")
    screen.print()


@contextmanager
def _progress_bar(screen: Console) -> Iterator[verification.Progress]:
    """A bar that is gone once the work is done; nothing at all where nobody looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    ) as bar:
        tasks = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total)

        yield advance
