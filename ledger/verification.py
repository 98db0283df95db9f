"""The books' checks: balances, chains, movements and positions, while the workers go on.

How the verdict is consistent without one long snapshot, which would hold back vacuum:

- What concerns one client (its balances, chains, holds) is compared by one statement over a range
  of clients. A statement is one snapshot, and a batch commits an account together with its rows.
- What concerns one row of the journal is read by ranges of its pages. The journal only grows, so
  no row that was there at the start is missed.
- The total of a currency needs all accounts and the whole journal at one moment. The system
  accounts' sums are carried forward over the pages for the rows up to a settled id: none of them
  changes or appears any more, because the transactions that could still write one have been
  waited for. The last statement adds the rows after that id and all stored balances, in one
  snapshot.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NamedTuple

from psycopg import Connection

from ledger.statement import statements

_SQL = statements("verification.sql")

# Rows shown of a check that fails; all are counted.
FAULTS_SHOWN_MAX: Final = 20

# 8 MiB, about 30,000 rows: 30 ms a statement.
_PAGES_PER_CHUNK = 1024
_CLIENTS_FIRST_CHUNK = 100
_CLIENTS_PER_CHUNK_MAX = 20_000
# What a chunk of clients should take; where one client's history is longer than that, it is read
# in one statement all the same.
_CHUNK_S = 0.5
# Past what every process of ours is allowed for a transaction.
_SETTLE_TIMEOUT_S = 60.0

# Called with what is being read, how much is done and how much there is.
Progress = Callable[[str, int, int], None]


class UnsettledError(Exception):
    """A transaction that has taken journal ids stays open: some session hangs."""


class Check(NamedTuple):
    """A sentence that must hold, and the statements that examine it, by what they range over."""

    name: str
    sentence: str
    by_client: tuple[str, ...] = ()
    by_page: tuple[str, ...] = ()
    at_once: tuple[str, ...] = ()


CHECKS: Final = (
    Check(
        "balances",
        "Each client account's stored balance is the sum of its journal.",
        by_client=("balances",),
    ),
    Check(
        "totals",
        "Client balances and the system accounts' journal add up to zero in each currency.",
        at_once=("totals",),
    ),
    Check(
        "chains",
        "Each account's balances follow one another without a break, from zero on.",
        by_client=("chains",),
    ),
    Check(
        "movements",
        "Each movement changes the balances it shows by its amount, and names its accounts.",
        by_page=("movements",),
    ),
    Check("accounts", "Each movement's client accounts exist.", by_client=("accounts",)),
    Check(
        "negative",
        "No client account is negative, and none ever was.",
        by_client=("negative_accounts",),
        by_page=("negative_rows",),
    ),
    Check("holds", "Held money is the sum of the open holds.", by_client=("holds",)),
    Check(
        "escrow",
        "Money in escrow is that of pending orders, and of failed ones that keep it.",
        by_client=("escrow",),
    ),
    Check(
        "orders",
        "Each order's journal has its amount where its status says: escrow, revenue or the wallet.",
        by_client=("orders",),
    ),
    Check(
        "jobs",
        "Each pending order has a job for its fulfillment, and no other order has one.",
        by_client=("jobs",),
    ),
    Check(
        "refunds",
        "No more is refunded of a movement than it took.",
        by_client=("refunds",),
    ),
    Check(
        "sides",
        "No wallet counts more held and escrow accounts than it has.",
        by_client=("sides",),
    ),
    Check("versions", "Each wallet's version is 1 or more.", by_client=("versions",)),
    Check(
        "sources",
        "No outcome is kept of a record that its partition's position has yet to reach.",
        by_page=("sources",),
    ),
    Check(
        "positions",
        "Results, duplicates, queries, dead letters, skipped offsets and resets add up to each "
        "position.",
        at_once=("positions",),
    ),
)


@dataclass(slots=True)
class Finding:
    """What one check found: how many rows it examined, how many are at fault, and the first 20.

    `rows` has each row's columns by name, amounts in minor units.
    """

    name: str
    sentence: str
    examined: int = 0
    at_fault: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether no row is at fault."""
        return self.at_fault == 0


def verify(connection: Connection, progress: Progress | None = None) -> list[Finding]:
    """Check the books and give one finding per check, in the order of CHECKS.

    `connection` must be in autocommit, best made with `long_queries`; it only reads. Workers may
    go on meanwhile. Raises psycopg.Error, UnsettledError where a session hangs in a transaction
    that has taken journal ids, ValueError without autocommit.
    """
    if not connection.autocommit:
        raise ValueError("verify needs a connection in autocommit: its snapshots must be short")
    return _Verification(connection, progress or (lambda _what, _done, _total: None)).run()


