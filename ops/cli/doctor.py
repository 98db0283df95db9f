"""`wallet doctor`: what is wrong with the surroundings, and what to do."""

from collections.abc import Callable, Iterator

import psycopg
import typer
from confluent_kafka import KafkaException
from rich.text import Text

from ledger.database import connect
from ledger.migration import pending
from ops.cli import place
from ops.cli.diagnosis import diagnose
from ops.cli.place import Place
from ops.cli.screen import console, print_json, safe
from ops.cli.verb import Json, examples, single
from ops.doctor.finding import Finding, error, warning, well
from ops.doctor.kafka import examine_kafka
from ops.doctor.postgres import examine_database
from ops.offset import partition_states
from ops.readiness import MissingError, check_migrations

_EPILOG = examples("wallet doctor", "wallet doctor --json | jq '.findings[] | select(.remedy)'")
_MARKS = {"ok": ("ok", "green"), "warning": ("!", "bold yellow"), "error": ("no", "bold red")}


def _doctor(as_json: Json = False) -> None:
    """Look for what may be wrong with Kafka, PostgreSQL and the way they are used; changes nothing.

    Topics, partitioner, rights, settings, clocks, transactions that hang open, positions. Exit 1
    on an error; a warning alone is 0; 3 where a server can't be reached.
    """
    found = place.both()
    findings: dict[str, list[Finding]] = {}
    codes = [
        _examine(findings, "Kafka", lambda: examine_kafka(found.settings)),
        _examine(findings, "PostgreSQL", lambda: _database(found)),
        _examine(findings, "Positions", lambda: _positions(found)),
    ]
    if as_json:
        shown = [
            {"part": part, **each._asdict()} for part, all_ in findings.items() for each in all_
        ]
        print_json({"healthy": not any(codes), "findings": shown})
    else:
        _print(findings)
    if any(codes):
        raise typer.Exit(max(codes))


def _examine(
    findings: dict[str, list[Finding]], part: str, look: Callable[[], Iterator[Finding]]
) -> int:
    """Add what is found of one part, a failure of the looking itself too; the exit code."""
    found = findings[part] = []
    code = 0
    try:
        found.extend(look())
    except (KafkaException, psycopg.Error, MissingError) as failure:
        sentence, code = diagnose(failure)
        found.append(error("reach", " ".join(sentence.split()), "See to that first."))
    return max(code, int(any(each.level == "error" for each in found)))


def _database(found: Place) -> Iterator[Finding]:
    check_migrations(pending(found.database_url))
    yield well("schema", "The schema is up to date.")
    yield from examine_database(found.database_url)


def _positions(found: Place) -> Iterator[Finding]:
    with connect(found.database_url, application_name="wallet-doctor") as connection:
        states = partition_states(found.settings, connection)
    troubled = [state for state in states if state.trouble is not None]
    for state in troubled:
        yield error(
            "positions", f"{state.topic}/{state.partition}: {state.trouble}; nothing is read.",
            "`wallet offsets show` has the figures, `wallet offsets reset` decides.",
        )  # fmt: skip
    if not troubled:
        yield well("positions", f"All {len(states)} positions lie within their logs.")
    # The group's copy follows the position, and so is never ahead of it by itself.
    lost = sum(max(0, (state.kafka_offset or 0) - state.next_offset) for state in states)
    if lost and not troubled:
        yield warning(
            "positions", f"{lost} offsets that were once answered lie behind the positions: the "
            "database was restored from a backup.",
            "The workers answer them again; docs/operating.md, Restore, says what that means.",
        )  # fmt: skip


def _print(findings: dict[str, list[Finding]]) -> None:
    screen = console()
    for part, all_ in findings.items():
        screen.print(Text(part, "bold"))
        for each in all_:
            mark, style = _MARKS[each.level]
            line = Text.assemble("  ", (f"{mark:<3}", style), safe(each.sentence))
            screen.print(line, soft_wrap=True)
            if each.remedy is not None:
                screen.print(Text(f"      → {safe(each.remedy)}"), soft_wrap=True)
    every = [each.level for all_ in findings.values() for each in all_]
    errors, warnings = every.count("error"), every.count("warning")
    verdict = f"{errors} error(s), {warnings} warning(s)." if errors or warnings else "All is well."
    screen.print(
        Text(verdict, "bold red" if errors else "bold yellow" if warnings else "bold green")
    )


application = single(_doctor, _EPILOG, "doctor")
