"""Named SQL statements, read once from ledger/sql/*.sql, and rows as their parameters."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statements(file_name: str) -> dict[str, bytes]:
    """The statements of one file by name; `-- name: lock_accounts` opens one.

    As bytes, which psycopg takes as they are. Raises ValueError for a name used twice.
    """
    parts = _NAME.split((_DIRECTORY / file_name).read_text(encoding="utf-8"))
    names = parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{file_name}: a statement's name is used twice")
    return {name: text.strip().encode() for name, text in zip(names, parts[2::2], strict=True)}


def columns(rows: Iterable[Sequence[Any]], width: int) -> list[str | list[Any]]:
    """Rows as one array per column, `width` of them even where there are no rows."""
    listed = list(rows)
    return [_array(list(map(itemgetter(i), listed))) for i in range(width)]


def _array(values: list[Any]) -> str | list[Any]:
    """A column as one array literal where it is plain texts or integers, else as it is.

    psycopg looks at every element of a list: 8 % of a worker's time, where this is one join.
    """
    kinds = set(map(type, values))
    if kinds == {int}:
        return "{" + ",".join(map(str, values)) + "}"
    if kinds == {str}:
        joined = '","'.join(values)
        if "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
            return '{"' + joined + '"}'
    return values
