"""What waits in the outbox, and which relays are there for it; read without disturbing them."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from ledger.statement import statements

_SQL = statements("backlog.sql")


class Waiting(NamedTuple):
    """Rows of one topic that are still to be published, its name without the prefix."""

    topic: str
    rows: int
    bytes: int
    oldest_at: datetime
    oldest_s: float


class RelaySession(NamedTuple):
    """A relay's session: the owner of its part, or one that stands by (or is taking over)."""

    part: int
    pid: int
    is_owner: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """The outbox at one moment. The table's size includes what vacuum has yet to clean."""

    waiting: list[Waiting]
    relays: list[RelaySession]
    table_bytes: int
    dead_rows: int
    vacuumed_at: datetime | None

    @property
    def rows(self) -> int:
        """How many rows wait, of all topics."""
        return sum(each.rows for each in self.waiting)

    @property
    def oldest_s(self) -> float:
        """How long the oldest row has waited, 0 where none does."""
        return max((each.oldest_s for each in self.waiting), default=0.0)


def read_backlog(connection: Connection) -> Backlog:
    """The outbox as it stands. Reads all of it: a second per million rows. Raises psycopg.Error."""
    waiting = [Waiting._make(row) for row in connection.execute(_SQL["by_topic"]).fetchall()]
    relays = [RelaySession._make(row) for row in connection.execute(_SQL["relays"]).fetchall()]
    [(size, dead, vacuumed_at)] = connection.execute(_SQL["table"]).fetchall()
    return Backlog(waiting, relays, size, dead, vacuumed_at)


def read_figures(connection: Connection) -> tuple[int, float]:
    """How many rows wait (counted up to a million) and for how many seconds the first has.

    Raises psycopg.Error.
    """
    [(pending, oldest_s)] = connection.execute(_SQL["figures"]).fetchall()
    return int(pending), float(oldest_s)
