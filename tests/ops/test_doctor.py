"""`wallet doctor`: what is broken is found, named, and comes with a remedy."""

from __future__ import annotations

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from psycopg.conninfo import make_conninfo

from ops import topic
from ops.doctor import kafka
from ops.doctor.finding import Finding
from ops.doctor.postgres import examine_database
from schemas.partition import partition_of
from schemas.topic import WALLET_COMMAND
from tests.conftest import WalletEnv
from tests.ops.shell import Shell
from tests.scene import Scene


def test_a_sound_wallet_has_no_errors_and_a_broken_database_is_found(
    desk: Shell, scene: Scene
) -> None:
    found = desk.json("doctor")
    assert found["healthy"]
    assert {each["part"] for each in found["findings"]} == {"Kafka", "PostgreSQL", "Positions"}
    assert "error" not in {each["level"] for each in found["findings"]}
    checks = {each["check"] for each in found["findings"]}
    assert {"topics", "partitioner", "rights", "fsync", "journal", "sequences", "clock"} <= checks
    assert {"buffers", "checkpoints"} <= checks
    assert "0 error(s)" in desk.fine("doctor")  # the test's login is a superuser: a warning
    with scene.connect() as session:
        session.execute("ALTER SEQUENCE outbox_ids CACHE 50")
        session.execute("GRANT UPDATE ON transactions TO wallet_runtime")
        session.execute("REVOKE DELETE ON outbox FROM wallet_runtime")
        session.execute("ALTER TABLE outbox SET (autovacuum_enabled = off)")
        faults = _faults(desk)
        assert "outbox_ids has CACHE 50" in faults["sequences"]
        assert "UPDATE on transactions" in faults["journal"]
        assert "outbox DELETE" in faults["rights"]
        assert "not vacuumed" in faults["outbox"]
        session.execute("REVOKE UPDATE ON transactions FROM wallet_runtime")
        session.execute("ALTER TABLE transactions DISABLE TRIGGER transactions_append_only")
        assert "trigger" in _faults(desk)["journal"]
    ran = desk.wallet("doctor")
    assert ran.returncode == 1
    assert "→ ALTER SEQUENCE outbox_ids CACHE 1;" in ran.stdout


@pytest.mark.parametrize(
    ("timed", "requested", "level"), [(40, 9, "ok"), (3, 9, "ok"), (40, 41, "warning")]
)
def test_checkpoints_that_a_full_log_asks_for_are_found(
    wallet_env: WalletEnv, timed: int, requested: int, level: str
) -> None:
    with psycopg.connect(wallet_env.database_url, autocommit=True) as session:
        # The server's own counters are all tests' together.
        session.execute(
            "CREATE TABLE public.pg_stat_checkpointer (num_timed int, num_requested int)"
        )
        session.execute(
            "INSERT INTO public.pg_stat_checkpointer VALUES (%s, %s)", (timed, requested)
        )
    assert _public_first(wallet_env)["checkpoints"].level == level


def test_buffers_that_hold_less_than_accounts_and_indexes_are_found(wallet_env: WalletEnv) -> None:
    assert _public_first(wallet_env)["buffers"].level == "ok"
    with psycopg.connect(wallet_env.database_url, autocommit=True) as session:
        session.execute("CREATE FUNCTION public.pg_size_bytes(text) RETURNS int8 RETURN 8192")
    found = _public_first(wallet_env)["buffers"]
    assert found.level == "warning"
    assert "shared_buffers 0 MiB" in found.sentence


def test_a_transaction_that_hangs_open_is_found(
    desk: Shell, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "_SECOND_LOOK_S", 0.5)
    name = scene.topics.real(WALLET_COMMAND)
    producer = Producer(
        {**scene.settings.kafka_client(), "transactional.id": f"{scene.env.topic_prefix}hanging"}
    )
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(name, b"{}", b"anna")
    assert producer.flush(10) == 0
    assert f"hangs open in {name}/" in _faults(desk)["transactions"]
    producer.abort_transaction(10)
    assert desk.json("doctor")["healthy"]


def test_a_wrong_partitioner_and_topics_that_differ_are_found(
    desk: Shell, scene: Scene, admin_client: AdminClient
) -> None:
    wrong = (partition_of(b"anna", 4) + 1) % 4
    scene.publish_to((wrong, "anna", b"{}"))
    assert f"wallet-command/{wrong}/0" in _faults(desk)["partitioner"]
    ran = desk.wallet("doctor", WALLET_PARTITIONS="5")
    assert ran.returncode == 1
    assert "set WALLET_PARTITIONS=4" in ran.stdout
    name = scene.topics.real("order-result")
    [gone] = admin_client.delete_topics([name]).values()
    gone.result(10)
    assert f"{name} is missing" in _faults(desk)["topics"]


def test_each_server_that_is_away_is_told_and_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "ASK_TIMEOUT_S", 0.5)
    away = Shell(
        {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    )
    ran = away.wallet("doctor")
    assert ran.returncode == 3
    assert "Kafka at 127.0.0.1:1 can't be reached" in ran.stdout
    assert "PostgreSQL can't be reached" in ran.stdout
    assert Shell({}).wallet("doctor", "now").returncode == 2


def _faults(desk: Shell) -> dict[str, str]:
    """What is wrong, by check; each with a remedy."""
    ran = desk.json("doctor", code=1)
    wrong = [each for each in ran["findings"] if each["level"] != "ok"]
    assert all(each["remedy"] for each in wrong)
    return {each["check"]: each["sentence"] for each in wrong}


def _public_first(env: WalletEnv) -> dict[str, Finding]:
    """By check, with what is in the schema `public` before the server's own of the same name."""
    url = make_conninfo(env.database_url, options="-c search_path=public,pg_catalog")
    return {found.check: found for found in examine_database(url)}
