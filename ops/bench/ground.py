"""Where a measurement takes place: a database and topics of its own, gone afterwards."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ledger.migration import migrate
from ops import topic
from ops.bench.baseline import SCHEMA
from ops.bench.failure import BenchError
from ops.bench.plan import Plan
from ops.cli.place import Place
from schemas.settings import Settings, load_settings
from schemas.topic import ORDER_REQUEST, ORDER_RESULT, WALLET_COMMAND, WALLET_RESULT, Topics

# What would point the processes elsewhere, or have them refuse commands of the load.
_NOT_THEIRS = frozenset(
    {"DATABASE_URL_FILE", "WALLET_MIGRATE_DATABASE_URL", "WALLET_MIGRATE_DATABASE_URL_FILE"}
)
_DELETE_TIMEOUT_S = 30.0
_FORGET_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A migrated database and topics; `environ` has processes of ours find them.

    `owner_url` is the database as its owner sees it.
    """

    settings: Settings
    database: str
    owner_url: str
    environ: dict[str, str]
    admin: AdminClient

    @property
    def command_topic(self) -> str:
        """What our worker reads."""
        return Topics(self.settings.topic_prefix).real(WALLET_COMMAND)

    @property
    def result_topic(self) -> str:
        """What our relay writes."""
        return Topics(self.settings.topic_prefix).real(WALLET_RESULT)

    @property
    def order_topics(self) -> tuple[str, str]:
        """Where orders are requested, and where it is told what became of them."""
        topics = Topics(self.settings.topic_prefix)
        return topics.real(ORDER_REQUEST), topics.real(ORDER_RESULT)

    @property
    def baseline_topics(self) -> tuple[str, str]:
        """What the baseline reads and writes."""
        prefix = self.settings.topic_prefix
        return f"{prefix}baseline-command", f"{prefix}baseline-result"

    def connect(self) -> psycopg.Connection[Any]:
        """A session of the database's owner, in autocommit."""
        return psycopg.connect(self.owner_url, autocommit=True, application_name="wallet-bench")


@contextmanager
def ground(place: Place, plan: Plan) -> Iterator[Ground]:
    """Make database and topics for the length of a `with` block.

    Raises BenchError where the server lets us make no database, psycopg.Error, KafkaException.
    """
    mark = f"bench-{secrets.token_hex(3)}"
    database = f"wallet_{mark.replace('-', '_')}"
    given = place.settings.migrate_database_url
    server_url = place.database_url if given is None else given.get_secret_value()
    environ = {name: value for name, value in place.environ.items() if name not in _NOT_THEIRS} | {
        "DATABASE_URL": make_conninfo(place.database_url, dbname=database),
        "WALLET_TOPIC_PREFIX": f"{place.settings.topic_prefix}{mark}-",
        "WALLET_DEFAULT_CURRENCY": "USD",
        "WALLET_AUTO_CREATE": "true",
        "WALLET_LOG_LEVEL": "warning",
    }
    if max(plan.workers) > 1:
        # The classic one may give a single worker all partitions of one topic.
        environ.setdefault("WALLET_GROUP_PROTOCOL", "consumer")
    settings = load_settings(environ)
    admin = topic.admin_client(settings)
    made = Ground(settings, database, make_conninfo(server_url, dbname=database), environ, admin)
    with _database(server_url, database), _topics(made):
        migrate(made.owner_url)
        topic.apply(admin, settings)
        if plan.baseline:
            _make_baseline(made, plan.clients)
        yield made


@contextmanager
def _database(server_url: str, name: str) -> Iterator[None]:
    def execute(statement: str) -> None:
        with psycopg.connect(server_url, autocommit=True) as session:
            session.execute(sql.SQL(statement).format(sql.Identifier(name)))

    try:
        execute("CREATE DATABASE {}")
    except psycopg.errors.InsufficientPrivilege as error:
        raise BenchError(
            "the measurement makes a database of its own, and this login may not: give it "
            "CREATEDB, or name one that may in WALLET_MIGRATE_DATABASE_URL"
        ) from error
    with _finally(lambda: execute("DROP DATABASE {} WITH (FORCE)")):
        yield


@contextmanager
def _topics(made: Ground) -> Iterator[None]:
    """Have all topics and groups of this prefix gone afterwards."""
    made.admin.list_topics(timeout=topic.ASK_TIMEOUT_S)  # a broker that is away is said at once
    with _finally(lambda: _delete_topics(made)):
        yield


@contextmanager
def _finally(clean_up: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        clean_up()


def _delete_topics(made: Ground) -> None:
    prefix = made.settings.topic_prefix
    known = made.admin.list_topics(timeout=_DELETE_TIMEOUT_S).topics
    names = [name for name in known if name.startswith(prefix)]
    if names:
        for deleted in made.admin.delete_topics(names).values():
            deleted.result(_DELETE_TIMEOUT_S)
    groups = [Topics(prefix).group_id, f"{prefix}baseline-worker"]
    for forgotten in made.admin.delete_consumer_groups(groups).values():
        # Never made, not left yet, or their coordinator is only about to load: they expire by
        # themselves, with nothing in them.
        with suppress(KafkaException, TimeoutError):
            forgotten.result(_FORGET_TIMEOUT_S)


def _make_baseline(made: Ground, clients: int) -> None:
    with made.connect() as session:
        session.execute(SCHEMA.format(clients=clients).encode())
    settings = made.settings
    new = [
        NewTopic(name, settings.partitions, settings.replication_factor)
        for name in made.baseline_topics
    ]
    for created in made.admin.create_topics(new).values():
        created.result(_DELETE_TIMEOUT_S)
