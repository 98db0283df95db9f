"""PostgreSQL's time by statement, from pg_stat_statements, under the names of our .sql files."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection

from ledger import statement

# What says so in its text belongs to the measuring, not to what is measured.
_USED = """
SELECT /* uncounted */ query, calls, total_exec_time, rows, shared_blks_read, wal_bytes
FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
WHERE d.datname = current_database() AND query IS NOT NULL AND strpos(query, '/* uncounted */') = 0
"""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
# What pg_stat_statements shows as $1, however it was written: constants and parameters.
_VALUE = re.compile(
    r"%(?:\(\w+\))?[sb]|\$\d+|\be'[^']*'|'[^']*'|\b\d+(?:\.\d+)?\b|\b(?:true|false)\b"
    r"|(?<!\bis )(?<!\bnot )\bnull\b",
    re.IGNORECASE,
)
_SHOWN_LENGTH = 60


class Use(NamedTuple):
    """How often a statement ran, its time in the server, its rows, and what it read and logged."""

    calls: float
    seconds: float
    rows: float
    blocks_read: float
    wal_bytes: float

    def __sub__(self, other: "Use") -> "Use":
        return Use(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def per(self, count: float) -> "Use":
        """The share of one of `count`."""
        return Use(*(value / count for value in self))


_NONE = Use(0, 0, 0, 0, 0)
# By statement: its name, or how it begins where it has none.
Uses = dict[str, Use]


class Statements:
    """Reads what each statement has used so far. `left_out` says why there is nothing, if so."""

    def __init__(self, session: Connection[Any]) -> None:
        self._session = session
        self.left_out: str | None = None
        try:
            session.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            session.execute(_USED)
        except (
            psycopg.errors.InsufficientPrivilege,  # only a superuser can make it
            psycopg.errors.FeatureNotSupported,  # not installed on the server
            psycopg.errors.UndefinedFile,
            psycopg.errors.ObjectNotInPrerequisiteState,  # not in shared_preload_libraries
        ) as error:
            why = error.diag.message_primary or str(error)
            self.left_out = f"PostgreSQL by statement: {why}"

    def read(self) -> Uses:
        """By statement, since the server began to count; nothing where it can't be read."""
        if self.left_out is not None:
            return {}
        uses: Uses = {}
        for query, calls, ms, rows, blocks, wal_bytes in self._session.execute(_USED):
            use = Use(calls, ms / 1000, rows, blocks, float(wal_bytes))
            name = name_of(query)
            so_far = uses.get(name, _NONE)
            uses[name] = Use(*(a + b for a, b in zip(so_far, use, strict=True)))
        return uses


def used_between(before: Uses, after: Uses) -> Uses:
    """What each statement that ran between two readings used, most of the time first."""
    used = {name: use - before.get(name, _NONE) for name, use in after.items()}
    ran = [(name, use) for name, use in used.items() if use.calls > 0]
    return dict(sorted(ran, key=lambda item: -item[1].seconds))


def together(parts: Iterable[Uses]) -> Uses:
    """The sum by statement, most of the time first."""
    summed: Uses = {}
    for uses in parts:
        for name, use in uses.items():
            so_far = summed.get(name, _NONE)
            summed[name] = Use(*(a + b for a, b in zip(so_far, use, strict=True)))
    return dict(sorted(summed.items(), key=lambda item: -item[1].seconds))


def name_of(query: str) -> str:
    """`batch.lock_accounts` for a statement of our files; of any other its beginning."""
    name = _names().get(_shape(query))
    if name is not None:
        return name
    shown = " ".join(_COMMENT.sub(" ", query).split())
    return shown if len(shown) <= _SHOWN_LENGTH else shown[: _SHOWN_LENGTH - 1] + "…"


@cache
def _names() -> dict[str, str]:
    folder = Path(statement.__file__).parent / "sql"
    return {
        _shape(text.decode()): f"{file.stem}.{name}"
        for file in sorted(folder.glob("*.sql"))
        for name, text in statement.statements(file.name).items()
    }


def _shape(query: str) -> str:
    """The statement without comments, values and line ends, as the server's text and ours agree."""
    words = " ".join(_COMMENT.sub(" ", query).split()).lower()
    return _VALUE.sub("?", words).rstrip("; ")
