"""The relay's one session with the outbox: on it, and nowhere else, it locks, reads and deletes."""

from __future__ import annotations

import time
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

# How often a read is not trusted to begin at the floor.
_READ_ALL_S = 5.0

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


@dataclass(slots=True)
class Floor:
    """The id up to which a part's rows are all gone and none will come, so reads begin behind it.

    A deleted row stays in the table and its index for as long as anybody's snapshot is older: after
    a report of ten minutes each read would walk over hundreds of thousands. Whoever writes has a
    transaction id before it takes a row's id (journal.load), so one that is not yet known to a
    snapshot takes higher ids than all that were seen by then; once a later snapshot knows of no
    other still running, what they wrote is seen, or never will be.
    """

    id: int = 0
    _seen_id: int = 0
    # The first transaction id that was not known when `_seen_id` was seen; 0: nothing to wait for.
    _xmax: int = 0

    def learn(self, snapshot: str, ids: Sequence[int]) -> None:
        """Take note of a read from the floor on, or of all: its `pg_current_snapshot()`, the rows'
        ids, rising.
        """
        xmin, xmax = map(int, snapshot.split(":")[:2])
        if self._xmax and xmin >= self._xmax:
            self.id = min(self._seen_id, ids[0] - 1) if ids else self._seen_id
            self._xmax = 0
        if ids and not self._xmax:
            self._seen_id, self._xmax = ids[-1], xmax


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
        self._floor = Floor()
        self._read_all_at_s = 0.0
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
        bounds = {"part": self.part, "part_count": self._part_count, "floor": self._floor.id}
        bounds |= {"records_max": records_max, "bytes_max": bytes_max}
        if (now_s := time.monotonic()) > self._read_all_at_s + _READ_ALL_S:
            bounds["floor"], self._read_all_at_s = 0, now_s
        with self._connection.pipeline():
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot = self._connection.execute(_SQL["snapshot"], prepare=True)
            found = self._cursor.execute(_SQL["read_rows"], bounds).fetchall()
            rows = [PendingRow(row_id, unpack(packed), at) for row_id, packed, at in found]
            client_lines = {"client_lines": _moved_clients(rows)}
            accounts = self._cursor.execute(_SQL["read_accounts"], client_lines)
            self._connection.execute("COMMIT")
        self._seen = _only(snapshot)
        batch = Batch(rows, cast(list[AccountRow], accounts.fetchall()))
        self._floor.learn(self._seen, batch.ids)
        return batch

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


def event_ids(records: Iterable[OutboxRecord]) -> list[str]:
    """The records' `ce_id`s."""
    return [record.event_id for record in records]


def _moved_clients(rows: Sequence[PendingRow]) -> str:
    """The ids of the clients whose money moved, a line each: no id has a line's end in it."""
    keys = {record.key for row in rows for record in row.records if record.moved}
    return b"\n".join(key for key in keys if key is not None).decode()


def _only(cursor: Cursor) -> str:
    [(value,)] = cursor.fetchall()
    return str(value)
