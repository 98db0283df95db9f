"""The relay: every row once, in order, with its headers, and balances that are never stale."""

from __future__ import annotations

import gc
import itertools
import random
import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from typing import Any

import orjson
import psutil
import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from ledger import outbox as ledger_outbox
from ledger.outbox import Outbox
from producers import relay as relay_module
from producers import sender
from producers.failure import RelayStoppedError
from producers.relay import Relay
from schemas.header import pack_headers
from schemas.partition import partition_of
from schemas.result import WALLET_BALANCE_SHAPE
from schemas.topic import (
    ORDER_REQUEST_DLT,
    WALLET_BALANCE,
    WALLET_COMMAND_DLT,
    WALLET_RELAY_PROGRESS,
    WALLET_RESULT,
)
from tests.conftest import WalletEnv
from tests.producers.world import PARTITIONS, World, eventually, headers_of

_MAKE_CLIENT = """
INSERT INTO clients (client_id, registered, created_at, updated_at)
VALUES (%s, false, now(), now())
"""
_MAKE_ACCOUNT = """
INSERT INTO accounts (client_id, currency, kind, balance, version, created_at, updated_at)
VALUES (%s, %s, %s, %s, %s, '2026-03-01Z', '2026-03-01T12:00:00.000005Z')
"""


@pytest.mark.contract
def test_every_row_is_published_once_and_in_order_per_client(world: World) -> None:
    world.extra["WALLET_RELAY_RECORDS_MAX"] = "300"
    world.insert_many(1, 1000)
    with world.relay() as relay:
        eventually(lambda: world.waiting() == 0)
        world.insert_many(1001, 500, together=True)
        eventually(lambda: world.waiting() == 0)
    assert published_numbers(world) == expected_numbers(1, 1500)
    assert relay.stats.published == 1500
    assert relay.stats.transactions >= 6


@pytest.mark.contract
def test_a_record_bears_cloud_events_headers_and_stands_where_java_would_put_it(
    world: World,
) -> None:
    trace = ("traceparent", b"00-1-2-01")
    world.insert(
        "wallet-command/3/7",
        key="zoë".encode(),
        correlation_id="č-9",
        causation_id="wallet-command/1/1",
        headers=pack_headers([trace]),
    )
    with world.relay():
        eventually(lambda: world.waiting() == 0)
    [message] = world.read(WALLET_RESULT)
    assert message.partition() == partition_of("zoë".encode(), PARTITIONS)
    assert headers_of(message) == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": b"wallet-command/3/7",
        "ce_type": b"wallet.command.applied.v1",
        "ce_source": b"/wallet",
        "ce_time": b"2026-03-01T12:00:00.000000Z",
        "ce_subject": "zoë".encode(),
        "correlation-id": "č-9".encode(),
        "causation-id": b"wallet-command/1/1",
        "traceparent": b"00-1-2-01",
    }


@pytest.mark.contract
def test_a_dead_letter_goes_to_its_partition_with_its_own_headers_alone(world: World) -> None:
    headers = [("x", None), ("x", b"\xff\x00"), ("wallet-dlt-reason", b"missing_key")]
    world.insert(
        "a", topic=WALLET_COMMAND_DLT, partition=3, key=None, value=None, headers=pack_headers([])
    )
    world.insert(
        "b", topic=ORDER_REQUEST_DLT, partition=2, key=b"\xfe", value=b"\xff\x00{",
        headers=pack_headers(headers),
    )  # fmt: skip
    with world.relay():
        eventually(lambda: world.waiting() == 0)
    [first] = world.read(WALLET_COMMAND_DLT)
    assert (first.partition(), first.key(), first.value()) == (3, None, None)
    assert not first.headers()
    [second] = world.read(ORDER_REQUEST_DLT)
    assert (second.partition(), second.key(), second.value()) == (2, b"\xfe", b"\xff\x00{")
    assert second.headers() == headers


