"""Dead letters on the command line: which are meant, and how they are shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer
from psycopg import Connection

from ledger.database import connect
from ledger.migration import pending
from ops.cli import place
from ops.cli.failure import UsageError
from ops.cli.screen import console, safe_bytes, table
from ops.dead_letter import Letter, LetterBox, LetterPlace
from ops.readiness import check_migrations
from ops.reading import Reader
from schemas.moment import format_moment
from schemas.settings import Settings
from schemas.topic import DEAD_LETTERS, Topics

Topic = Annotated[
    str | None,
    typer.Option(
        metavar="TOPIC", help=f"{' or '.join(DEAD_LETTERS)}; default: both.", show_default=False
    ),
]
Reason = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="Such as unknown_type or poison.", show_default=False),
]
Partition = Annotated[
    int | None, typer.Option(min=0, metavar="NUMBER", help="One partition.", show_default=False)
]


class Desk(NamedTuple):
    """What the verbs work with."""

    settings: Settings
    connection: Connection
    box: LetterBox


@contextmanager
def desk() -> Iterator[Desk]:
    """Both servers, and the letters on them."""
    found = place.both()
    check_migrations(pending(found.database_url))
    with (
        connect(found.database_url, application_name="wallet-dlt", long_queries=True) as connection,
        Reader(found.settings) as reader,
    ):
        yield Desk(found.settings, connection, LetterBox(found.settings, connection, reader))


def dead_letter_topics(prefix: str, given: str | None) -> list[str]:
    """The real names; UsageError where the given one is none."""
    names = Topics(prefix)
    if given is None:
        return [names.real(name) for name in DEAD_LETTERS]
    logical = given if given in DEAD_LETTERS else names.logical(given)
    if logical not in DEAD_LETTERS:
        raise UsageError(f"--topic is one of {', '.join(DEAD_LETTERS)}, not {given!r}")
    return [names.real(logical)]


def letter_place(prefix: str, text: str) -> LetterPlace:
    """A place as it is listed, its topic with or without the prefix; UsageError for any other."""
    topic, *numbers = text.rsplit("/", 2)
    if len(numbers) != 2 or not all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):
        raise UsageError(f"PLACE is TOPIC/PARTITION/OFFSET, as listed, not {text!r}")
    [real] = dead_letter_topics(prefix, topic)
    return LetterPlace(real, int(numbers[0]), int(numbers[1]))


def letter_object(letter: Letter) -> dict[str, Any]:
    """A letter without its content, as `list` and `replay` print it with --json."""
    return {
        "letter": str(letter.place),
        **letter.place._asdict(),
        "died_at": _moment(letter.record.timestamp_ms),
        "key": safe_bytes(letter.record.key),
        "reason": letter.reason,
        "detail": letter.message,
        "source": None if letter.source is None else letter.source._asdict(),
        "attempts": letter.attempts,
        "replays": letter.replays,
        "replayed": letter.is_replayed,
    }


def print_letters(letters: list[Letter]) -> None:
    """A row per letter."""
    rows = table("Letter", "When", "Reason", "Key", "Replays", "Value", right=("Replays",))
    rows.columns[0].no_wrap = True  # to be copied
    for letter in letters:
        again = "sent again" if letter.is_replayed else str(letter.replays)
        rows.add_row(
            str(letter.place),
            (_moment(letter.record.timestamp_ms) or "")[5:19].replace("T", " "),
            letter.reason,
            safe_bytes(letter.record.key, 24),
            again,
            safe_bytes(letter.record.value, 40),
        )
    console().print(rows)


def _moment(timestamp_ms: int) -> str | None:
    if timestamp_ms < 0:
        return None
    return format_moment(datetime.fromtimestamp(timestamp_ms / 1000, UTC))
