"""What an outsider can see of a system: its topics, read as any reader would, and its tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, cast

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from psycopg.rows import dict_row

INPUTS = ("wallet-command", "order-request")
RESULTS = ("wallet-result", "order-result")
DEAD_LETTERS = ("wallet-command-dlt", "order-request-dlt")
BALANCES = "wallet-balance"
# For a transaction that is committed, but not marked so in the partition yet.
_MARKER_TIMEOUT_S = 5.0
_PARTITION_TIMEOUT_S = 30.0


class Place(NamedTuple):
    """Where a record stands; the topic is the real one, prefix included."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Seen(NamedTuple):
    """A committed record as a read_committed reader sees it; of headers the last of a name."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


@dataclass(frozen=True, slots=True)
class System:
    """How the system is reached, and the settings that its answers depend on."""

    bootstrap_servers: str
    topic_prefix: str
    database_url: str
    auto_create: bool = True
    transfer_refund: bool = False


@dataclass(slots=True)
class Evidence:
    """All there was to see at one moment. Records stand in the order of their partitions."""

    system: System
    inputs: dict[Place, Seen] = field(default_factory=dict)
    outputs: dict[str, list[Seen]] = field(default_factory=dict)
    # The first offset and the one after the last of each input partition.
    log_bounds: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    # By idempotency key: under which id the fulfillment service has done it; None if not asked.
    fulfilled: dict[str, str] | None = None


_TABLES = {
    "journal": "SELECT * FROM transactions ORDER BY id",
    "accounts": "SELECT * FROM accounts ORDER BY client_id, currency, kind",
    "orders": "SELECT * FROM orders ORDER BY client_id, order_id",
    "holds": "SELECT * FROM holds ORDER BY client_id, hold_id",
    "positions": "SELECT * FROM consumer_positions ORDER BY topic, partition",
    "waiting": "SELECT id, record_count FROM outbox ORDER BY id",
    "deadlocks": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
}


# What goes on by itself when everything is answered.
_UNFINISHED = """
SELECT (SELECT count(*) FROM outbox)
     + (SELECT count(*) FROM orders WHERE status = 'pending')
     + (SELECT count(*) FROM holds WHERE status = 'open' AND expires_at IS NOT NULL)
"""


def gather(
    system: System, kept: Mapping[Place, Seen] | None = None, *, settle_timeout_s: float = 30.0
) -> Evidence:
    """Wait until everything is answered and published, at most so long, and take it all down.

    `kept` are input records that were read before somebody cut them off their logs. What is not
    settled by then is evidence, too. Raises KafkaException, psycopg.Error.
    """
    evidence = Evidence(system, dict(kept or {}))
    with Reader(system) as reader:
        for kind in INPUTS:
            for seen in reader.read(system.topic_prefix + kind, evidence.log_bounds):
                evidence.inputs[seen.place] = seen
        last = {(place.topic, place.partition): place.offset for place in evidence.inputs}
        settle(system, last, settle_timeout_s)
        for kind in (*RESULTS, *DEAD_LETTERS, BALANCES):
            evidence.outputs[kind] = list(reader.read(system.topic_prefix + kind, {}))
    with psycopg.connect(system.database_url, row_factory=dict_row) as session:
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for name, query in _TABLES.items():
            evidence.tables[name] = session.execute(query.encode()).fetchall()
    return evidence


def settle(system: System, last: Mapping[tuple[str, int], int], timeout_s: float) -> bool:
    """Wait until every position has passed its partition's last record and nothing goes on; False
    where that takes longer.
    """
    deadline = time.monotonic() + timeout_s
    with psycopg.connect(system.database_url, autocommit=True) as session:
        while time.monotonic() < deadline:
            rows = session.execute("SELECT topic, partition, next_offset FROM consumer_positions")
            reached = {(topic, partition): offset for topic, partition, offset in rows}
            [left] = session.execute(_UNFINISHED.encode()).fetchone() or [1]
            if not left and all(reached.get(key, 0) > offset for key, offset in last.items()):
                return True
            time.sleep(0.05)
    return False


class Reader:
    """A read_committed reader, and one that knows where the logs end for anybody."""

    def __init__(self, system: System) -> None:
        config: dict[str, Any] = {
            "bootstrap.servers": system.bootstrap_servers,
            "group.id": f"{system.topic_prefix}checker",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
        }
        self._reader = Consumer(config | {"isolation.level": "read_committed"})
        self._surveyor = Consumer(config | {"isolation.level": "read_uncommitted"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._surveyor.close()

    def read(self, topic: str, bounds: dict[tuple[str, int], tuple[int, int]]) -> Iterator[Seen]:
        """A topic's committed records, partition after partition; its bounds go into `bounds`."""
        known = self._reader.list_topics(topic, timeout=10).topics[topic].partitions
        for partition in sorted(known):
            at = TopicPartition(topic, partition)
            low, high = self._surveyor.get_watermark_offsets(at, 10)
            bounds[topic, partition] = low, high
            if low < high:
                self._reader.assign([TopicPartition(topic, partition, low)])
                yield from self._until(high)

    def _until(self, high: int) -> Iterator[Seen]:
        """Records up to the log's end, or up to a transaction that does not end."""
        started, ended_at = time.monotonic(), -1
        while ended_at < high:
            waited_s = time.monotonic() - started
            if ended_at >= 0 and waited_s > _MARKER_TIMEOUT_S:
                return
            if waited_s > _PARTITION_TIMEOUT_S:
                raise TimeoutError("a partition gives neither records nor its end")
            for message in self._reader.consume(5_000, 0.1):
                error = message.error()
                if error is None:
                    yield _seen(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended_at = cast(int, message.offset())
                else:
                    raise KafkaException(error)


def _seen(message: Message) -> Seen:
    place = Place(
        cast(str, message.topic()), cast(int, message.partition()), cast(int, message.offset())
    )
    headers = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return Seen(place, message.key(), message.value(), dict(headers))
