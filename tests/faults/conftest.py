"""A scene for each fault: topics made, database migrated, nothing running."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from ledger.migration import migrate
from ops.stack import kafka
from tests.conftest import WalletEnv
from tests.faults.proof_server import Servers
from tests.scene import Scene

_SETTINGS = {"WALLET_PARTITIONS": "4", "WALLET_SESSION_TIMEOUT_MS": "2000"}


@pytest.fixture
def scene(wallet_env: WalletEnv, admin_client: AdminClient) -> Scene:
    made = Scene(wallet_env, dict(_SETTINGS))
    made.make_topics(admin_client)
    return made


def scene_on(own: Servers, **more: str) -> Scene:
    """Topics and a database of a test's own, on servers that it may kill; `more` are settings."""
    mark = f"f{secrets.token_hex(3)}"
    with psycopg.connect(own.database_url, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {mark}".encode())
    url = urlsplit(own.database_url)._replace(path=f"/{mark}").geturl()
    migrate(url)
    brokers, prefix = own.bootstrap_servers, f"{mark}-"
    env = WalletEnv(
        kafka_bootstrap_servers=brokers,
        database_url=url,
        topic_prefix=prefix,
        env={
            "KAFKA_BOOTSTRAP_SERVERS": brokers,
            "DATABASE_URL": url,
            "WALLET_TOPIC_PREFIX": prefix,
        },
    )
    made = Scene(env, {**_SETTINGS, **more})
    made.make_topics(kafka.admin(brokers))
    return made
