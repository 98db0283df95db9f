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
from ledger import position
from ledger.command import Command
from ledger.currency import Currencies
from ledger.position import Claim
from ledger.rule import Rules
from schemas.topic import WALLET_COMMAND

_TAKE_OUTBOX = """
WITH taken AS (DELETE FROM outbox RETURNING id, topic, event_id, key, value, moved)
SELECT topic, event_id, key, value, moved FROM taken ORDER BY id
"""

Record = tuple[str, Mapping[str, Any] | bytes]


class Bookkeeper:
    """Holds one partition of `wallet-command`, in which the records given to it stand in order."""

    def __init__(
        self, connection: psycopg.Connection, rules: Rules | None = None, partition: int = 0
    ) -> None:
        self.connection = connection
        self._currencies = Currencies()
        self._decoder = Decoder(self._currencies, "USD")
        self._ledger = Ledger(connection, rules or Rules(), self._currencies)
        claims = [Claim(WALLET_COMMAND, partition, "topic-id", 0)]
        [self.position] = position.claim(connection, claims)

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
        key = (WALLET_COMMAND, self.position.partition)
        self._ledger.apply(items, {key: self.position})

    def sweep(self) -> list[dict[str, Any]]:
        """Release what is due, as a worker does every second; gives the outbox."""
        while release_expired(self._ledger):
            pass
        return self._outbox()

    def _outbox(self) -> list[dict[str, Any]]:
        rows = self.connection.execute(_TAKE_OUTBOX).fetchall()
        return [
            {
                "topic": topic,
                "event_id": event_id,
                "key": key.decode(),
                "value": json.loads(value) if topic.endswith("-result") else value,
                "moved": moved,
            }
            for topic, event_id, key, value, moved in rows
        ]

    def results(self, records: Iterable[Record]) -> list[dict[str, Any]]:
        """Apply the records as one batch; gives the value that answers each of them, in order."""
        return [row["value"] for row in self.apply(records) if row["event_id"].count("/") == 2]

    def items(
        self, records: Iterable[Record], sent_at_ms: Iterable[int] = itertools.repeat(0)
    ) -> list[Item]:
        """The records decoded, as they stand next in the partition."""
        items = []
        timed = zip(records, sent_at_ms, strict=False)
        for offset, ((client_id, value), at_ms) in enumerate(timed, self.position.next_offset):
            key = client_id.encode()
            wire = value if isinstance(value, bytes) else json.dumps(value).encode()
            place = WALLET_COMMAND, WALLET_COMMAND, self.position.partition, offset
            content = self._decoder.decode(*place, key, wire, None)
            if isinstance(content, Command):
                content.sent_at_ms = at_ms
            items.append(Item(*place, key, wire, None, at_ms, self.position.epoch, content))
        return items
