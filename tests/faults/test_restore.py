"""The database is restored from a backup made under load: what was lost is decided once more."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from ledger.database import connect
from ledger.verification import verify
from ops.stack import StackAddress
from ops.stack.postgres import _binary
from producers.publisher import Delivered, Input
from schemas.header import CE_ID
from schemas.topic import WALLET_RESULT
from tests.conftest import WalletEnv
from tests.ops.shell import Shell
from tests.producers.world import eventually
from tests.scene import Answers, Scene, command, text_headers

_CLIENTS = 20
_BURST, _BURSTS_AFTER = 50, 5


@pytest.mark.long
def test_after_a_restore_the_lost_part_is_decided_again_under_the_same_names(
    wallet_env: WalletEnv, admin_client: AdminClient, stack: StackAddress, tmp_path: Path
) -> None:
    scene = Scene(wallet_env, {"WALLET_PARTITIONS": "4", "WALLET_SESSION_TIMEOUT_MS": "2000"})
    scene.make_topics(admin_client)
    backup = tmp_path / "backup"
    with scene.running(), _load(scene) as sent:
        scene.answered(2 * _BURST)
        _run("pg_dump", "--format=custom", f"--file={backup}", wallet_env.database_url)
    with scene.running():
        before = scene.answered(len(sent))
        eventually(lambda: scene.waiting() == 0)
    balances = _balances(scene)
    _restore(stack, wallet_env.database_url, backup)
    assert _faults(scene) == []
    assert "restored from a backup" in Shell(scene.env.env | scene.extra).fine("doctor")
    assert 2 * _BURST <= scene.positions_count() < len(sent), "the backup was made in the middle"
    with scene.running():
        eventually(lambda: scene.positions_count() == len(sent))
        eventually(lambda: scene.waiting() == 0)
        after = scene.answers()
    assert _balances(scene) == balances
    assert _faults(scene) == []
    assert _repeated(before) == {1}
    assert _repeated(after) == {1, 2}
    assert len(_event_ids(scene)) == len(before.results)
    told = [{_told(result) for result in results} for results in after.results.values()]
    assert {len(outcomes) for outcomes in told} == {1}, "the same outcome both times"


@contextmanager
def _load(scene: Scene) -> Iterator[list[Delivered]]:
    """Deposits and payments, burst after burst, until the block ends and a little longer; each
    client's outcomes hang on its own commands alone."""
    enough, sent = threading.Event(), list[Delivered]()

    def run() -> None:
        bursts_left = _BURSTS_AFTER
        while bursts_left:
            bursts_left -= enough.is_set()
            first = len(sent)
            sent.extend(scene.publish(*map(_record, range(first, first + _BURST))))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield sent
    finally:
        enough.set()
        thread.join(60)


def _record(number: int) -> Input:
    client, command_id = f"client-{number % _CLIENTS}", f"c-{number}"
    if number % 3:
        return command(client, type="deposit", command_id=command_id, amount="2")
    fields = {"type": "payment", "amount": "3", "merchant_id": "shop"}
    return command(client, command_id=command_id, **fields)


def _restore(stack: StackAddress, url: str, backup: Path) -> None:
    name = urlsplit(url).path[1:]
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        session.execute(f'CREATE DATABASE "{name}"')
    _run("pg_restore", "--exit-on-error", f"--dbname={url}", str(backup))


def _run(tool: str, *line: str) -> None:
    ran = subprocess.run([str(_binary(tool)), *line], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def _faults(scene: Scene) -> list[str]:
    with connect(scene.env.database_url, application_name="test", long_queries=True) as session:
        return [check.name for check in verify(session) if not check.holds]


def _balances(scene: Scene) -> list[tuple[Any, ...]]:
    with scene.connect() as session:
        return session.execute(
            "SELECT client_id, kind, currency, balance, version FROM accounts"
            " WHERE client_id IS NOT NULL ORDER BY 1, 2, 3"
        ).fetchall()


def _repeated(answers: Answers) -> set[int]:
    return {len(results) for results in answers.results.values()}


def _event_ids(scene: Scene) -> set[str]:
    return {text_headers(message)[CE_ID] for message in scene.read(WALLET_RESULT)}


def _told(result: dict[str, Any]) -> tuple[Any, ...]:
    kept = ("command_id", "type", "status", "reason", "amount", "balance_before", "balance_after")
    return tuple(result[name] for name in kept)
