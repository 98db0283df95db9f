"""`wallet dlt replay`: dead letters become inputs again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from ledger.replay import Replay, keep_replays
from ops.cli import place
from ops.cli.failure import UsageError, VerbError
from ops.cli.letter import (
    Desk,
    Partition,
    Reason,
    Topic,
    dead_letter_topics,
    desk,
    letter_object,
    letter_place,
    print_letters,
)
from ops.cli.screen import print_json, say
from ops.cli.verb import Json, examples
from ops.dead_letter import REPLAYS_MAX, Choice, Letter, LetterPlace, as_input
from producers.publisher import Delivered, Publisher

# Published and noted together: if it breaks off, so many at the most are sent again by the next.
_CHUNK = 200
_SHOWN = 20

EPILOG = examples(
    "wallet dlt replay --reason unknown_type --dry-run",
    "wallet dlt replay --reason unknown_type --partition 3 --yes",
    "wallet dlt replay wallet-command-dlt/3/17 --value value.json",
    "wallet dlt replay wallet-command-dlt/3/18 --key alice",
)


class _Sorted(NamedTuple):
    """The letters that fit the choice, by what is to become of them."""

    due: list[Letter]
    done: list[Letter]
    circling: list[Letter]


def replay(
    at: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PLACE...", help="TOPIC/PARTITION/OFFSET, as listed.", show_default=False
        ),
    ] = None,
    *,
    topic: Topic = None,
    reason: Reason = None,
    partition: Partition = None,
    offset: Annotated[
        int | None, typer.Option(min=0, metavar="OFFSET", help="One offset.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every letter there is.")] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Another key, for one PLACE.", show_default=False),
    ] = None,
    value: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Another value, for one PLACE: its bytes as they are.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was sent again before.")
    ] = False,
    max_replays: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Refuse what has come back so often.")
    ] = REPLAYS_MAX,
    force: Annotated[bool, typer.Option("--force", help="However often it has come back.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters to their input topic again: as new inputs, with the headers they came with.

    The header wallet-dlt-replays counts how often; what has come back 3 times is refused without
    --force (exit 1), so that nothing goes in circles. What was sent again before is left out
    without --again. A command that was answered meanwhile comes out as a duplicate.
    """
    _check_usage(at or [], [reason, partition, offset, topic], all_, key, value)
    if as_json and not (yes or dry_run):
        raise UsageError("--json asks nothing: add --yes or --dry-run")
    choice = _choice(place.kafka().topic_prefix, at or [], topic, reason, partition, offset)
    with desk() as at_desk:
        letters = _sorted(at_desk, choice, again=again, replays_max=None if force else max_replays)
        if not as_json:
            _print_plan(letters)
        sent: list[tuple[Letter, Delivered]] = []
        if letters.due and not dry_run:
            if not yes:
                question = f"Send {len(letters.due):,} dead letter(s) again?"
                typer.confirm(question, abort=True, err=True)
            sent = _send(at_desk, letters.due, key, value)
    if as_json:
        _print_json(letters, sent, dry_run=dry_run)
    elif dry_run:
        say("Nothing was sent (--dry-run).")
    else:
        for letter, delivered in sent[:_SHOWN]:
            say(f"{letter.place} → {delivered.topic}/{delivered.partition}/{delivered.offset}")
        say(f"Sent {len(sent):,} again.")
    if letters.circling or (choice.places and not letters.due):
        raise typer.Exit(1)


def _check_usage(
    at: Sequence[str], filters: Sequence[object], all_: bool, key: str | None, value: Path | None
) -> None:
    filtered = any(given is not None for given in filters)
    if at and (filtered or all_):
        raise UsageError("a PLACE says all: --topic, --reason, --partition, --offset, --all do not")
    if not (at or filtered or all_):
        raise UsageError("say which: PLACE, --topic, --reason, --partition, --offset, or --all")
    if (key is not None or value is not None) and len(at) != 1:
        raise UsageError("--key and --value repair one letter: name it as PLACE")


def _choice(
    prefix: str,
    at: Sequence[str],
    topic: str | None,
    reason: str | None,
    partition: int | None,
    offset: int | None,
) -> Choice:
    places = frozenset(letter_place(prefix, text) for text in at)
    if places:
        return Choice(sorted({wanted.topic for wanted in places}), places=places)
    return Choice(dead_letter_topics(prefix, topic), reason, partition, offset)


def _sorted(at_desk: Desk, choice: Choice, *, again: bool, replays_max: int | None) -> _Sorted:
    """Raises VerbError where a place has no letter."""
    letters = _Sorted([], [], [])
    absent: set[LetterPlace] = set(choice.places)
    for letter in at_desk.box.letters(choice):
        absent.discard(letter.place)
        if letter.is_replayed and not again:
            letters.done.append(letter)
        elif replays_max is not None and letter.replays >= replays_max:
            letters.circling.append(letter)
        else:
            letters.due.append(letter)
    if absent:
        raise VerbError(f"there is no dead letter at {', '.join(map(str, sorted(absent)))}")
    return letters


def _send(
    at_desk: Desk, letters: Sequence[Letter], key: str | None, value: Path | None
) -> list[tuple[Letter, Delivered]]:
    """Publish and note them, in their order; raises PublishError, psycopg.Error."""
    publisher = Publisher(at_desk.settings)
    sent = []
    for start in range(0, len(letters), _CHUNK):
        chunk = letters[start : start + _CHUNK]
        inputs = [
            as_input(
                letter,
                at_desk.box.input_topic(letter),
                letter.record.key if key is None else key.encode(),
                letter.record.value if value is None else value.read_bytes(),
            )
            for letter in chunk
        ]
        places = publisher.publish_all(inputs)
        ids = at_desk.box.topic_ids
        pairs = list(zip(chunk, places, strict=True))
        keep_replays(
            at_desk.connection,
            [_noted(letter, ids[letter.place.topic], delivered) for letter, delivered in pairs],
        )
        sent += pairs
    return sent


def _noted(letter: Letter, topic_id: str, at: Delivered) -> Replay:
    place = letter.place
    return Replay(
        place.topic, topic_id, place.partition, place.offset, at.topic, at.partition, at.offset
    )


def _print_plan(letters: _Sorted) -> None:
    if letters.due:
        print_letters(letters.due[:_SHOWN])
    if len(letters.due) > _SHOWN:
        say(f"… and {len(letters.due) - _SHOWN:,} more")
    if letters.done:
        say(f"{len(letters.done):,} left out: sent again before (--again sends them once more).")
    for letter in letters.circling[:_SHOWN]:
        say(f"{letter.place} refused: it has come back {letter.replays} times (--force sends it).")
    if not any(letters):
        say("No dead letter fits.")


def _print_json(
    letters: _Sorted, sent: Sequence[tuple[Letter, Delivered]], *, dry_run: bool
) -> None:
    places = {letter.place: delivered._asdict() for letter, delivered in sent}
    print_json(
        {
            "dry_run": dry_run,
            "due": [letter_object(m) | {"input": places.get(m.place)} for m in letters.due],
            "left_out": [letter_object(letter) for letter in letters.done],
            "refused": [letter_object(letter) for letter in letters.circling],
        }
    )
