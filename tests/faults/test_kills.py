"""Everything is killed, again and again, under load: nothing is lost, doubled or out of order."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from ledger.database import connect
from ledger.verification import verify
from producers.publisher import Delivered, Input
from schemas.topic import WALLET_COMMAND
from tests.conftest import WalletEnv
from tests.producers.world import eventually
from tests.scene import Answers, Process, Scene, command

COMMANDS, CLIENTS = 20_000, 500
KILLS_EACH = 3


@dataclass(slots=True)
class Load:
    """Mixed commands, and what the balances must be once all are applied.

    No client can run out of money, so that the sums don't depend on the order in which transfers
    of different partitions meet.
    """

    records: list[Input] = field(default_factory=list)
    balances: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    broken: int = 0
    transfers: int = 0


def mixed_load(seed: int) -> Load:
    """20,000 commands over 500 clients: a fifth transfers, a twentieth repeated, some broken."""
    chance, load = random.Random(seed), Load()
    clients = [f"client-{number}" for number in range(CLIENTS)]
    for client in clients:
        load.records.append(command(client, command_id="0", type_="credit", amount="100000"))
        load.balances[client] += 10_000_000
    sent: list[Input] = []
    for number in range(1, COMMANDS - CLIENTS + 1):
        client, dice = chance.choice(clients), chance.random()
        if dice < 0.05 and sent:
            load.records.append(chance.choice(sent))
            load.duplicates += 1
            continue
        if dice < 0.06:
            load.records.append(Input(WALLET_COMMAND, client.encode(), b'{"command_id": broken'))
            load.broken += 1
            continue
        record = one_command(chance, load, client, number, clients)
        sent.append(record)
        load.records.append(record)
    return load


def one_command(
    chance: random.Random, load: Load, client: str, number: int, clients: list[str]
) -> Input:
    """One good or refused command, counted into the balances."""
    minor, dice = chance.randint(1, 500), chance.random()
    fields = {"command_id": f"c-{number}", "amount": f"{minor / 100:.2f}"}
    if dice < 0.2:
        to = chance.choice([other for other in clients if other != client])
        load.balances[client] -= minor
        load.balances[to] += minor
        load.transfers += 1
        return command(client, type_="transfer", to_client_id=to, **fields)
    if dice < 0.25:
        return command(client, type_="debit", command_id=f"c-{number}", amount="90000000.00")
    kind, sign = chance.choice([("credit", 1), ("debit", -1), ("deposit", 1), ("withdraw", -1)])
    load.balances[client] += sign * minor
    return command(client, type_=kind, **fields)


@pytest.mark.slow
def test_workers_and_relays_killed_at_random_lose_and_double_nothing(
    wallet_env: WalletEnv, admin_client: AdminClient, tmp_path: Path
) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    scene = Scene(wallet_env, {"WALLET_PARTITIONS": "4", "WALLET_SESSION_TIMEOUT_MS": "2000"})
    scene.make_topics(admin_client)
    load = mixed_load(seed)
    # The deposits first: what follows needs them, from whatever partition it comes.
    places = scene.publish(*load.records[:CLIENTS])
    with ExitStack() as stack:
        running = {
            name: start(scene, stack, name, tmp_path)
            for name in ("worker-1", "worker-2", "relay-1", "relay-2")
        }
        eventually(lambda: scene.positions_count() == CLIENTS)
        places += publish_while_killing(scene, stack, running, load, tmp_path, seed)
        answers = scene.answered(COMMANDS, timeout_s=120)
        time.sleep(0.5)
        answers = scene.answers()
        for process in running.values():
            assert process.end() == 0
    check(scene, load, places, answers)


def start(scene: Scene, stack: ExitStack, name: str, folder: Path) -> Process:
    return stack.enter_context(scene.process(name.split("-", 1)[0], log=folder / f"{name}.log"))


def publish_while_killing(
    scene: Scene,
    stack: ExitStack,
    running: dict[str, Process],
    load: Load,
    folder: Path,
    seed: int,
) -> list[Delivered]:
    """Publish in pieces; after each piece one process is killed and started again."""
    chance = random.Random(seed + 1)
    victims = list(running) * KILLS_EACH
    chance.shuffle(victims)
    rest = load.records[CLIENTS:]
    size = -(-len(rest) // len(victims))
    places: list[Delivered] = []
    for number, victim in enumerate(victims):
        places += scene.publish(*rest[number * size : (number + 1) * size])
        time.sleep(chance.uniform(0.0, 1.0))
        running[victim].kill()
        time.sleep(chance.uniform(0.0, 0.5))
        running[victim] = start(scene, stack, victim, folder)
    return places


def check(scene: Scene, load: Load, places: list[Delivered], answers: Answers) -> None:
    """One answer per input, none twice, in order; the sums; the books."""
    answered = {**answers.results, **answers.dead}
    assert len(answered) == len(places) == COMMANDS
    assert {(p.topic, p.partition, p.offset) for p in places} == set(answered)
    assert [place for place, given in answered.items() if len(given) != 1] == []
    assert sum(map(len, answers.dead.values())) == load.broken
    results = [result for [result] in answers.results.values()]
    assert sum(result["duplicate"] for result in results) == load.duplicates
    assert len(answers.others) == load.transfers
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for topic, partition, offset in answers.results:  # in the order in which they were published
        offsets[topic, partition].append(offset)
    assert all(found == sorted(found) for found in offsets.values())
    with scene.connect() as session:
        rows = session.execute("SELECT client_id, balance FROM accounts").fetchall()
    assert dict(rows) == dict(load.balances)
    assert scene.waiting() == 0
    with connect(scene.env.database_url, application_name="test", long_queries=True) as session:
        assert [check for check in verify(session) if not check.holds] == []
