"""One broker and one database server for the whole run; topics and a database for each test."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck, settings

from ledger.migration import migrate
from ops.stack import Stack, StackAddress, kafka
from tests.container import containers
from tests.schedule import Schedule

# How long an example takes says how busy the machine is, and no more.
settings.register_profile("wallet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wallet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests go first, so that no process is left with one when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


_under_way: set[str] = set()


def pytest_runtest_logstart(nodeid: str) -> None:
    _under_way.add(nodeid)


def pytest_runtest_logfinish(nodeid: str) -> None:
    _under_way.discard(nodeid)


def pytest_keyboard_interrupt() -> None:
    """Say in which tests: of those in other processes pytest does not."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        sys.stderr.write("".join(f"\ninterrupted in {nodeid}" for nodeid in sorted(_under_way)))
        sys.stderr.flush()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule:
    """Divide the tests between several processes, where there are."""
    return Schedule(config, log)


@dataclass(frozen=True, slots=True)
class WalletEnv:
    """What is one test's own: a prefix for its topics and a migrated, empty database."""

    kafka_bootstrap_servers: str
    database_url: str
    topic_prefix: str
    env: dict[str, str]


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[StackAddress]:
    """Kafka and PostgreSQL: those of the environment, containers with STACK=containers, or
    the embedded pair, which ends with the run however that ends."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    worker = os.environ.get("PYTEST_XDIST_WORKER")
    name = f"{worker}: " if worker else ""

    def progress(text: str) -> None:
        with capture.global_and_fixture_disabled():
            # Standard output is what one of several workers speaks to pytest by.
            sys.stderr.write(f"\n{name}{text}")
            sys.stderr.flush()

    if given[0] and given[1]:
        yield StackAddress(kafka_bootstrap_servers=given[0], database_url=given[1])
    elif os.environ.get("STACK") == "containers":
        with containers(progress) as address:
            yield address
    else:
        folder = Path(tempfile.mkdtemp(prefix="wallet-test-"))
        with Stack(folder, progress=progress).bound(throwaway=True) as address:
            yield address


@pytest.fixture(scope="session")
def admin_client(stack: StackAddress) -> AdminClient:
    """An administrator of the run's broker, silent when the broker ends before it does."""
    return kafka.admin(stack.kafka_bootstrap_servers)


@pytest.fixture(scope="session")
def template_database(stack: StackAddress) -> Iterator[str]:
    """The name of a migrated database that every test's own is copied from."""
    name = f"wallet_template_{secrets.token_hex(3)}"
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(f'CREATE DATABASE "{name}"')
    migrate(_database_url(stack, name))
    yield name
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def wallet_env(
    stack: StackAddress, admin_client: AdminClient, template_database: str
) -> Iterator[WalletEnv]:
    """The test's own topic prefix and database; both are gone afterwards."""
    mark = secrets.token_hex(3)
    prefix, database = f"t-{mark}-", f"wallet_test_{mark}"
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template_database}"')
    url = _database_url(stack, database)
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "DATABASE_URL": url,
        "WALLET_TOPIC_PREFIX": prefix,
    }
    yield WalletEnv(
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        database_url=url,
        topic_prefix=prefix,
        env=env,
    )
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
    topics = [
        name for name in admin_client.list_topics(timeout=10).topics if name.startswith(prefix)
    ]
    if topics:
        admin_client.delete_topics(topics)  # nobody waits for it


def _database_url(stack: StackAddress, database: str) -> str:
    return urlsplit(stack.database_url)._replace(path=f"/{database}").geturl()
