"""Named SQL statements: read once from ledger/sql/*.sql, where each stands under its name."""

import re
from functools import cache
from pathlib import Path

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
