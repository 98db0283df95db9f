"""`wallet migrate` and `wallet topics`: safe to run again, and by two at once."""

from __future__ import annotations

import subprocess

import psycopg
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.settings import load_settings
from schemas.topic import WALLET_COMMAND, WALLET_RELAY_PROGRESS
from tests.ops.shell import WALLET, Shell, until


def test_topics_are_made_by_two_at_once_and_mended_and_never_repartitioned(
    shell: Shell, admin_client: AdminClient
) -> None:
    prefix = shell.env["WALLET_TOPIC_PREFIX"]
    assert shell.wallet("topics", "list").returncode == 1
    line = [*WALLET, "topics", "apply"]
    both = [subprocess.Popen(line, env=shell.environ, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()

    listed = {topic["topic"].removeprefix(prefix): topic for topic in shell.json("topics", "list")}
    assert listed[WALLET_COMMAND]["partitions"] == 3
    assert listed[WALLET_COMMAND]["config"]["max.message.bytes"] == str(4 * 1024 * 1024)
    assert listed[WALLET_RELAY_PROGRESS]["partitions"] == 1
    assert "All topics are as they should be" in shell.wallet("topics", "apply").stderr

    _set_config(admin_client, f"{prefix}{WALLET_COMMAND}", "retention.ms", "60000")
    difference = {
        "topic": f"{prefix}{WALLET_COMMAND}",
        "what": "retention.ms",
        "have": "60000",
        "want": "2592000000",
    }
    until(lambda: shell.wallet("topics", "diff").returncode == 1)
    assert shell.json("topics", "diff", code=1) == [difference]
    assert shell.json("topics", "apply") == {"changed": [difference]}
    assert shell.json("topics", "diff") == []

    refused = shell.wallet("topics", "apply", WALLET_PARTITIONS="4")
    assert refused.returncode == 1
    assert f"{prefix}{WALLET_COMMAND}" in refused.stderr
    assert "set WALLET_PARTITIONS=3" in refused.stderr
    refused = shell.process("run", "all", WALLET_PARTITIONS="4")
    assert refused.returncode == 1
    assert "3 partitions, and WALLET_PARTITIONS is 4" in refused.stderr


def test_migrate_may_run_again(shell: Shell) -> None:
    assert shell.json("migrate") == {"applied": []}
    with psycopg.connect(shell.env["DATABASE_URL"]) as session:
        count = session.execute("SELECT count(*) FROM transactions").fetchone()
    assert count == (0,)


def test_migrate_works_as_the_owner_where_one_is_named(shell: Shell) -> None:
    owner = shell.env["DATABASE_URL"]
    ran = shell.wallet(
        "migrate", DATABASE_URL="postgresql://127.0.0.1:1/x", WALLET_MIGRATE_DATABASE_URL=owner
    )
    assert ran.returncode == 0, ran.stderr


def _set_config(client: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    [future] = client.incremental_alter_configs([resource]).values()
    future.result(10)
    assert load_settings({}).partitions == 12
