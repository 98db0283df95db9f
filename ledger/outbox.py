"""The relay's one session with the outbox: on it, and nowhere else, it locks, reads and deletes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias, cast

from psycopg import Connection, Cursor, errors

from ledger.database import connect
from ledger.parcel import OutboxRecord, unpack
from ledger.statement import statements
from ledger.unit import own_scales

_SQL = statements("outbox.sql")

# The first half of the advisory lock's key, any constant; the second half is the part's number.
_LOCK = 0x6F757462

# How long a session may be silent. 3 s flaps when the broker is slow.
_IDLE_MAX_S = 10
# Past the idle session's own end: whoever is silent longer is stuck in a statement.
_SILENCE_MAX_S = 11

_SESSION_SETTINGS = {
    "idle_session_timeout": f"{_IDLE_MAX_S}s",
    "idle_in_transaction_session_timeout": f"{_IDLE_MAX_S}s",
    # The two reads follow their primary keys, whatever the statistics of an empty table say.
    "enable_bitmapscan": "off",
}


class PendingRow(NamedTuple):
    """A row of the outbox: its records, in order, and when they were decided."""

    id: int
    records: Sequence[OutboxRecord]
    created_at: datetime


# client_id, currency, kind, balance in minor units, status, version, updated_at: an account as it
# stood in the snapshot the rows were read in.
AccountRow: TypeAlias = tuple[str, str, str, int, str, int, datetime]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows by id, and all accounts of the clients whose money they moved, sorted by client."""

    rows: Sequence[PendingRow]
    accounts: Sequence[AccountRow]

    @property
    def ids(self) -> list[int]:
        """The rows' ids, ascending."""
        return [row.id for row in self.rows]

    @property
    def record_count(self) -> int:
        """How many records the rows hold together."""
        return sum(len(row.records) for row in self.rows)


class StuckOwner(NamedTuple):
    """A session that held the part's lock without a sign of life, and what it was doing."""

    pid: int
    state: str | None


class Outbox:
    """One session. Whoever is frozen or cut off loses it, and the lock with it, within about 10 s.

    All methods block for a statement's length and raise psycopg.Error; the session is to be closed
    then.
    """

    def __init__(self, database_url: str, *, part: int, part_count: int) -> None:
        self.part = part
        self._part_count = part_count
        self._seen = ""  # the snapshot of the last read
        self._connection: Connection = connect(
            database_url, application_name=f"wallet-relay-{part}"
        )
        try:
            for name, value in _SESSION_SETTINGS.items():
                self._connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            self._cursor: Cursor = self._connection.cursor(binary=True)
        except BaseException:
            self._connection.close()
            raise

    def try_lock(self) -> bool:
        """Take the part's lock unless another session has it. Held until this session ends."""
        row = self._cursor.execute(_SQL["lock_part"], {"lock": _LOCK, "part": self.part}).fetchone()
        return row is not None and bool(row[0])

    def end_stuck_owner(self) -> StuckOwner | None:
        """End the session that holds the lock if it was silent for too long; None if it was not.

        As the login, not as the runtime role: a session may see and end those of its own login.
        Raises InsufficientPrivilege where the owner has another login.
        """
        with self._connection.transaction():
            self._connection.execute("SET LOCAL ROLE NONE")
            row = self._cursor.execute(
                _SQL["end_stuck_owner"],
                {"lock": _LOCK, "part": self.part, "silence_s": _SILENCE_MAX_S},
            ).fetchone()
        return None if row is None else StuckOwner(row[0], row[1])

    def has_news(self) -> bool:
        """Whether anything was committed since the last `read`; cheap, for while that was empty."""
        return self._snapshot() != self._seen

    def read(self, *, records_max: int, bytes_max: int) -> Batch:
        """The oldest rows of the part, and the accounts of their clients, both in one snapshot.

        At most `records_max` records of about `bytes_max` together; a row that is larger comes
        alone.
        """
        bounds = {"part": self.part, "part_count": self._part_count}
        bounds |= {"records_max": records_max, "bytes_max": bytes_max}
        with self._connection.pipeline():
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = self._connection.execute(_SQL["snapshot"], prepare=True)
            found = self._cursor.execute(_SQL["read_rows"], bounds).fetchall()
            rows = [PendingRow(row_id, unpack(packed), at) for row_id, packed, at in found]
            accounts = self._read_accounts(_moved_clients(rows))
            self._connection.execute("COMMIT")
        self._seen = _only(snapshot)
        return Batch(rows, accounts)

    def read_event_ids(self, ids: Sequence[int]) -> dict[int, list[str]]:
        """The `ce_id`s of each of these rows that is still there, by the row's id."""
        found = self._cursor.execute(_SQL["read_by_ids"], {"ids": list(ids)})
        return {row_id: event_ids(unpack(packed)) for row_id, packed in found}

    def find_event_ids(self, wanted: Collection[str]) -> set[str]:
        """Those of these `ce_id`s that rows of the part have. Reads the whole outbox."""
        bounds = {"part": self.part, "part_count": self._part_count}
        with self._connection.transaction(), self._connection.cursor("outbox", binary=True) as rows:
            rows.execute(_SQL["read_part"], bounds)
            return {i for (packed,) in rows for i in event_ids(unpack(packed)) if i in wanted}

    def delete(self, ids: Sequence[int]) -> int:
        """Delete the rows with exactly these ids and return how many there were; durable then."""
        return self._cursor.execute(_SQL["delete_rows"], {"ids": list(ids)}).rowcount

    def read_own_units(self) -> dict[str, int]:
        """The operator's own units: code -> number of decimals."""
        return own_scales(self._connection)

    def close(self) -> None:
        """End the session; the lock is free then."""
        with suppress(errors.Error):  # it may be gone, which is what is wanted
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _snapshot(self) -> str:
        return _only(self._connection.execute(_SQL["snapshot"], prepare=True))

    def _read_accounts(self, client_ids: list[str]) -> list[AccountRow]:
        if not client_ids:
            return []
        found = self._cursor.execute(_SQL["read_accounts"], {"client_ids": client_ids})
        return cast(list[AccountRow], found.fetchall())


def event_ids(records: Iterable[OutboxRecord]) -> list[str]:
    """The records' `ce_id`s."""
    return [record.event_id for record in records]


def _moved_clients(rows: Sequence[PendingRow]) -> list[str]:
    keys = {record.key for row in rows for record in row.records if record.moved}
    return [key.decode() for key in keys if key is not None]


def _only(cursor: Cursor) -> str:
    [(value,)] = cursor.fetchall()
    return str(value)
