"""`wallet lag`: how far the workers are behind."""

from typing import Annotated, Any

import typer

from ledger.database import connect
from ledger.migration import pending
from ops.cli import place
from ops.cli.screen import console, print_json, say, table
from ops.cli.verb import Json, examples, single
from ops.offset import PartitionState, partition_states
from ops.readiness import check_migrations
from schemas.moment import format_moment

_EPILOG = examples("wallet lag", "wallet lag --partitions", "wallet lag --json --max 1000")


def _lag(
    partitions: Annotated[
        bool, typer.Option("--partitions", help="A row per partition, not per topic.")
    ] = False,
    max_: Annotated[
        int | None,
        typer.Option(
            "--max",
            min=0,
            metavar="COUNT",
            help="Exit 1 where a topic's lag is above this.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how many offsets lie between the workers' positions and the end of each input topic.

    The position is PostgreSQL's, the truth. Markers of upstream transactions are offsets, too;
    where nothing else is left, the lag is 0, though Kafka's own tools show 1 until the next
    record. Exit 1 where a topic is stopped, because its position is outside its log or it was made
    anew.
    """
    found = place.both()
    check_migrations(pending(found.database_url))
    with connect(found.database_url, application_name="wallet-lag") as connection:
        states = partition_states(found.settings, connection)
    totals: dict[str, int] = {}
    for state in states:
        totals[state.topic] = totals.get(state.topic, 0) + state.lag
    if as_json:
        print_json({"lag": totals, "partitions": [state_object(state) for state in states]})
    elif partitions:
        print_states(states)
    else:
        rows = table("Topic", "Partitions", "Lag", right=("Partitions", "Lag"))
        for topic, lag in totals.items():
            rows.add_row(topic, str(sum(s.topic == topic for s in states)), f"{lag:,}")
        console().print(rows)
        print_troubles(states)
    stopped = any(state.trouble is not None for state in states)
    if stopped or (max_ is not None and max(totals.values()) > max_):
        raise typer.Exit(1)


def state_object(state: PartitionState) -> dict[str, Any]:
    """A partition as `wallet lag` and `wallet offsets show` print it with --json."""
    position = state.position
    return {
        "topic": state.topic,
        "partition": state.partition,
        "first_offset": state.low,
        "end_offset": state.high,
        "position": None if position is None else position.next_offset,
        "lag": state.lag,
        "kafka_offset": state.kafka_offset,
        "epoch": None if position is None else position.epoch,
        "updated_at": None if position is None else format_moment(position.updated_at),
        "trouble": state.trouble,
    }


def print_states(states: list[PartitionState]) -> None:
    """A row per partition: the log, the position, the copy that Kafka's own tools show."""
    figures = ("Part", "First", "End", "Position", "Lag", "In Kafka")
    rows = table("Topic", *figures, "Changed", right=figures)
    for state in states:
        position = state.position
        rows.add_row(
            state.topic,
            str(state.partition),
            str(state.low),
            str(state.high),
            "none" if position is None else str(position.next_offset),
            f"{state.lag:,}",
            "none" if state.kafka_offset is None else str(state.kafka_offset),
            "" if position is None else f"{position.updated_at:%m-%d %H:%M:%S}",
        )
    console().print(rows)
    print_troubles(states)


def print_troubles(states: list[PartitionState]) -> None:
    """A line on stderr for each partition that no worker reads."""
    for state in states:
        if state.trouble is not None:
            say(
                f"{state.topic}/{state.partition}: {state.trouble}, nothing of it is read; "
                "`wallet offsets reset` decides."
            )


application = single(_lag, _EPILOG, "lag")
