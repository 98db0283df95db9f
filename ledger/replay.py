"""The list of dead letters that were sent again."""

from collections.abc import Iterable
from typing import NamedTuple

from psycopg import Connection

from ledger.statement import statements

_SQL = statements("replay.sql")


class Replay(NamedTuple):
    """One dead letter by its place, and the place of the input that it became again."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    input_topic: str
    input_partition: int
    input_offset: int


def replayed(connection: Connection, topic: str, topic_id: str) -> set[tuple[int, int]]:
    """Partition and offset of each letter of the topic that was sent again; psycopg.Error."""
    found = connection.execute(_SQL["replayed"], {"topic": topic, "topic_id": topic_id})
    return {(row[0], row[1]) for row in found.fetchall()}


def keep_replays(connection: Connection, replays: Iterable[Replay]) -> None:
    """Note that letters were sent again, all of them or none. Raises psycopg.Error."""
    with connection.transaction():
        for replay in replays:
            connection.execute(_SQL["keep"], replay._asdict())
