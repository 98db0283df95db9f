"""Positions as an operator sees them, and setting them by hand while no worker runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from ledger.statement import statements

_SQL = statements("reset.sql")


class StoredPosition(NamedTuple):
    """A partition's position as it stands. `topic_id` is the topic's that it was kept for."""

    topic: str
    partition: int
    topic_id: str
    first_offset: int
    next_offset: int
    epoch: int
    updated_at: datetime


class Reset(NamedTuple):
    """One position to be set. `epoch` and `from_offset` are what was seen when it was decided.

    Without a position `epoch` is 0, `old_topic_id` None, and `from_offset` the log's start.
    """

    topic: str
    partition: int
    old_topic_id: str | None
    topic_id: str
    from_offset: int
    to_offset: int
    epoch: int


class KeptReset(NamedTuple):
    """A position that was set: the range between, by whom and when."""

    topic: str
    partition: int
    old_topic_id: str | None
    new_topic_id: str
    from_offset: int
    to_offset: int
    reset_by: str
    reset_at: datetime


class PositionMovedError(Exception):
    """A position is no longer where it was when the reset was decided: somebody works."""


def stored_positions(connection: Connection) -> dict[tuple[str, int], StoredPosition]:
    """Every position by topic and partition. Raises psycopg.Error."""
    rows = connection.execute(_SQL["positions"]).fetchall()
    return {(row[0], row[1]): StoredPosition._make(row) for row in rows}


def count_workers(connection: Connection) -> int:
    """How many workers have a session in this database. Raises psycopg.Error."""
    [row] = connection.execute(_SQL["workers"]).fetchall()
    return int(row[0])


def reset_positions(connection: Connection, resets: Sequence[Reset]) -> None:
    """Set the positions and keep the ranges, all of them or none, in one transaction.

    Whoever had these partitions is fenced. Raises PositionMovedError, psycopg.Error.
    """
    with connection.transaction():
        for reset in sorted(resets):
            if connection.execute(_SQL["reset"], reset._asdict()).rowcount != 1:
                raise PositionMovedError(
                    f"the position of {reset.topic}/{reset.partition} moved meanwhile: a worker "
                    "runs. Nothing was changed"
                )
            connection.execute(_SQL["keep"], reset._asdict())


def kept_resets(connection: Connection, limit: int) -> list[KeptReset]:
    """The newest resets, newest first. Raises psycopg.Error."""
    rows = connection.execute(_SQL["resets"], {"limit": limit}).fetchall()
    return [KeptReset._make(row) for row in rows]