def test_rows_that_are_too_large_together_come_one_by_one(
    world: World,
) -> None:
    world.extra["WALLET_RELAY_BYTES_MAX"] = str(128 * 1024)
    values = [bytes([65 + n]) * 100_000 for n in range(6)]
    values[3] = b"d" * 4_500_000
    for number, value in enumerate(values):
        world.insert(f"e/{number}", value=value)
    with world.relay() as relay:
        eventually(lambda: world.waiting() == 0)
    assert [m.value() for m in world.read(WALLET_RESULT)] == values
    assert relay.stats.transactions == 6


def test_balances_come_as_they_stand_for_clients_whose_money_moved(world: World) -> None:
    with world.connect() as session:
        session.execute("INSERT INTO currencies (code, scale) VALUES ('COIN', 3)")
        for client in ("anna", "ben"):
            session.execute(_MAKE_CLIENT, (client,))
        session.execute(_MAKE_ACCOUNT, ("anna", "USD", "available", 100050, 4))
        session.execute(_MAKE_ACCOUNT, ("anna", "USD", "held", 7, 2))
        session.execute(_MAKE_ACCOUNT, ("anna", "COIN", "available", 5, 1))
        session.execute(_MAKE_ACCOUNT, ("ben", "JPY", "available", 12, 1))
    for number in range(3):
        world.insert(f"e/{number}", moved=True)
    world.insert("e/3", key=b"ben", moved=False)
    with world.relay():
        eventually(lambda: world.waiting() == 0)
    [message] = world.read(WALLET_BALANCE)
    moment = "2026-03-01T12:00:00.000005Z"
    assert message.key() == b"anna"
    assert message.partition() == partition_of(b"anna", PARTITIONS)
    value = orjson.loads(message.value() or b"")
    WALLET_BALANCE_SHAPE.validate_json(message.value() or b"")
    assert value == {
        "client_id": "anna",
        "wallets": [
            {"currency": "COIN", "balance": "0.005", "held": "0.000", "status": "open",
             "version": 1, "updated_at": moment},
            {"currency": "USD", "balance": "1000.50", "held": "0.07", "status": "open",
             "version": 4, "updated_at": moment},
        ],
        "updated_at": moment,
    }  # fmt: skip
    headers = headers_of(message)
    assert headers["ce_id"] == b"wallet-balance/anna/7"
    assert headers["ce_time"] == moment.encode()
    assert headers["ce_type"] == b"wallet.balance.updated.v1"


@pytest.mark.contract
def test_the_last_balance_of_a_client_is_the_last_one_in_the_books(world: World) -> None:
    clients = [f"client-{n}" for n in range(5)]
    with world.connect() as session:
        for client in clients:
            session.execute(_MAKE_CLIENT, (client,))
            session.execute(_MAKE_ACCOUNT, (client, "USD", "available", 0, 1))
    writers = [threading.Thread(target=_deposit, args=(world, clients, s)) for s in range(3)]
    with world.relay():
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        eventually(lambda: world.waiting() == 0)
    seen = defaultdict[str, list[tuple[int, str]]](list)
    for message in world.read(WALLET_BALANCE):
        value = orjson.loads(message.value() or b"")
        [wallet] = value["wallets"]
        seen[value["client_id"]].append((wallet["version"], wallet["balance"]))
    with world.connect() as session:
        books = session.execute("SELECT client_id, version, balance FROM accounts").fetchall()
    for client, version, balance in books:
        assert seen[client] == sorted(seen[client])
        assert seen[client][-1] == (version, f"{balance // 100}.{balance % 100:02d}")


def _deposit(world: World, clients: list[str], seed: int) -> None:
    chance = random.Random(seed)
    with psycopg.connect(world.env.database_url) as session:
        for number in range(60):
            for client in sorted(chance.sample(clients, 2)):
                session.execute(
                    "UPDATE accounts SET balance = balance + 1, version = version + 1 "
                    "WHERE client_id = %s",
                    (client,),
                )
                world.insert(f"{seed}/{number}/{client}", session, key=client.encode(), moved=True)
            session.commit()


