"""What the relay's tests share: rows put into the outbox, relays to run, topics to read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from ledger.backlog import read_figures
from ledger.parcel import OutboxRecord, pack
from producers.relay import Relay
from schemas.settings import Settings, load_settings
from schemas.topic import WALLET_RESULT, Topics, TopicSpec
from tests.background import in_background
from tests.conftest import WalletEnv

PARTITIONS = 4

_INSERT_ROW = """
INSERT INTO outbox (id, bucket, record_count, byte_count, records, created_at)
VALUES (coalesce(%s, nextval('outbox_ids')), %s, %s, %s, %s, %s) RETURNING id
"""


_AT = "2026-03-01T12:00:00Z"
_RECORD = OutboxRecord(
    WALLET_RESULT, None, b"anna", b"{}", "", "wallet.command.applied.v1", None, None, None, False
)


@dataclass(slots=True)
class World:
    """One test's topics and outbox."""

    env: WalletEnv
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return load_settings({**self.env.env, **self.extra})

    @property
    def topics(self) -> Topics:
        return Topics(self.env.topic_prefix)

    def make_topics(self, admin: AdminClient, **config: str) -> None:
        specs = self.topics.specs(PARTITIONS, self.settings.relay_part_count)
        made = admin.create_topics(
            [NewTopic(s.name, s.partition_count, 1, config={**s.config, **config}) for s in specs]
        )
        for future in made.values():
            future.result(timeout=20)
        self.wait_until_known(specs)

    def wait_until_known(self, specs: Iterable[TopicSpec]) -> None:
        """Made is not yet known: the broker hears of its own topics a moment later."""
        ends = {
            TopicPartition(s.name, p): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for s in specs
            for p in range(s.partition_count)
        }
        _wait_until_led(self.settings, ends)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.env.database_url, autocommit=True)

    def insert(
        self,
        event_id: str,
        session: psycopg.Connection | None = None,
        *,
        row_id: int | None = None,
        at: str = _AT,
        **fields: Any,
    ) -> int:
        """Put a row with one record into the outbox, in the session's transaction if one is given;
        returns its id.
        """
        [parcel] = pack([_RECORD._replace(event_id=event_id, **fields)])
        with nullcontext(session) if session is not None else self.connect() as ours:
            found = ours.execute(_INSERT_ROW, (row_id, *parcel, at)).fetchone()
        assert found is not None
        return int(found[0])

    def insert_many(
        self, first: int, count: int, *, clients: int = 7, pad: int = 50, together: bool = False
    ) -> None:
        """Put records `first` … into the outbox for clients in turn, numbered in their values and
        events: each in a row of its own or, `together`, as a batch puts them there.
        """
        records = [
            _RECORD._replace(
                key=f"client-{n % clients}".encode(),
                value=f'{{"n":{n},"pad":"{"x" * pad}"}}'.encode(),
                event_id=f"event/{n}",
                correlation_id=f"c-{n}",
            )
            for n in range(first, first + count)
        ]
        parcels = pack(records) if together else [p for r in records for p in pack([r])]
        with self.connect() as session, session.transaction(), session.cursor() as cursor:
            cursor.executemany(_INSERT_ROW, [(None, *parcel, _AT) for parcel in parcels])

    def waiting(self) -> int:
        """How many records the outbox holds."""
        with self.connect() as session:
            return read_figures(session)[0]

    @contextmanager
    def relay(self, part: int = 0) -> Iterator[Relay]:
        """A relay in a thread of its own; what it raised is raised when the block ends."""
        relay = Relay(self.settings, database_url=self.env.database_url, part=part)
        with in_background(f"relay-{self.env.topic_prefix}", relay.run):
            yield relay

    def read(self, name: str) -> list[Message]:
        """All committed records of a topic, partition after partition."""
        topic = self.topics.real(name)
        consumer = Consumer(
            {
                **self.settings.kafka_client(),
                "group.id": "test-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "auto.offset.reset": "error",
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            return [m for p in sorted(partitions) for m in _read_partition(consumer, topic, p)]
        finally:
            consumer.close()


def _read_partition(consumer: Consumer, topic: str, partition: int) -> Iterator[Message]:
    consumer.assign([TopicPartition(topic, partition, 0)])
    while True:
        message = consumer.poll(10)
        assert message is not None, f"{topic}[{partition}] does not end"
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            return
        else:
            raise AssertionError(error)


def eventually(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until the condition holds; fail if it did not in time, on however busy a machine."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def _wait_until_led(settings: Settings, ends: dict[TopicPartition, OffsetSpec]) -> None:
    """Wait until each partition has a leader that answers; a new client each time, since one that
    asked too early remembers the answer."""
    deadline = time.monotonic() + 20.0
    while True:
        admin = AdminClient(settings.kafka_client())
        answers = admin.list_offsets(ends, request_timeout=2)
        failed = {str(p): answer.exception(5) for p, answer in answers.items()}
        unknown = {p: error for p, error in failed.items() if error is not None}
        if not unknown:
            return
        assert time.monotonic() < deadline, unknown
        time.sleep(0.05)


def headers_of(message: Message) -> dict[str, bytes | None]:
    """A record's headers; none of ours stands twice."""
    found: Any = message.headers() or []
    assert len({name for name, _ in found}) == len(found)
    return dict(found)
