"""What can be seen of a database's settings, rights and sessions: facts, without a judgement."""

from datetime import datetime
from typing import Any

from psycopg import Connection

from ledger.statement import statements

_SQL = statements("inspection.sql")


def rows(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    """What the named statement of inspection.sql gives. Raises KeyError, psycopg.Error."""
    return connection.execute(_SQL[name]).fetchall()


def settings(connection: Connection) -> dict[str, str]:
    """The server's settings as this session has them. Raises psycopg.Error."""
    return dict(rows(connection, "settings"))


def clock(connection: Connection) -> datetime:
    """The server's clock. Raises psycopg.Error."""
    now: datetime
    [(now,)] = rows(connection, "clock")
    return now
