"""The jobs of pending orders: leased for a time, tried, given back; and the breaker's row."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection, Cursor

from ledger.breaker import Breaker, BreakerState, Pace
from ledger.statement import columns, statements

_SQL = statements("fulfillment.sql")

# check_leases() raises it, as move_positions() does: somebody else has the lease by now.
LEASE_LOST_SQLSTATE = "WF001"

_ATTEMPT_TYPES = (
    "text", "text", "int4", "int4", "text", "bool", "int2", "text", "timestamptz", "int4",
)  # fmt: skip

Key = tuple[str, str]


class Job(NamedTuple):
    """A job that is ours until its lease ends, and the order that it is about.

    `counted` are the attempts that count towards the limit, `made` all calls of this round,
    `made_before` those of earlier rounds. `amount` in minor units; `items` and `metadata` are JSON
    texts, `headers` packed.
    """

    client_id: str
    order_id: str
    lease_token: int
    counted: int
    made: int
    made_before: int
    round_number: int
    currency: str
    amount: int
    items: str | None
    metadata: str | None
    headers: bytes | None

    @property
    def key(self) -> Key:
        """The order's key."""
        return self.client_id, self.order_id


class Call(NamedTuple):
    """A call that was made for a job, and what it came to (`fulfillment_attempts.outcome`).

    `is_transient` asks for another one after `delay_s`; `error` is a few words, None where it was
    fulfilled. `began_s` is monotonic: when that was is for the database's clock to say.
    """

    job: Job
    outcome: str
    is_transient: bool
    http_status: int | None
    error: str | None
    began_s: float
    duration_ms: int
    delay_s: float = 0.0


class Noted(NamedTuple):
    """What the failures among some calls meant.

    `last` are the tokens of those that were their order's last attempt, `lost` of leases that were
    somebody else's by then. `opened` and `closed` say that the breaker has just done so.
    """

    breaker: Breaker
    last: frozenset[int]
    lost: frozenset[int]
    opened: bool
    closed: bool


class Look(NamedTuple):
    """The breaker as it stands, the database's clock, and whether any job is due.

    `has_stray` is whether one is due later than anything ever is: the clock was set back.
    """

    breaker: Breaker
    now: datetime
    has_due: bool
    has_stray: bool


def look(connection: Connection) -> Look:
    """Look whether there is anything to lease, without a lock. Raises psycopg.Error."""
    *row, now, has_due, has_stray = _only_row(connection.execute(_SQL["look"], prepare=True))
    return Look(Breaker(*row), now, has_due, has_stray)


def make_due(connection: Connection) -> int:
    """Have stray jobs be due at once, those of live leases too, whose owners then find them lost;
    how many. Raises psycopg.Error.
    """
    return connection.execute(_SQL["make_due"]).rowcount


def lease(
    connection: Connection, seen: Look, wanted: int, *, owner: str, lease_s: float, pace: Pace
) -> list[Job]:
    """Take up to `wanted` due jobs for `lease_s` seconds, no more than the breaker lets pass.

    `seen` is what `look` has just given: the breaker's row is locked only where it holds calls
    back and one may pass.
    A job whose last owner did not come back is taken over, and that is recorded. Commits. Raises
    psycopg.Error.
    """
    parameters = {"owner": owner, "lease_s": lease_s}
    if seen.breaker.state is BreakerState.CLOSED:
        return _lease(connection, {**parameters, "count": wanted})
    if not replace(seen.breaker).grant(wanted, seen.now, pace):
        return []
    with connection.transaction():
        breaker, now = _lock_breaker(connection)
        count = breaker.grant(wanted, now, pace)
        _write_breaker(connection, breaker)
        return _lease(connection, {**parameters, "count": count}) if count else []


def release(connection: Connection, jobs: Iterable[Job]) -> None:
    """Give jobs back for which no call was made, due at once. Raises psycopg.Error."""
    rows = sorted((*job.key, job.lease_token) for job in jobs)
    if rows:
        connection.execute(_SQL["release"], columns(rows, 3))


