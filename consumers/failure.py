"""Whose fault an exception is: a record's, another batch's, the surroundings', or a loss."""

import traceback
from enum import Enum, auto
from pathlib import Path

import psycopg

from ledger.position import FENCED_SQLSTATE


class Fault(Enum):
    """What to do about a batch that failed."""

    FENCED = auto()  # a partition is another's: forget its records
    AGAIN = auto()  # another batch was first; the second look finds its rows
    RECORD = auto()  # our code, or the database, can't take one of the records: find it
    SURROUNDINGS = auto()  # Postgres is away or unwell: wait, then the same batch


_FRAMES_MAX = 6

# Deadlock, serialization failure, and a row that another batch inserted at the same moment.
_AGAIN = frozenset({"40P01", "40001", "23505"})
# Data exceptions and broken constraints are the only classes that one record's content can cause.
_RECORD_CLASSES = frozenset({"22", "23"})


class WorkerStoppedError(Exception):
    """The worker can't go on by itself; the text says why and what to do."""


def place_of(error: BaseException) -> str:
    """Where an exception was raised, innermost first, without its text: that may quote a record."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))


def fault_of(error: Exception) -> Fault:
    """Judge an exception by its SQLSTATE; one without a database's error is our own code's."""
    if not isinstance(error, psycopg.Error):
        return Fault.RECORD
    state = error.sqlstate
    if state == FENCED_SQLSTATE:
        return Fault.FENCED
    if state in _AGAIN:
        return Fault.AGAIN
    if state is not None and state[:2] in _RECORD_CLASSES:
        return Fault.RECORD
    if state is None and isinstance(error, psycopg.DataError):
        return Fault.RECORD  # psycopg itself could not write the value, such as a NUL in a text
    return Fault.SURROUNDINGS
