"""`wallet dlt`: the records that nobody could answer."""

from collections import Counter
from collections.abc import Iterator
from heapq import nlargest
from pathlib import Path
from typing import Annotated

import orjson
import typer

from ops.cli import dlt_replay, line, place
from ops.cli.failure import VerbError
from ops.cli.letter import (
    Partition,
    Reason,
    Topic,
    dead_letter_topics,
    desk,
    letter_object,
    letter_place,
    print_letters,
)
from ops.cli.screen import console, print_json, safe, safe_bytes, say, table
from ops.cli.verb import Json, examples, group
from ops.dead_letter import Choice, Letter, own_headers

application = group(
    "dlt",
    "Dead letters: records that nobody could answer, byte for byte as they came, with the reason.",
    epilog=examples(
        "wallet dlt list --reason unknown_type",
        "wallet dlt show wallet-command-dlt/3/17 --save value.json",
        "wallet dlt replay wallet-command-dlt/3/17 --value value.json",
        "wallet dlt replay --reason unknown_type --dry-run",
    ),
)

application.command(epilog=dlt_replay.EPILOG)(dlt_replay.replay)


@application.command("list", epilog=examples("wallet dlt list", "wallet dlt list --open --json"))
def list_(
    topic: Topic = None,
    reason: Reason = None,
    partition: Partition = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Only those that were not replayed yet.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="COUNT", help="How many, the newest.")
    ] = 50,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first, and count them all by their reasons."""
    names = dead_letter_topics(place.kafka().topic_prefix, topic)
    counts: Counter[str] = Counter()
    with desk() as (_, _, box):

        def counted() -> Iterator[Letter]:
            for letter in box.letters(Choice(names, reason, partition)):
                if not (open_ and letter.is_replayed):
                    counts[letter.reason] += 1
                    yield letter

        newest = nlargest(limit, counted(), key=lambda m: (m.record.timestamp_ms, m.place))
    if as_json:
        shown = [letter_object(letter) for letter in newest]
        print_json({"count": counts.total(), "reasons": dict(counts), "letters": shown})
        return
    if newest:
        print_letters(newest)
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    what = "dead letter" if counts.total() == 1 else "dead letters"
    say(f"{counts.total():,} {what}{': ' if by_reason else '.'}{by_reason}")


@application.command(
    epilog=examples(
        "wallet dlt show wallet-command-dlt/3/17",
        "wallet dlt show wallet-command-dlt/3/17 --save value.json",
    )
)
def show(
    at: Annotated[str, typer.Argument(metavar="PLACE", help="TOPIC/PARTITION/OFFSET, as listed.")],
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Write the value there, byte for byte: to be repaired by hand.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter: its reason, and the key, the headers and the value that it came with.

    With --json all of its headers.
    """
    wanted = letter_place(place.kafka().topic_prefix, at)
    with desk() as (_, _, box):
        choice = Choice([wanted.topic], partition=wanted.partition, places=frozenset({wanted}))
        found = next(box.letters(choice), None)
    if found is None:
        raise VerbError(f"there is no dead letter at {wanted}")
    if as_json:
        record = orjson.loads(line.as_json(found.record))
        names = ("key", "value", "value_text", "headers")
        content = {name: record[name] for name in names if name in record}
        print_json(letter_object(found) | content)
    else:
        _print_letter(found)
    if save is not None:
        _write(save, found.record.value)


def _print_letter(letter: Letter) -> None:
    source = letter.source
    rows = table("", "")
    rows.show_header = False
    rows.add_row("letter", str(letter.place))
    rows.add_row("reason", safe(letter.reason))
    rows.add_row("detail", safe(letter.message))
    if source is not None:
        rows.add_row("input", f"{source.topic}/{source.partition}/{source.offset}")
    rows.add_row("attempts", str(letter.attempts))
    rows.add_row("replays", f"{letter.replays}{', sent again' * letter.is_replayed}")
    rows.add_row("key", safe_bytes(letter.record.key, 1000))
    for name, content in own_headers(letter):
        rows.add_row(f"header {safe(name)}", safe_bytes(content, 1000))
    screen = console()
    screen.print(rows)
    screen.print(safe_bytes(letter.record.value, 100_000), soft_wrap=True)


def _write(path: Path, value: bytes | None) -> None:
    try:
        path.write_bytes(value or b"")
    except OSError as error:
        raise VerbError(f"{path} can't be written: {error.strerror}") from error
    say(f"Wrote {len(value or b''):,} bytes to {path}.")
