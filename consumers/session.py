"""The worker's session with Postgres, made anew when it is gone, and what it knows from there."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import psycopg

from consumers.batch import Item, Ledger, Tallies, Trust
from consumers.decode import Decoder
from consumers.expiry import HOLDS_MAX, release_expired
from consumers.precedence import give_nice
from consumers.report import StageClock
from ledger.command import Command
from ledger.currency import Currencies, UnknownScaleError
from ledger.database import BusyConnection, Failures, connect
from ledger.position import Position
from ledger.rule import Rules
from ledger.unit import own_scales

_T = TypeVar("_T")

# So few that PostgreSQL's answer does not wait for long, 0.2 ms.
_DECODED_TOGETHER = 10


class Session:
    """A connection that is opened when it is needed, and the currencies known through it.

    Everything but `close` raises psycopg.Error where Postgres is away.
    """

    def __init__(
        self, database_url: str, *, rules: Rules, default_currency: str, nice: int | None = None
    ) -> None:
        self._database_url = database_url
        self._nice = nice
        self._rules = rules
        self._default_currency = default_currency
        self._connection: BusyConnection | None = None
        self.clock = StageClock()
        self.failures = Failures()
        self._trust = Trust()
        self._know(Currencies())

    def connection(self) -> psycopg.Connection:
        """The session, in autocommit; one that is broken is replaced."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = connect(self._database_url, application_name="wallet-worker")
            give_nice(self._connection, self._nice)
        return self._connection

    def decode_meanwhile(self, items: Sequence[Item]) -> None:
        """Decode these records, the next batch's, while PostgreSQL works on the one before."""
        if items and self._connection is not None:
            self._connection.meanwhile = self._decode_in_parts(items)

    def apply(self, items: Sequence[Item], positions: dict[tuple[str, int], Position]) -> Tallies:
        """Decode what is not decoded yet, and apply the batch; raises what Ledger.apply raises."""
        self.clock.start()
        unknown = self._decode(items)
        if unknown and self._read_currencies():
            for item in unknown:
                item.content = None
            self._decode(unknown)
        self.clock.lap("decode")
        return self._with_currencies(lambda ledger: ledger.apply(items, positions))

    def release_expired_holds(self) -> bool:
        """Release holds whose time is over; whether there may be more. Raises psycopg.Error."""
        return self._with_currencies(release_expired) == HOLDS_MAX

    def close(self) -> None:
        """End the session; a transaction in it is rolled back by the server."""
        if self._connection is not None:
            self._connection.close()

    def _ledger(self) -> Ledger:
        return Ledger(self.connection(), self._rules, self._currencies, self.clock, self._trust)

    def _with_currencies(self, work: Callable[[Ledger], _T]) -> _T:
        """Do the work, once more if it met a unit of the operator's that was added since."""
        try:
            return work(self._ledger())
        except UnknownScaleError:
            if not self._read_currencies():
                raise
            return work(self._ledger())

    def _decode(self, items: Sequence[Item]) -> list[Item]:
        """Decode what is not decoded yet; gives back those whose currency is not known."""
        decode, unknown = self._decoder.decode, []
        for item in items:
            content = item.content
            if content is None:
                content = item.content = decode(
                    item.kind, item.topic, item.partition, item.offset,
                    item.key, item.value, item.headers,
                )  # fmt: skip
                if isinstance(content, Command):
                    content.sent_at_ms = item.timestamp_ms
            if isinstance(content, Command) and _names_unknown_currency(content):
                unknown.append(item)
        return unknown

    def _decode_in_parts(self, items: Sequence[Item]) -> Iterator[None]:
        """Decode a few of the records at each step."""
        for start in range(0, len(items), _DECODED_TOGETHER):
            self._decode(items[start : start + _DECODED_TOGETHER])
            yield

    def _read_currencies(self) -> bool:
        """Read the operator's own units; whether there are new ones."""
        own = own_scales(self.connection())
        if own == self._currencies.own:
            return False
        self._know(Currencies(own))
        return True

    def _know(self, currencies: Currencies) -> None:
        self._currencies = currencies
        self._decoder = Decoder(currencies, self._default_currency)


def _names_unknown_currency(command: Command) -> bool:
    return command.refusal is not None and command.refusal.reason == "unknown_currency"