class _Verification:
    def __init__(self, connection: Connection, progress: Progress) -> None:
        self._connection = connection
        self._progress = progress
        self._findings = {check.name: Finding(check.name, check.sentence) for check in CHECKS}

    def run(self) -> list[Finding]:
        settled_id = self._settled_id()
        system_sums = self._read_journal(settled_id)
        self._read_clients()
        parameters: dict[str, Any] = {"settled_id": settled_id}
        parameters["currencies"] = list(system_sums)
        parameters["amounts"] = list(system_sums.values())
        for check in CHECKS:
            self._examine(check, check.at_once, parameters)
        return list(self._findings.values())

    def _settled_id(self) -> int:
        """An id with no open transaction left that could still write it or a smaller one.

        Who took one of them before the first statement holds the sequence's lock in the second.
        """
        settled_id = int(self._value("last_id"))
        waited_for = set(self._column("id_holders"))
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        while waited_for:
            if time.monotonic() > deadline:
                raise UnsettledError(
                    f"a transaction with journal ids has been open for {_SETTLE_TIMEOUT_S:.0f} s: "
                    "see pg_locks for who holds transaction_ids"
                )
            time.sleep(0.02)
            waited_for &= set(self._column("id_holders"))
        return settled_id

    def _read_journal(self, settled_id: int) -> dict[str, Decimal]:
        """Examine row by row; gives the system accounts' sums up to `settled_id` by currency."""
        sums: dict[str, Decimal] = {}
        page_count = int(self._value("page_count"))
        self._progress("journal pages", 0, page_count)
        for first in range(0, page_count, _PAGES_PER_CHUNK):
            end = first + _PAGES_PER_CHUNK
            parameters = {
                "first_page": f"({first},0)",
                "end_page": f"({end},0)",
                "settled_id": settled_id,
            }
            for check in CHECKS:
                self._examine(check, check.by_page, parameters)
            for currency, amount in self._rows("system_sums", parameters):
                sums[currency] = sums.get(currency, Decimal(0)) + amount
            self._progress("journal pages", min(end, page_count), page_count)
        return sums

    def _read_clients(self) -> None:
        for parameters in self._client_ranges():
            for check in CHECKS:
                self._examine(check, check.by_client, parameters)

    def _client_ranges(self) -> Iterator[dict[str, Any]]:
        """Ranges that cover every client id there may be, longer as long as they are quick."""
        total, done, size = int(self._value("client_count")), 0, _CLIENTS_FIRST_CHUNK
        after: str | None = ""
        while after is not None:
            self._progress("clients", done, max(done, total))
            started = time.monotonic()
            bounds = {"after": after, "client_count": size}
            [(last, count)] = self._rows("client_range", bounds)
            # The last range is open: refused commands of unknown clients lie beyond the clients.
            up_to = last if count == size else None
            yield {"after": after, "up_to": up_to}
            after, done = up_to, done + count
            if time.monotonic() - started < _CHUNK_S / 2:
                size = min(size * 2, _CLIENTS_PER_CHUNK_MAX)
            elif time.monotonic() - started > _CHUNK_S:
                size = max(size // 2, 1)
        self._progress("clients", done, done)

    def _examine(self, check: Check, names: tuple[str, ...], parameters: dict[str, Any]) -> None:
        """Run the check's statements over one range and add what they show to its finding."""
        finding = self._findings[check.name]
        for name in names:
            statement = _EXAMINE % {b"statement": _SQL[name], b"shown": FAULTS_SHOWN_MAX}
            [(examined, at_fault, rows)] = self._run(statement, parameters)
            finding.examined += examined
            finding.at_fault += at_fault
            finding.rows += (rows or [])[: FAULTS_SHOWN_MAX - len(finding.rows)]

    def _value(self, name: str) -> Any:
        return self._column(name)[0]

    def _column(self, name: str) -> list[Any]:
        return [row[0] for row in self._rows(name, {})]

    def _rows(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._run(_SQL[name], parameters)

    def _run(self, statement: bytes, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        # Never prepared: the plan is to be made for this range, where `up_to` is null or is not.
        return self._connection.execute(statement, parameters, prepare=False).fetchall()


_EXAMINE = b"""
SELECT count(*), count(*) FILTER (WHERE c.ok IS NOT TRUE),
       (array_agg(to_jsonb(c) - 'ok') FILTER (WHERE c.ok IS NOT TRUE))[1:%(shown)d]
FROM (%(statement)s) AS c
"""
