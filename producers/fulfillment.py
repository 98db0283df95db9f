"""The fulfillment process: leases due orders, has the API called, writes what came of it."""

import os
import queue
import random
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from typing import Final

import psycopg
import structlog

from ledger import fulfillment
from ledger.breaker import BreakerState, Pace
from ledger.currency import Currencies, UnknownScaleError
from ledger.database import Failures, connect
from ledger.fulfillment import LEASE_LOST_SQLSTATE, Job, Look
from ledger.money import format_amount
from ledger.query import currencies as read_currencies
from producers.caller import LEASE_TIMEOUTS, Caller, Made, Order, Policy, order_body
from producers.settlement import Rule, note, settle_all
from schemas.settings import Settings, SettingsError

_log = structlog.get_logger(__name__)

_BUSY_PAUSE_S: Final = 0.005
_QUIET_PAUSE_S: Final = 0.02
_QUIET_AFTER_S: Final = 1.0
_BACKOFF_S_MAX: Final = 5.0
# Another process's, or a batch's, row came first: the second look finds it.
_AGAIN: Final = frozenset({"40P01", "40001", "23505", LEASE_LOST_SQLSTATE})
_DATA_CLASSES: Final = frozenset({"22", "23"})
_TOLD: Final = {
    BreakerState.OPEN: "the breaker is open: no order is sent but one a second, as a probe",
    BreakerState.RAMPING: "the breaker is closed again: orders are sent at a rising rate",
    BreakerState.CLOSED: "the breaker is closed: orders are sent as they come",
}


@dataclass(slots=True)
class FulfillmentStats:
    """What a process has done: calls by status or error, orders by their end, leases it lost."""

    calls: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    failed: int = 0
    lost: int = 0