def test_rows_that_bear_published_ids_but_other_events_are_published_and_reported(
    world: World,
) -> None:
    ids = [world.insert(f"before/{n}") for n in range(3)]
    with world.relay():
        eventually(lambda: world.waiting() == 0)
    for row_id, event in zip(ids, ["before/0", "after/1", "after/2"], strict=True):
        world.insert(event, row_id=row_id)
    with capture_logs() as logs, world.relay() as relay:
        eventually(lambda: world.waiting() == 0)
    events = [headers_of(m)["ce_id"] for m in world.read(WALLET_RESULT)]
    assert events == [b"before/0", b"before/1", b"before/2", b"after/1", b"after/2"]
    assert (relay.stats.found_published, relay.stats.mismatches) == (1, 2)
    [error] = [line for line in logs if line["log_level"] == "error"]
    assert error["rows"] == 2
    assert error["event"].startswith("restored?")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"value": b"x" * 6_000_000}, "too large"),
        ({"topic": WALLET_COMMAND_DLT, "partition": PARTITIONS}, "partition"),
    ],
)
def test_a_row_that_can_never_pass_is_named_and_stops_the_relay(
    world: World, columns: dict[str, Any], why: str
) -> None:
    row_id = world.insert("the/bad/one", **columns)
    with (
        pytest.raises(RelayStoppedError, match=rf"(?s)the/bad/one, in row {row_id} .*{why}"),
        world.relay() as relay,
    ):
        _until_it_ends(relay, world)
    assert world.waiting() == 1
    assert world.read(WALLET_RESULT) == []


def test_a_row_that_only_the_broker_refuses_is_found_among_others(
    wallet_env: WalletEnv, admin_client: AdminClient
) -> None:
    world = World(wallet_env)
    world.make_topics(admin_client, **{"max.message.bytes": "20000"})
    world.insert_many(1, 150, clients=3)
    row_id = world.insert("the/bad/one", key=b"client-1", value=random.randbytes(30_000))
    world.insert_many(151, 10, clients=3)
    with (
        pytest.raises(RelayStoppedError, match=rf"the/bad/one, in row {row_id} .*too large"),
        world.relay() as relay,
    ):
        _until_it_ends(relay, world)
    assert relay.stats.aborted >= 1
    assert world.waiting() > 10
    with world.connect() as session:
        session.execute("DELETE FROM outbox WHERE id = %s", (row_id,))
    with world.relay():
        eventually(lambda: world.waiting() == 0)
    assert published_numbers(world, clients=3) == expected_numbers(1, 160, clients=3)


def _until_it_ends(relay: Relay, world: World) -> None:
    eventually(
        lambda: not any(t.name == f"relay-{world.env.topic_prefix}" for t in threading.enumerate())
    )


def test_a_lost_session_is_taken_up_again(world: World) -> None:
    world.insert_many(1, 10)
    with capture_logs() as logs, world.relay() as relay:
        eventually(lambda: world.waiting() == 0)
        with world.connect() as session:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'wallet-relay-0'"
            )
        world.insert_many(11, 10)
        eventually(lambda: world.waiting() == 0)
    assert relay.stats.takeovers == 2
    assert published_numbers(world) == expected_numbers(1, 20)
    [why] = [line["why"] for line in logs if "why" in line]
    assert why.startswith("Postgres: ")


