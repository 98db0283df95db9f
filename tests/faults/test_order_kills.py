"""Orders while everything around them is killed: each ends once, and is paid for once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from ledger.database import connect
from ledger.verification import verify
from ops.fulfillment_stub.server import Stub
from producers.publisher import Input
from schemas.topic import ORDER_REQUEST
from tests.conftest import WalletEnv
from tests.faults.checker import judge
from tests.faults.checker_evidence import System, gather
from tests.producers.shop import QUICK, opened, stubbed
from tests.producers.world import eventually
from tests.scene import Process, Scene, command

# The whole of it: TEST_ORDERS=5000 .venv/bin/python -m pytest -k any_process
ORDERS = int(os.environ.get("TEST_ORDERS", "240"))
CLIENTS = min(200, ORDERS // 4)
KILLS_EACH = max(1, ORDERS // 500)
DEPOSIT = 1_000_00
# One call in three goes wrong.
FAULTS = {
    "refuse_rate": 0.04, "limit_rate": 0.06, "error_rate": 0.07, "hang_rate": 0.05,
    "reset_rate": 0.06, "garbage_rate": 0.05,
}  # fmt: skip
SETTINGS = {
    "WALLET_PARTITIONS": "4",
    "WALLET_SESSION_TIMEOUT_MS": "2000",
    # The whole of it keeps the service, a thread of the test's, busy for so long at times.
    "WALLET_FULFILLMENT_TIMEOUT_S": "1" if ORDERS < 1_000 else "4",
    "WALLET_FULFILLMENT_BACKOFF_S": "0.1",
    "WALLET_BREAKER_PROBE_S": "0.2",
    "WALLET_BREAKER_RAMP_S": "5",
}


@pytest.mark.parametrize(
    ("place", "when"),
    [
        ("ledger.fulfillment:lease", "after"),  # leased, nobody called
        ("producers.fulfillment:settle_all", "before"),  # the API has answered, nothing is written
        ("ledger.journal:write", "after"),  # written, not committed
        ("producers.fulfillment:settle_all", "after"),  # committed
    ],
)
def test_a_process_killed_at_its_worst_moment_leaves_orders_that_are_fulfilled_once(
    wallet_env: WalletEnv, place: str, when: str
) -> None:
    orders = [f"o-{number}" for number in range(12)]
    with opened(wallet_env) as shop, stubbed() as (stub, url):
        shop.place(*orders)
        environ = {**os.environ, **wallet_env.env, **QUICK, "FULFILLMENT_URL": url}
        # Two at once: some orders are done before the second settlement, some after.
        environ["WALLET_FULFILLMENT_CONCURRENCY"] = "2"
        fault = ["--at", place, "--when", when, "--nth", "2"]
        killed = subprocess.run(
            [sys.executable, "-m", "tests.faults.run", *fault, "fulfillment"],
            env=environ,
            timeout=60,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        with shop.fulfillment(url):
            assert set(shop.ended(*orders).values()) == {"completed"}
        assert {shop.order(o)["fulfillment_id"] for o in orders} == set(stub.record.ids.values())
        ends = Counter(event["order_id"] for event in shop.events())
        assert ends == Counter(orders)
        shop.assert_books_in_order()


@dataclass(slots=True)
class Load:
    """Orders, and what each of them costs in minor units."""

    records: list[Input] = field(default_factory=list)
    amounts: dict[tuple[str, str], int] = field(default_factory=dict)


def orders_over_clients(seed: int) -> Load:
    chance, load = random.Random(seed), Load()
    for number in range(ORDERS):
        client, minor = f"client-{number % CLIENTS}", chance.randint(1, 500)
        fields = {"order_id": f"o-{number}", "amount": f"{minor / 100:.2f}"}
        load.records.append(
            command(client, ORDER_REQUEST, command_id=f"p-{number}", type_="place_order", **fields)
        )
        load.amounts[client, f"o-{number}"] = minor
    chance.shuffle(load.records)
    return load


@pytest.mark.slow
@pytest.mark.timeout(max(180, ORDERS))
def test_any_process_killed_at_random_every_order_ends_and_each_completed_one_is_fulfilled_once(
    wallet_env: WalletEnv, admin_client: AdminClient, tmp_path: Path
) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    load = orders_over_clients(seed)
    with stubbed(**FAULTS) as (stub, url), ExitStack() as stack:
        scene = Scene(wallet_env, {**SETTINGS, "FULFILLMENT_URL": url})
        scene.make_topics(admin_client)
        scene.publish(*(
            command(f"client-{n}", command_id="0", type_="deposit", amount=f"{DEPOSIT / 100:.2f}")
            for n in range(CLIENTS)
        ))  # fmt: skip
        names = ("worker-1", "worker-2", "fulfillment-1", "fulfillment-2", "relay-1")
        running = {name: start(scene, stack, name, tmp_path) for name in names}
        eventually(lambda: scene.positions_count() == CLIENTS, 60)
        kill_while_publishing(scene, stack, running, load, tmp_path, seed)
        eventually(lambda: all_ended(scene), max(90, ORDERS // 2))
        eventually(lambda: scene.waiting() == 0, 60)
        for process in running.values():
            assert process.end() == 0
        check_orders(scene, stub, load)
        check_answers(scene, stub)


def start(scene: Scene, stack: ExitStack, name: str, folder: Path) -> Process:
    return stack.enter_context(scene.process(name.split("-", 1)[0], log=folder / f"{name}.log"))


def kill_while_publishing(
    scene: Scene,
    stack: ExitStack,
    running: dict[str, Process],
    load: Load,
    folder: Path,
    seed: int,
) -> None:
    """Publish in pieces; after each one process is killed and started again, then some more."""
    chance = random.Random(seed + 1)
    victims = list(running) * KILLS_EACH
    chance.shuffle(victims)
    size = -(-len(load.records) // len(victims))
    for number, victim in enumerate([*victims, "fulfillment-1", "fulfillment-2"]):
        scene.publish(*load.records[number * size : (number + 1) * size])
        time.sleep(chance.uniform(0.0, 1.5))
        running[victim].kill()
        running[victim] = start(scene, stack, victim, folder)


def all_ended(scene: Scene) -> bool:
    query = "SELECT count(*) FILTER (WHERE status <> 'pending') FROM orders"
    return bool(scene.scalar(query) == ORDERS)


def check_orders(scene: Scene, stub: Stub, load: Load) -> None:
    """Each order's end, against what the service has done and what the wallets have."""
    with scene.connect() as session:
        rows = session.execute(
            "SELECT client_id, order_id, status, fulfillment_id, reason, attempts FROM orders"
        ).fetchall()
        escrow, available = session.execute(
            "SELECT coalesce(sum(balance) FILTER (WHERE kind = 'escrow'), 0),"
            " sum(balance) FILTER (WHERE kind = 'available') FROM accounts"
        ).fetchone() or (None, None)
        revenue = session.execute(
            "SELECT coalesce(sum(balance), 0) FROM system_balances WHERE kind = 'revenue'"
        ).fetchone()
    completed = {(client, order): found for client, order, s, found, *_ in rows if s == "completed"}
    failed = {(client, order): reason for client, order, s, _, reason, _ in rows if s == "failed"}
    print(  # noqa: T201 - the figures of a long run
        f"{len(completed)} completed, {len(failed)} failed {Counter(failed.values())},"
        f" {sum(row[5] for row in rows)} attempts, {stub.record.calls.total()} calls"
    )
    assert len(completed) + len(failed) == ORDERS == len(load.amounts)
    ids = {(k.split("/")[0], k.split("/")[1]): found for k, found in stub.record.ids.items()}
    assert {key: ids.get(key) for key in completed} == completed
    assert len(set(ids.values())) == len(ids)
    # What the service has done is completed here, or known as one that may have been delivered.
    assert {failed[key] for key in ids.keys() - completed.keys()} <= {"fulfillment_unknown"}
    paid = sum(load.amounts[key] for key in completed)
    assert (int(escrow), revenue) == (0, (paid,))
    assert int(available) == CLIENTS * DEPOSIT - paid
    with connect(scene.env.database_url, application_name="test", long_queries=True) as session:
        assert [check for check in verify(session) if not check.holds] == []


def check_answers(scene: Scene, stub: Stub) -> None:
    """Each request is answered, and each order's end is told, as the checker wants it."""
    env = scene.env
    evidence = gather(System(env.kafka_bootstrap_servers, env.topic_prefix, env.database_url))
    evidence.fulfilled = dict(stub.record.ids)
    assert judge(evidence).breaches == []
