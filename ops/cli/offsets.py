"""`wallet offsets`: the workers' positions, and setting them by hand."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaException
from psycopg import Connection

from ledger.database import connect
from ledger.migration import pending
from ledger.reset import (
    KeptReset,
    PositionMovedError,
    Reset,
    count_workers,
    kept_resets,
    reset_positions,
)
from ops import topic
from ops.cli import place
from ops.cli.failure import UsageError, VerbError
from ops.cli.lag import print_states, state_object
from ops.cli.screen import console, print_json, say, table
from ops.cli.verb import Json, examples, group
from ops.offset import PartitionState, copy_to_kafka, group_state, partition_states
from ops.readiness import check_migrations
from schemas.moment import format_moment
from schemas.settings import Settings
from schemas.topic import INPUTS, Topics

_RESETS_SHOWN = 20

application = group(
    "offsets",
    "The workers' positions in the input topics. PostgreSQL has them; the group's offsets in Kafka "
    "are a copy for Kafka's own tools.",
    epilog=examples(
        "wallet offsets show",
        "wallet offsets reset wallet-command --to beginning --dry-run",
        "wallet offsets reset wallet-command --to beginning",
    ),
)


@application.command(epilog=examples("wallet offsets show", "wallet offsets show --json"))
def show(as_json: Json = False) -> None:
    """Show each partition's log and position, and the newest resets.

    Exit 1 where a position is outside its log, or was kept for another topic of that name.
    """
    found = place.both()
    check_migrations(pending(found.database_url))
    with connect(found.database_url, application_name="wallet-offsets") as connection:
        states = partition_states(found.settings, connection)
        kept = kept_resets(connection, _RESETS_SHOWN)
    if as_json:
        shown = [state_object(state) for state in states]
        print_json({"partitions": shown, "resets": [_kept_object(reset) for reset in kept]})
    else:
        print_states(states)
        if kept:
            console().print()
            _print_kept(kept)
    if any(state.trouble is not None for state in states):
        raise typer.Exit(1)


@application.command(
    epilog=examples(
        "wallet offsets reset wallet-command --to beginning --dry-run",
        "wallet offsets reset order-request --to end --partition 3 --partition 4",
        "wallet offsets reset wallet-command --to 1200 --partition 0 --yes",
    )
)
def reset(
    topic_: Annotated[
        str, typer.Argument(metavar="TOPIC", help=f"{' or '.join(INPUTS)}, without the prefix.")
    ],
    to: Annotated[
        str,
        typer.Option(metavar="PLACE", help="beginning, end, or an offset (with one --partition)."),
    ],
    partition: Annotated[
        list[int] | None,
        typer.Option(
            min=0, metavar="NUMBER", help="Default: all; several may be given.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be set.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Set the positions of an input topic. Every worker must be stopped.

    Going back moves no money: commands that were applied or refused come out once more, as
    duplicates under the same ce_id. What is not remembered is answered anew: queries, dead letters,
    and what the rate limit refused, which may be applied now. Going forward leaves records out for
    good: nobody answers them. The range between is kept, and `wallet verify` counts with it.

    It is also what settles a topic that was made anew, or a position outside its log.
    """
    _check_usage(topic_, to, partition, asks=not (dry_run or yes), as_json=as_json)
    found = place.both()
    check_migrations(pending(found.database_url))
    settings = found.settings
    with connect(found.database_url, application_name="wallet-offsets") as connection:
        states = _chosen(settings, connection, topic_, partition)
        resets = [_reset(state, _target(state, to)) for state in states]
        resets = [reset for reset, state in zip(resets, states, strict=True) if _sets(reset, state)]
        if not as_json:
            _print_plan(resets)
        if resets and not dry_run:
            _check_stopped(settings, connection)
            if not yes:
                typer.confirm("Set these positions?", abort=True, err=True)
                _check_stopped(settings, connection)
            _apply(settings, connection, resets)
    if as_json:
        print_json({"dry_run": dry_run, "resets": [_plan_object(reset) for reset in resets]})
    elif not resets:
        say("All positions are there already.")
    elif dry_run:
        say("Nothing was changed (--dry-run).")


def _check_usage(
    topic_: str, to: str, partition: Sequence[int] | None, *, asks: bool, as_json: bool
) -> None:
    if topic_ not in INPUTS:
        raise UsageError(f"TOPIC is one of {', '.join(INPUTS)}, not {topic_!r}")
    if to not in {"beginning", "end"}:
        if not (to.isascii() and to.isdigit() and len(to) < 19):
            raise UsageError(f"--to is beginning, end or an offset, not {to!r}")
        if len(partition or ()) != 1:
            raise UsageError("an offset is one partition's: name it by --partition")
    if as_json and asks:
        raise UsageError("--json asks nothing: add --yes or --dry-run")


