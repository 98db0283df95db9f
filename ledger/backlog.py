"""What waits in the outbox, and which relays are there for it; read without disturbing them."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from ledger.parcel import unpack
from ledger.statement import statements

_SQL = statements("backlog.sql")


@dataclass(slots=True)
class Waiting:
    """Records of one topic that are still to be published, its name without the prefix; the bytes
    of their values.
    """

    topic: str
    records: int
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
    def records(self) -> int:
        """How many records wait, for all topics."""
        return sum(each.records for each in self.waiting)

    @property
    def oldest_s(self) -> float:
        """How long the oldest record has waited, 0 where none does."""
        return max((each.oldest_s for each in self.waiting), default=0.0)


def read_backlog(connection: Connection) -> Backlog:
    """The outbox as it stands. Reads all of it: a million records in some seconds.

    Raises psycopg.Error.
    """
    waiting = _waiting(connection)
    relays = [RelaySession._make(row) for row in connection.execute(_SQL["relays"]).fetchall()]
    [(size, dead, vacuumed_at)] = connection.execute(_SQL["table"]).fetchall()
    return Backlog(waiting, relays, size, dead, vacuumed_at)


def _waiting(connection: Connection) -> list[Waiting]:
    topics: dict[str, Waiting] = {}
    with connection.transaction(), connection.cursor("backlog", binary=True) as rows:
        for packed, at, age_s in rows.execute(_SQL["rows"]):
            for record in unpack(packed):
                topic = topics.setdefault(record.topic, Waiting(record.topic, 0, 0, at, age_s))
                topic.records += 1
                topic.bytes += len(record.value or b"")
                topic.oldest_at = min(topic.oldest_at, at)
                topic.oldest_s = max(topic.oldest_s, age_s)
    return [topics[name] for name in sorted(topics)]


def read_figures(connection: Connection) -> tuple[int, float]:
    """How many records wait (counted in up to 100,000 rows) and for how many seconds the first has.

    Raises psycopg.Error.
    """
    [(pending, oldest_s)] = connection.execute(_SQL["figures"]).fetchall()
    return int(pending), float(oldest_s)