class Fulfillment:
    """One process of any number. `run` returns when `stop` is set.

    `beat_at_s` is when its loop last came round (monotonic). Raises SettingsError without
    FULFILLMENT_URL.
    """

    def __init__(self, settings: Settings, *, database_url: str) -> None:
        if settings.fulfillment_url is None:
            raise SettingsError(["FULFILLMENT_URL is not set: there is nobody to send orders to"])
        self.stats = FulfillmentStats()
        self.beat_at_s = time.monotonic()
        self.failures = Failures()
        self.failures.trouble = "not connected yet"
        self.breaker_state: BreakerState | None = None
        self._database_url = database_url
        self._policy = Policy(
            settings.fulfillment_url.get_secret_value(),
            settings.fulfillment_concurrency,
            settings.fulfillment_timeout_s,
            settings.fulfillment_backoff_s,
        )
        self._rule = Rule(
            settings.fulfillment_attempts,
            settings.order_failure == "keep",
            Pace(settings.breaker_probe_s, settings.breaker_ramp_s),
        )
        self._owner = f"{socket.gethostname()}/{os.getpid()}"
        self._connection: psycopg.Connection | None = None
        self._currencies = Currencies()
        self._look: Look | None = None
        # Leased and not heard of, heard of and not noted, noted and not settled.
        self._in_hand = 0
        self._heard: list[Made] = []
        self._to_settle: list[Made] = []
        self._tries = 0
        self._worked_at_s = 0.0

    @property
    def trouble(self) -> str | None:
        """Why it does not do its work at this moment; None where it does."""
        return self.failures.trouble

    def run(self, stop: Event) -> None:
        """Work until `stop` is set, then finish what is under way, at most a call's timeout long.

        Where PostgreSQL is away it waits and goes on.
        """
        with Caller(self._policy) as caller:
            while not stop.is_set():
                self._step(caller, stop, leasing=True)
            caller.recall()
            deadline_s = time.monotonic() + self._policy.timeout_s + 2.0
            while self._unfinished and time.monotonic() < deadline_s:
                self._step(caller, stop, leasing=False)
            if self._unfinished:
                _log.warning("orders are left to the end of their leases", orders=self._unfinished)
        self._close()

    @property
    def _unfinished(self) -> int:
        return self._in_hand + len(self._heard) + len(self._to_settle)

    def _step(self, caller: Caller, stop: Event, *, leasing: bool) -> None:
        self.beat_at_s = time.monotonic()
        caller.check()
        self._hear(caller)
        try:
            self._note()
            self._settle()
            if leasing:
                self._lease(caller)
        except psycopg.Error as error:
            self._get_over(error, stop)
        else:
            if self._tries:
                _log.info("PostgreSQL takes what orders came to again")
            self._tries = 0
            self.failures.end()

    def _hear(self, caller: Caller) -> None:
        """Take what calls came to; wait a moment where there is nothing."""
        if self._heard or self._to_settle:
            pause_s = 0.0  # there is work left over from the last time round
        else:
            quiet = self._in_hand == 0 and time.monotonic() - self._worked_at_s > _QUIET_AFTER_S
            pause_s = _QUIET_PAUSE_S if quiet else _BUSY_PAUSE_S
        with suppress(queue.Empty):
            heard = [caller.made.get(timeout=pause_s) if pause_s else caller.made.get_nowait()]
            self._in_hand -= 1
            self._heard += heard
            while True:
                self._heard.append(caller.made.get_nowait())
                self._in_hand -= 1

    def _note(self) -> None:
        """Tell the breaker, put off what is to be tried again, give back what was not called."""
        if not self._heard:
            return
        session = self._session()
        fulfillment.release(session, [each.job for each in self._heard if each.call is None])
        made = [each for each in self._heard if each.call is not None]
        seen = self._look or fulfillment.look(session)
        noted = note(session, [m.call for m in made if m.call], seen.breaker, self._rule)
        for each in made:
            if each.reply is not None:
                self.stats.calls[each.reply.code] += 1
        if noted is not None:
            self._lose(len(noted.lost))
            made = [m for m in made if not m.is_transient or m.job.lease_token in noted.last]
        self._heard.clear()
        self._to_settle += made

    def _settle(self) -> None:
        """Settle what had its last call."""
        if not self._to_settle:
            return
        try:
            self._settle_some(self._to_settle)
        except psycopg.Error as error:
            if not _is_datas(error):
                raise
            self._roll_back()
            self._settle_singly()
        self._to_settle.clear()
        self._worked_at_s = time.monotonic()

    def _settle_singly(self) -> None:
        """Settle one by one, and leave aside what the database refuses: that is our mistake, and
        the order is tried again when its lease has ended.
        """
        for each in list(self._to_settle):
            try:
                self._settle_some([each])
            except psycopg.Error as error:
                if not _is_datas(error):
                    raise
                self._roll_back()
                _log.exception("the database refuses an order's end", order="/".join(each.job.key))
            self._to_settle.remove(each)

    def _settle_some(self, made: Sequence[Made]) -> None:
        session = self._session()
        try:
            settled = settle_all(session, made, self._currencies, self._rule)
        except UnknownScaleError:
            self._roll_back()
            self._currencies = read_currencies(session)
            settled = settle_all(session, made, self._currencies, self._rule)
        self.stats.completed += settled.completed
        self.stats.failed += settled.failed
        self._lose(settled.lost)

    def _lease(self, caller: Caller) -> None:
        """Take due orders, as many as can be sent soon, and have them sent."""
        session = self._session()
        self._look = seen = fulfillment.look(session)
        self._watch_breaker(seen.breaker.state, caller)
        if seen.has_stray:
            _log.warning(
                "the database's clock was set back: orders do not wait for it",
                orders=fulfillment.make_due(session),
            )
        room = 2 * self._policy.concurrency - self._in_hand
        if not seen.has_due or room < 1:
            return
        leased_at_s = time.monotonic()
        jobs = fulfillment.lease(
            session, seen, room, owner=self._owner, pace=self._rule.pace,
            lease_s=LEASE_TIMEOUTS * self._policy.timeout_s,
        )  # fmt: skip
        if jobs:
            self._in_hand += len(jobs)
            self._worked_at_s = leased_at_s
            caller.submit(
                [Order(job, order_body(job, self._amount(job))) for job in jobs], leased_at_s
            )

    def _watch_breaker(self, state: BreakerState, caller: Caller) -> None:
        if state is not self.breaker_state:
            if state is BreakerState.OPEN:
                _log.warning(_TOLD[state])
                caller.recall()
            elif self.breaker_state is not None:
                _log.info(_TOLD[state])
            self.breaker_state = state

    def _amount(self, job: Job) -> str:
        try:
            scale = self._currencies.scale_of_amounts(job.currency)
        except UnknownScaleError:
            self._currencies = read_currencies(self._session())
            scale = self._currencies.scale_of_amounts(job.currency)
        return format_amount(job.amount, scale)

    def _lose(self, count: int) -> None:
        if count:
            self.stats.lost += count
            _log.warning("leases had ended: what their calls came to is not written", orders=count)

    def _session(self) -> psycopg.Connection:
        """The session, in autocommit; one that is broken is replaced."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = connect(self._database_url, application_name="wallet-fulfillment")
        return self._connection

    def _get_over(self, error: psycopg.Error, stop: Event) -> None:
        """Wait before the next try, which begins where this one ended."""
        self._roll_back()
        self._tries += 1
        if error.sqlstate in _AGAIN:
            stop.wait(random.uniform(0.0, 0.02))
            return
        self.failures.note(error)
        if self._tries == 1:
            _log.warning(
                "PostgreSQL does not take what orders came to, trying until it does",
                error=str(error).strip(),
            )
        longest = min(_BACKOFF_S_MAX, 0.1 * 2 ** min(self._tries, 10))
        time.sleep(random.uniform(longest / 2, longest))

    def _roll_back(self) -> None:
        """Leave the transaction; a session that can't is closed, which ends it on the server."""
        session = self._connection
        try:
            if session is not None and not session.closed:
                session.execute("ROLLBACK")
        except psycopg.Error:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _is_datas(error: psycopg.Error) -> bool:
    """Whether the content is at fault, and not the surroundings."""
    return (error.sqlstate or "")[:2] in _DATA_CLASSES and error.sqlstate not in _AGAIN
