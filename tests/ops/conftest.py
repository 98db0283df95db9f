"""A wallet for the command line's tests: set up by the command itself, and running."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
import structlog
from confluent_kafka.admin import AdminClient

from ops.stack import StackAddress
from tests.conftest import WalletEnv
from tests.ops.shell import Shell
from tests.scene import Scene

PARTITIONS = {"WALLET_PARTITIONS": "3"}
_SCENE = {"WALLET_PARTITIONS": "4", "WALLET_SESSION_TIMEOUT_MS": "2000"}


@pytest.fixture
def shell(wallet_env: WalletEnv) -> Shell:
    """A migrated database of the test's own, and no topics."""
    return Shell({**wallet_env.env, **PARTITIONS})


@pytest.fixture
def scene(wallet_env: WalletEnv, admin_client: AdminClient) -> Scene:
    """Topics and a database of the test's own, whose workers and relays the test starts."""
    made = Scene(wallet_env, _SCENE)
    made.make_topics(admin_client)
    return made


@pytest.fixture
def log_apart() -> Iterator[None]:
    """What this process's threads log is not among what a command prints."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.configure(**before)


@pytest.fixture
def desk(scene: Scene, log_apart: None) -> Shell:
    """The command line of whoever looks after the scene."""
    return Shell({**scene.env.env, **_SCENE})


@pytest.fixture(scope="session")
def wallet(stack: StackAddress, admin_client: AdminClient) -> Iterator[Shell]:
    """`wallet migrate`, `wallet topics apply` and `wallet run all`, for all tests that send."""
    mark = secrets.token_hex(3)
    prefix, name = f"cli-{mark}-", f"wallet_cli_{mark}"
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(f'CREATE DATABASE "{name}"')
    url = urlsplit(stack.database_url)._replace(path=f"/{name}").geturl()
    shell = Shell(
        {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
            "DATABASE_URL": url,
            "WALLET_TOPIC_PREFIX": prefix,
            **PARTITIONS,
        }
    )
    shell.fine("migrate")
    shell.fine("topics", "apply")
    # Bound: a run of several processes that is broken off ends this one without a word.
    with shell.started("run", "all", "--bound") as running:
        running.says("the relay owns its part")
        running.says("partitions assigned")
        yield shell
        assert running.end(signal.SIGTERM) == 0, running.said
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    topics = [t for t in admin_client.list_topics(timeout=10).topics if t.startswith(prefix)]
    admin_client.delete_topics(topics)  # nobody waits for it
