"""Everything is killed, again and again, under load: the checker finds nothing."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from ledger.database import connect
from ledger.verification import verify
from producers.publisher import Input
from tests.conftest import WalletEnv
from tests.faults.checker import judge
from tests.faults.checker_evidence import System, gather
from tests.faults.checker_load import Load
from tests.producers.world import eventually
from tests.scene import Process, Scene

COMMANDS, CLIENTS = 20_000, 500
KILLS_EACH = 3


@pytest.mark.slow
def test_workers_and_relays_killed_at_random_break_no_promise(
    wallet_env: WalletEnv, admin_client: AdminClient, tmp_path: Path
) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    scene = Scene(
        wallet_env,
        {
            "WALLET_PARTITIONS": "4",
            "WALLET_SESSION_TIMEOUT_MS": "2000",
            # A worker killed three times before its first commit goes on record by record, for as
            # many as a batch may have.
            "WALLET_BATCH_RECORDS_MAX": "500",
        },
    )
    scene.make_topics(admin_client)
    load = Load(seed, CLIENTS)
    opening = load.opening()
    scene.publish(*opening)
    with ExitStack() as stack:
        running = {
            name: start(scene, stack, name, tmp_path)
            for name in ("worker-1", "worker-2", "relay-1", "relay-2")
        }
        eventually(lambda: scene.positions_count() == len(opening))
        rest = load.more(COMMANDS - len(opening))
        publish_while_killing(scene, stack, running, rest, load.seed, tmp_path)
        evidence = gather(system_of(wallet_env), settle_timeout_s=120)
        for process in running.values():
            assert process.end() == 0
    verdict = judge(evidence)
    print(verdict)  # noqa: T201
    assert verdict.breaches == []
    assert verdict.inputs == COMMANDS
    with connect(wallet_env.database_url, application_name="test", long_queries=True) as session:
        assert [check for check in verify(session) if not check.holds] == []


def system_of(env: WalletEnv) -> System:
    return System(env.kafka_bootstrap_servers, env.topic_prefix, env.database_url)


def start(scene: Scene, stack: ExitStack, name: str, folder: Path) -> Process:
    return stack.enter_context(scene.process(name.split("-", 1)[0], log=folder / f"{name}.log"))


def publish_while_killing(
    scene: Scene,
    stack: ExitStack,
    running: dict[str, Process],
    records: list[Input],
    seed: int,
    folder: Path,
) -> None:
    """Publish in pieces; after each piece one process is killed and started again."""
    chance = random.Random(seed + 1)
    victims = list(running) * KILLS_EACH
    chance.shuffle(victims)
    size = -(-len(records) // len(victims))
    for number, victim in enumerate(victims):
        scene.publish(*records[number * size : (number + 1) * size])
        time.sleep(chance.uniform(0.0, 1.0))
        running[victim].kill()
        time.sleep(chance.uniform(0.0, 0.5))
        running[victim] = start(scene, stack, victim, folder)