def _chosen(
    settings: Settings, connection: Connection, topic_: str, partitions: Sequence[int] | None
) -> list[PartitionState]:
    real = Topics(settings.topic_prefix).real(topic_)
    states = {s.partition: s for s in partition_states(settings, connection) if s.topic == real}
    unknown = [number for number in partitions or () if number not in states]
    if unknown:
        raise VerbError(f"{real} has no partition {unknown[0]}; it has {len(states)}, from 0 on")
    return [states[number] for number in sorted(set(partitions or states))]


def _target(state: PartitionState, to: str) -> int:
    if to in {"beginning", "end"}:
        return state.low if to == "beginning" else state.high
    if not state.low <= int(to) <= state.high:
        raise VerbError(
            f"{state.topic}/{state.partition} goes from {state.low} to {state.high}: "
            f"{to} is outside"
        )
    return int(to)


def _reset(state: PartitionState, target: int) -> Reset:
    position = state.position
    return Reset(
        state.topic,
        state.partition,
        None if position is None else position.topic_id,
        state.topic_id,
        state.next_offset,
        target,
        0 if position is None else position.epoch,
    )


def _sets(reset: Reset, state: PartitionState) -> bool:
    return state.is_made_anew or reset.from_offset != reset.to_offset


def _check_stopped(settings: Settings, connection: Connection) -> None:
    """Raises VerbError while a worker is there, in the group or in the database."""
    group_id = Topics(settings.topic_prefix).group_id
    state = group_state(topic.admin_client(settings), group_id)
    if state not in {None, "EMPTY", "DEAD"}:
        raise VerbError(
            f"the group {group_id} has live members ({state}): stop every worker first. One that "
            "was killed leaves the group after its session timeout"
        )
    count = count_workers(connection)
    if count:
        raise VerbError(
            f"{count} session(s) of workers are still in the database: stop every worker first"
        )


def _apply(settings: Settings, connection: Connection, resets: Sequence[Reset]) -> None:
    try:
        reset_positions(connection, resets)
    except PositionMovedError as error:
        raise VerbError(str(error)) from error
    offsets = [((reset.topic, reset.partition), reset.to_offset) for reset in resets]
    group_id = Topics(settings.topic_prefix).group_id
    try:
        copy_to_kafka(topic.admin_client(settings), group_id, offsets)
    except KafkaException as error:
        say(f"Set; Kafka's copy follows when a worker starts ({error.args[0].str()}).")
    else:
        say(f"Set {len(resets)} position(s).")


def _print_plan(resets: Sequence[Reset]) -> None:
    if not resets:
        return
    figures = ("Part", "Is", "Will be")
    rows = table("Topic", *figures, "Offsets", right=figures)
    for reset in resets:
        rows.add_row(
            reset.topic,
            str(reset.partition),
            str(reset.from_offset),
            str(reset.to_offset),
            _meaning(reset),
        )
    console().print(rows)


def _meaning(reset: Reset) -> str:
    if reset.old_topic_id not in {None, reset.topic_id}:
        return "another topic's now: read from there"
    distance = reset.to_offset - reset.from_offset
    return f"{distance:,} never read" if distance > 0 else f"{-distance:,} read once more"


def _plan_object(reset: Reset) -> dict[str, Any]:
    return {
        "topic": reset.topic,
        "partition": reset.partition,
        "from_offset": reset.from_offset,
        "to_offset": reset.to_offset,
        "topic_made_anew": reset.old_topic_id not in {None, reset.topic_id},
    }


def _kept_object(kept: KeptReset) -> dict[str, Any]:
    return {
        "topic": kept.topic,
        "partition": kept.partition,
        "from_offset": kept.from_offset,
        "to_offset": kept.to_offset,
        "topic_made_anew": kept.old_topic_id not in {None, kept.new_topic_id},
        "reset_by": kept.reset_by,
        "reset_at": format_moment(kept.reset_at),
    }


def _print_kept(resets: Sequence[KeptReset]) -> None:
    figures = ("Part", "From", "To")
    rows = table("Reset", "Topic", *figures, "By", right=figures)
    for kept in resets:
        rows.add_row(
            f"{kept.reset_at:%Y-%m-%d %H:%M:%S}",
            kept.topic,
            str(kept.partition),
            str(kept.from_offset),
            str(kept.to_offset),
            kept.reset_by,
        )
    console().print(rows)