def note(connection: Connection, calls: Sequence[Call], *, attempts_max: int, pace: Pace) -> Noted:
    """Tell the breaker of calls, in the order they ended, and see to those that failed for now.

    Such a job is due again after its delay. Once the breaker is open no attempt counts, and all
    pending orders get theirs back in the transaction that opens it. Commits. The calls in `last`
    and those that did not fail for now are the caller's to settle. Raises psycopg.Error.
    """
    with connection.transaction():
        breaker, now = _lock_breaker(connection)
        was_open, opened, closed = breaker.opened_at is not None, False, False
        counting: dict[int, bool] = {}
        for call in calls:
            counting[call.job.lease_token] = breaker.opened_at is None
            if call.is_transient:
                order = "/".join(call.job.key)
                opened = breaker.fail(order, now, pace) or opened
            else:
                closed = breaker.answer(now) or closed
        _write_breaker(connection, breaker)
        failed = [call for call in calls if call.is_transient]
        attempts = _lock_jobs(connection, failed, all_begun=opened)
        last, again = set[int](), list[Call]()
        for call in failed:
            token = call.job.lease_token
            if token in attempts and counting[token] and attempts[token] + 1 >= attempts_max:
                last.add(token)
            elif token in attempts:
                again.append(call)
        _reschedule(connection, again, counting, now)
        if opened:
            connection.execute(_SQL["give_attempts_back"])
    lost = {call.job.lease_token for call in failed} - attempts.keys()
    is_open = breaker.opened_at is not None
    return Noted(
        breaker, frozenset(last), frozenset(lost),
        opened=is_open and not was_open, closed=closed and not is_open,
    )  # fmt: skip


def record(connection: Connection, calls: Sequence[Call], now: datetime) -> None:
    """Write calls into the record of attempts, inside the transaction that acts on them; `now` is
    the database's clock.

    The server raises LEASE_LOST_SQLSTATE where the lease of one is no longer ours.
    """
    _record(connection, calls, {call.job.lease_token: True for call in calls}, now)


def unclear_orders(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    """Those of the orders of which a recorded attempt may have been delivered."""
    if not keys:
        return set()
    rows = connection.execute(_SQL["unclear_orders"], columns(keys, 2)).fetchall()
    return {(client_id, order_id) for client_id, order_id in rows}


def _lock_breaker(connection: Connection) -> tuple[Breaker, datetime]:
    *row, now = _only_row(connection.execute(_SQL["lock_breaker"], prepare=True))
    return Breaker(*row), now


def _only_row(cursor: Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the breaker's row is missing from fulfillment_breaker")
    return row


def _write_breaker(connection: Connection, breaker: Breaker) -> None:
    connection.execute(_SQL["write_breaker"], astuple(breaker), prepare=True)


def _lease(connection: Connection, parameters: dict[str, Any]) -> list[Job]:
    cursor = connection.execute(_SQL["lease"], parameters, prepare=True, binary=True)
    return [Job._make(row) for row in cursor]


def _lock_jobs(connection: Connection, calls: Sequence[Call], *, all_begun: bool) -> dict[int, int]:
    """The counted attempts of the calls' jobs, by token; a lost lease's token is not there."""
    if not calls:
        return {}
    statement = "lock_all_begun" if all_begun else "lock_jobs"
    keys = columns([call.job.key for call in calls], 2)
    rows = connection.execute(_SQL[statement], keys, prepare=True, binary=True)
    ours = {call.job.lease_token for call in calls}
    return {token: counted for _, _, token, counted in rows if token in ours}


def _reschedule(
    connection: Connection, calls: Sequence[Call], counting: dict[int, bool], now: datetime
) -> None:
    if not calls:
        return
    rows = [
        (*call.job.key, call.job.lease_token, counting[call.job.lease_token], call.delay_s)
        for call in calls
    ]
    _record(connection, calls, counting, now)
    connection.execute(_SQL["reschedule"], columns(rows, 5), prepare=True)


def _record(
    connection: Connection, calls: Sequence[Call], counting: dict[int, bool], now: datetime
) -> None:
    if not calls:
        return
    leases = [(*call.job.key, call.job.lease_token) for call in calls]
    connection.execute(_SQL["check_leases"], columns(leases, 3), prepare=True)
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_attempts"]) as copy:
        copy.set_types(_ATTEMPT_TYPES)
        for call in calls:
            copy.write_row(_attempt(call, now, counted=counting[call.job.lease_token]))


def _attempt(call: Call, now: datetime, *, counted: bool) -> tuple[Any, ...]:
    job = call.job
    number = job.made_before + job.made + 1
    started_at = now - timedelta(seconds=time.monotonic() - call.began_s)
    return (
        *job.key, number, job.round_number, call.outcome, counted, call.http_status, call.error,
        started_at, call.duration_ms,
    )  # fmt: skip
