"""Records applied to a database by the workers' own path, without Kafka in front of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg

from consumers.batch import Item, Ledger
from consumers.decode import Decoder
from consumers.expiry import release_expired
from ledger import journal, position
from ledger.book import Transaction
from ledger.command import Command
from ledger.currency import Currencies
from ledger.journal import Need
from ledger.order import Settlement, settle
from ledger.parcel import OutboxRecord, unpack
from ledger.position import Claim
from ledger.rule import Rules
from schemas.topic import ORDER_REQUEST, WALLET_COMMAND

_TAKE_OUTBOX = """
WITH taken AS (DELETE FROM outbox RETURNING id, records) SELECT records FROM taken ORDER BY id
"""

Record = tuple[str, Mapping[str, Any] | bytes]


_LEASE = """
UPDATE fulfillments SET lease_owner = 'test', lease_token = nextval('lease_tokens'),
    leased_until = clock_timestamp() + interval '1 minute', attempts = attempts + 1,
    attempts_made = attempts_made + 1
WHERE client_id = %s AND order_id = %s RETURNING lease_token, attempts_made
"""


def topic_of(kind: object) -> str:
    """The input topic of a type, as far as only one has it."""
    return ORDER_REQUEST if str(kind).endswith("_order") else WALLET_COMMAND


class Bookkeeper:
    """Holds one partition of each input topic, in which the records given to it stand in order."""

    def __init__(
        self, connection: psycopg.Connection, rules: Rules | None = None, partition: int = 0
    ) -> None:
        self.connection = connection
        self._currencies = Currencies()
        self._decoder = Decoder(self._currencies, "USD")
        self._ledger = Ledger(connection, rules or Rules(), self._currencies)
        topics = (ORDER_REQUEST, WALLET_COMMAND)
        claims = [Claim(topic, partition, "topic-id", 0) for topic in topics]
        self.requests, self.position = sorted(
            position.claim(connection, claims), key=lambda claimed: claimed.topic
        )

    def apply(
        self, records: Iterable[Record], sent_at_ms: Iterable[int] = itertools.repeat(0)
    ) -> list[dict[str, Any]]:
        """Apply the records, sent at these times, as one batch; gives its outbox in order, as JSON
        where it is JSON.
        """
        items = self.items(records, sent_at_ms)
        if items:
            self.enter(items)
        return self._outbox()

    def enter(self, items: list[Item]) -> None:
        """Apply the items as one batch, and nothing else; its outbox stays."""
        held = {(p.topic, p.partition): p for p in (self.requests, self.position)}
        self._ledger.apply(items, held)

    def sweep(self) -> list[dict[str, Any]]:
        """Release what is due, as a worker does every second; gives the outbox."""
        while release_expired(self._ledger):
            pass
        return self._outbox()

    def lease(self, client_id: str, order_id: str) -> Settlement | None:
        """Take a pending order's job, and call once; None where there is none."""
        row = self.connection.execute(_LEASE, (client_id, order_id)).fetchone()
        return None if row is None else Settlement(client_id, order_id, row[0], row[1])

    def settle(self, *settlements: Settlement, currency: str = "USD") -> list[Transaction | None]:
        """End orders as a fulfillment process does, in one transaction; nothing is published."""
        keys = {(each.client_id, each.order_id) for each in settlements}
        wallets = {(client_id, currency) for client_id, _ in keys}
        need = Need(wallets=wallets, orders=keys, jobs=keys, row_count=len(keys))
        try:
            book = journal.load(self.connection, need)
            rows = [settle(each, book) for each in settlements]
            journal.commit(self.connection, book, journal.write(self.connection, book, []))
        except BaseException:
            self._ledger.roll_back()
            raise
        return rows

    def _outbox(self) -> list[dict[str, Any]]:
        rows = self.connection.execute(_TAKE_OUTBOX).fetchall()
        return [
            {
                "topic": record.topic,
                "event_id": record.event_id,
                "key": (record.key or b"").decode(),
                "value": _read(record),
                "moved": record.moved,
            }
            for (packed,) in rows
            for record in unpack(packed)
        ]

    def results(self, records: Iterable[Record]) -> list[dict[str, Any]]:
        """Apply the records as one batch; gives the value that answers each of them, in order."""
        return [row["value"] for row in self.apply(records) if row["event_id"].count("/") == 2]

    def items(
        self, records: Iterable[Record], sent_at_ms: Iterable[int] = itertools.repeat(0)
    ) -> list[Item]:
        """The records decoded, as they stand next in the partition."""
        items = []
        offsets = {held.topic: held.next_offset for held in (self.requests, self.position)}
        for (client_id, value), at_ms in zip(records, sent_at_ms, strict=False):
            key = client_id.encode()
            wire = value if isinstance(value, bytes) else json.dumps(value).encode()
            topic = topic_of(None if isinstance(value, bytes) else value.get("type"))
            place = topic, topic, self.position.partition, offsets[topic]
            offsets[topic] += 1
            content = self._decoder.decode(*place, key, wire, None)
            epoch = (self.requests if topic == ORDER_REQUEST else self.position).epoch
            if isinstance(content, Command):
                content.sent_at_ms = at_ms
            items.append(Item(*place, key, wire, None, at_ms, epoch, content))
        return items


def _read(record: OutboxRecord) -> Any:
    value = record.value or b""
    return json.loads(value) if record.topic.endswith("-result") else value
