"""The consumer's position per partition: claimed under an epoch, moved with the batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from ledger.statement import columns, statements

_SQL = statements("position.sql")

# move_positions() raises it: a position is no longer where, or whose, we think.
FENCED_SQLSTATE = "WF001"


class Claim(NamedTuple):
    """A partition to take: the topic's id on the broker, and its first offset for a new row."""

    topic: str
    partition: int
    topic_id: str
    low_offset: int


@dataclass(slots=True)
class Position:
    """A partition that is ours as long as its epoch stands in the table.

    `takings` counts how often it was taken without a commit since: from three on, something in it
    may be killing the process.
    """

    topic: str
    partition: int
    next_offset: int
    epoch: int
    takings: int


class Move(NamedTuple):
    """How far a batch moves a position, and what the offsets between were."""

    position: Position
    next_offset: int
    results: int
    duplicates: int
    queries: int
    dead_letters: int
    skipped: int


def claim(connection: Connection, claims: Sequence[Claim]) -> list[Position]:
    """Take partitions under a new epoch; in one transaction, in sorted order.

    A partition whose topic was made anew (another topic id) is left out. Raises psycopg.Error.
    """
    rows = connection.execute(_SQL["claim"], columns(sorted(claims), 4)).fetchall()
    return [Position(*row) for row in rows]


def release(connection: Connection, positions: Iterable[Position]) -> None:
    """Give partitions back after a clean end. Raises psycopg.Error."""
    rows = sorted((p.topic, p.partition, p.epoch) for p in positions)
    if rows:
        connection.execute(_SQL["release"], columns(rows, 3))


def begin_trial(connection: Connection, position: Position, offset: int) -> int | None:
    """Count a try of the record at `offset` alone; gives how many it makes, None when fenced."""
    parameters = (offset, offset, position.topic, position.partition, position.epoch)
    row = connection.execute(_SQL["begin_trial"], parameters).fetchone()
    return None if row is None else int(row[0])


def move(connection: Connection, moves: Sequence[Move], moved_at: datetime) -> None:
    """Queue the guarded move of positions inside the batch's transaction.

    The server raises FENCED_SQLSTATE where one of them is no longer ours. The positions in memory
    are the caller's to advance, once the commit has succeeded.
    """
    rows = sorted(
        (
            m.position.topic, m.position.partition, m.position.next_offset, m.position.epoch,
            m.next_offset, m.results, m.duplicates, m.queries, m.dead_letters, m.skipped,
        )
        for m in moves
    )  # fmt: skip
    connection.execute(_SQL["move"], [*columns(rows, 10), moved_at], prepare=True)


def read(connection: Connection) -> dict[tuple[str, int], tuple[int, int]]:
    """Every partition's next offset and epoch as they stand. Raises psycopg.Error."""
    rows = connection.execute(_SQL["positions"]).fetchall()
    return {(topic, partition): (offset, epoch) for topic, partition, offset, epoch in rows}
