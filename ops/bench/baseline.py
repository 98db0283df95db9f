"""The baseline: one record, one transaction, and a polling relay, as most teams would write it.

It promises the same durability as ours: a record's offset is committed after its transaction, an
outbox row is deleted after its delivery. It does fewer things: no holds, no dead letters, no
balances, no fencing, and a result can come twice after a crash.
"""

import time
from datetime import UTC, datetime
from decimal import Decimal
from threading import Event
from typing import Any, Literal

import orjson
import psycopg
from confluent_kafka import Consumer, KafkaException, Message, Producer
from psycopg import Connection
from pydantic import BaseModel, Field

from consumers.precedence import give_nice, take_nice
from schemas.settings import Settings

_POLL_S = 0.2
_RELAY_ROWS = 100
_RELAY_PAUSE_S = 0.02
_FLUSH_TIMEOUT_S = 30.0

SCHEMA = """
CREATE SCHEMA baseline;
CREATE TABLE baseline.accounts (
    client_id text PRIMARY KEY,
    balance bigint NOT NULL CHECK (balance >= 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE baseline.processed (
    client_id text NOT NULL,
    command_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client_id, command_id)
);
CREATE TABLE baseline.journal (
    id bigserial PRIMARY KEY,
    client_id text NOT NULL,
    command_id text NOT NULL,
    type text NOT NULL,
    status text NOT NULL,
    amount bigint NOT NULL,
    counterparty text,
    balance_after bigint,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON baseline.journal (client_id, id);
CREATE TABLE baseline.outbox (
    id bigserial PRIMARY KEY,
    key text NOT NULL,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO baseline.accounts (client_id, balance)
SELECT 'client-' || i, 100000 FROM generate_series(0, {clients} - 1) AS i;
"""


class Command(BaseModel):
    """A credit, debit or transfer."""

    command_id: str = Field(min_length=1, max_length=64)
    type: Literal["credit", "debit", "transfer"]
    amount: Decimal = Field(gt=0, decimal_places=2)
    to_client_id: str | None = None


def run_baseline_worker(settings: Settings, arguments: dict[str, Any], stop: Event) -> None:
    """Take records of `topic` one by one until `stop` is set."""
    take_nice(settings.worker_nice)
    consumer = Consumer(
        {
            **settings.kafka_client(),
            "group.id": f"{settings.topic_prefix}baseline-worker",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # Several of them share the partitions soon, as the round is short.
            "heartbeat.interval.ms": 500,
        }
    )
    consumer.subscribe([arguments["topic"]])
    with _connect(settings) as connection:
        give_nice(connection, settings.worker_nice)
        while not stop.is_set():
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            if message.error() is not None:
                raise KafkaException(message.error())
            with connection.transaction():
                handle(connection, message)
            consumer.commit(message=message, asynchronous=False)
    consumer.close()


def handle(connection: Connection, message: Message) -> None:
    """Apply one record and leave its result in the outbox, in the caller's transaction."""
    client_id = (message.key() or b"").decode()
    command = Command.model_validate_json(message.value() or b"")
    first = connection.execute(
        "INSERT INTO baseline.processed (client_id, command_id) VALUES (%s, %s)"
        " ON CONFLICT DO NOTHING",
        (client_id, command.command_id),
    )
    if first.rowcount == 0:
        return
    amount_minor = int(command.amount * 100)
    balance = _move(connection, client_id, command, amount_minor)
    status = "rejected" if balance is None else "applied"
    connection.execute(
        "INSERT INTO baseline.journal"
        " (client_id, command_id, type, status, amount, counterparty, balance_after)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            *(client_id, command.command_id, command.type, status),
            *(amount_minor, command.to_client_id, balance),
        ),
    )
    connection.execute(
        "INSERT INTO baseline.outbox (key, value) VALUES (%s, %s)",
        (client_id, _result(message, client_id, command, balance)),
    )


def run_baseline_relay(settings: Settings, arguments: dict[str, Any], stop: Event) -> None:
    """Publish the outbox to `topic`, a hundred rows at a time, until `stop` is set."""
    producer = Producer(
        {
            **settings.kafka_client(),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
        }
    )
    with _connect(settings) as connection:
        connection.autocommit = True
        while not stop.is_set():
            if not _relay(connection, producer, arguments["topic"]):
                time.sleep(_RELAY_PAUSE_S)


def _connect(settings: Settings) -> Connection:
    if settings.database_url is None:
        raise ValueError("the baseline is started with DATABASE_URL")
    url = settings.database_url.get_secret_value()
    made: Connection = psycopg.connect(url, application_name="baseline")
    return made


def _move(
    connection: Connection, client_id: str, command: Command, amount_minor: int
) -> int | None:
    """Lock the accounts in order and move money; the new balance, None where it is too low."""
    clients = sorted({client_id, command.to_client_id or client_id})
    rows = connection.execute(
        "SELECT client_id, balance FROM baseline.accounts WHERE client_id = ANY(%s)"
        " ORDER BY client_id FOR UPDATE",
        (clients,),
    ).fetchall()
    balances = {str(client): int(balance) for client, balance in rows}
    change = amount_minor if command.type == "credit" else -amount_minor
    if balances[client_id] + change < 0:
        return None
    _update(connection, client_id, change)
    if command.to_client_id is not None:
        _update(connection, command.to_client_id, amount_minor)
    return balances[client_id] + change


def _update(connection: Connection, client_id: str, change_minor: int) -> None:
    connection.execute(
        "UPDATE baseline.accounts SET balance = balance + %s, updated_at = now()"
        " WHERE client_id = %s",
        (change_minor, client_id),
    )


def _result(message: Message, client_id: str, command: Command, balance: int | None) -> bytes:
    return orjson.dumps(
        {
            "command_id": command.command_id,
            "type": command.type,
            "client_id": client_id,
            "status": "rejected" if balance is None else "applied",
            "reason": "insufficient_funds" if balance is None else None,
            "amount": str(command.amount),
            "balance_after": None if balance is None else f"{balance / 100:.2f}",
            "counterparty": command.to_client_id,
            "occurred_at": datetime.now(UTC),
            "source": {
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
            },
        }
    )


def _relay(connection: Connection, producer: Producer, topic: str) -> bool:
    """Publish and delete the oldest rows; whether there were any."""
    rows = connection.execute(
        "SELECT id, key, value FROM baseline.outbox ORDER BY id LIMIT %s", (_RELAY_ROWS,)
    ).fetchall()
    if not rows:
        return False
    for _, key, value in rows:
        producer.produce(topic, value, key)
    if producer.flush(_FLUSH_TIMEOUT_S):
        raise RuntimeError("the baseline's results could not be published")
    connection.execute(
        "DELETE FROM baseline.outbox WHERE id = ANY(%s)", ([row[0] for row in rows],)
    )
    return True