def test_kafka_away_is_said_once_and_does_not_hold_up_the_end(
    wallet_env: WalletEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_AGAIN_MAX_S", 0.5)
    monkeypatch.setattr(sender, "_CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(relay_module, "_BACKOFF_MAX_S", 0.1)
    world = World(wallet_env, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    with capture_logs() as logs, world.relay() as relay:
        eventually(lambda: relay._failures >= 3)
        ended_at = time.monotonic()
    assert time.monotonic() - ended_at < 3
    assert [line["why"] for line in logs if "why" in line] == ["Kafka: _TIMED_OUT"]


def test_topics_that_are_missing_are_named_and_waited_for(
    wallet_env: WalletEnv, admin_client: AdminClient
) -> None:
    world = World(wallet_env)
    world.insert_many(1, 5)
    with capture_logs() as logs, world.relay():
        eventually(lambda: any("wallet topics apply" in str(line) for line in logs))
        world.make_topics(admin_client)
        eventually(lambda: world.waiting() == 0)
    assert published_numbers(world) == expected_numbers(1, 5)


def test_two_parts_share_the_clients_between_them(
    wallet_env: WalletEnv, admin_client: AdminClient
) -> None:
    world = World(wallet_env, {"WALLET_RELAY_PART_COUNT": "2"})
    world.make_topics(admin_client)
    world.insert_many(1, 300)
    world.insert("dead", topic=WALLET_COMMAND_DLT, partition=0, key=None)
    with world.relay(0) as first, world.relay(1) as second:
        eventually(lambda: world.waiting() == 0)
    assert first.stats.published + second.stats.published == 301
    assert min(first.stats.published, second.stats.published) > 0
    assert published_numbers(world) == expected_numbers(1, 300)
    assert {m.partition() for m in world.read(WALLET_RELAY_PROGRESS)} == {0, 1}


def test_an_owner_that_is_stuck_in_a_statement_loses_the_lock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_outbox, "_SILENCE_MAX_S", 0.5)
    owner = Outbox(world.env.database_url, part=0, part_count=1)
    assert owner.try_lock()

    def stuck() -> None:
        with pytest.raises(psycopg.OperationalError), owner:
            owner._connection.execute("SELECT pg_sleep(60)")

    thread = threading.Thread(target=stuck)
    thread.start()
    world.insert_many(1, 10)
    with capture_logs() as logs, world.relay():
        eventually(lambda: world.waiting() == 0, timeout_s=10)
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert any(line.get("state") == "active" for line in logs)


def test_a_relay_that_starts_over_keeps_no_thread_of_what_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = itertools.count()
    kept = list[Exception]()

    def fail(client: dict[str, Any], *_topics: object, **_more: object) -> dict[Any, set[str]]:
        admin = AdminClient(client)
        admin.list_topics(timeout=10)
        asked = {"it": Future[None]()}
        # As the binding does: the future has the error, whose traceback has this frame; and some
        # errors are never let go.
        kept.append(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        asked["it"].set_exception(kept[-1])
        if next(tries) < 5:
            asked["it"].result()
        return {}

    def threads() -> int:
        return psutil.Process().num_threads()

    world.insert_many(1, 10)
    monkeypatch.setattr(relay_module, "open_event_ids", fail)
    gc.collect()
    gc.disable()  # in its own process the relay has Python look for cycles rarely
    try:
        before = threads()
        with world.relay():
            eventually(lambda: world.waiting() == 0, timeout_s=30)
            assert next(tries) > 5
        eventually(lambda: threads() <= before, timeout_s=10)
    finally:
        gc.enable()


def published_numbers(world: World, *, clients: int = 7) -> dict[bytes, list[int]]:
    """What `insert_many` numbered, as the readers see it, by client."""
    seen = {f"client-{n}".encode(): list[int]() for n in range(clients)}
    for message in world.read(WALLET_RESULT):
        seen[message.key() or b""].append(int(orjson.loads(message.value() or b"")["n"]))
    return seen


def expected_numbers(first: int, last: int, *, clients: int = 7) -> dict[bytes, list[int]]:
    """The same as it should be."""
    return {
        f"client-{n}".encode(): [i for i in range(first, last + 1) if i % clients == n]
        for n in range(clients)
    }
