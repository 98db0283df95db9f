"""The operator's own units, in the table that the workers read them from."""

from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from ledger.currency import check_own_unit
from ledger.statement import statements

_SQL = statements("unit.sql")


class Unit(NamedTuple):
    """A unit of the operator's: its code, its number of decimals, and when it was added."""

    code: str
    scale: int
    created_at: datetime


def own_units(connection: Connection) -> list[Unit]:
    """All units of the operator's, by code. Raises psycopg.Error."""
    return [Unit._make(row) for row in connection.execute(_SQL["units"]).fetchall()]


def own_scales(connection: Connection) -> dict[str, int]:
    """The number of decimals of each of them, by code. Raises psycopg.Error."""
    return {unit.code: unit.scale for unit in own_units(connection)}


def add_unit(connection: Connection, code: str, scale: int) -> bool:
    """Add a unit for good; False where it is there already, with whatever scale.

    Raises CurrencyError where there can be no such unit, psycopg.Error.
    """
    check_own_unit(code, scale)
    return connection.execute(_SQL["add"], (code, scale)).rowcount == 1
