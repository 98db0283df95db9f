"""What a process needs before it begins: servers to wait for, a schema and topics to insist on."""

import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg
import structlog
from confluent_kafka import KafkaException

from ledger.migration import pending
from ops import topic
from schemas.settings import Settings

_RETRY_S = 1.0
# Short, so that the log says soon what is waited for; the client goes on connecting meanwhile.
_PATIENCE_S = 2.0
# Said again after as many, for whoever looks at the log's end.
_REMIND_ATTEMPTS = 30

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class MissingError(Exception):
    """Something must be set up first; the text says what and by which verb."""


def wait_until_ready(settings: Settings, database_url: str, stop: threading.Event) -> bool:
    """Wait for PostgreSQL and Kafka for as long as it takes, then check schema and topics.

    Servers are waited for, since containers start in any order; what only a person or a
    deployment's step can mend is refused. False if `stop` came first.
    Raises MissingError for migrations or topics, PartitionCountError where a topic has another
    number of partitions than the settings.
    """
    if not wait_for_schema(database_url, stop):
        return False
    client = topic.admin_client(settings)
    counts = _wait("Kafka", lambda: topic.partition_counts(client, _PATIENCE_S), stop)
    if counts is None:
        return False
    check_topics(settings, counts)
    return True


def wait_for_schema(database_url: str, stop: threading.Event) -> bool:
    """Wait for PostgreSQL alone, then check its schema; False if `stop` came first.

    Raises MissingError where the database lacks migrations.
    """
    missing = _wait("PostgreSQL", lambda: pending(database_url), stop)
    if missing is None:
        return False
    check_migrations(missing)
    return True


def check_migrations(missing: list[str]) -> None:
    """Raises MissingError where the database lacks migrations."""
    if missing:
        names = ", ".join(missing)
        raise MissingError(f"the database lacks migrations ({names}): run `wallet migrate`")


def check_topics(settings: Settings, partition_counts: dict[str, int]) -> None:
    """Raises MissingError where topics are missing, PartitionCountError where a count differs.

    Their configs are not looked at: a worker's account need not have the right to.
    """
    found = [topic.TopicState(s, partition_counts.get(s.name), {}) for s in topic.specs(settings)]
    missing = [state.spec.name for state in found if state.is_missing]
    if missing:
        names = ", ".join(missing)
        raise MissingError(f"topics are missing ({names}): run `wallet topics apply`")
    topic.check_partition_counts(found)


def _wait(server: str, ask: Callable[[], _T], stop: threading.Event) -> _T | None:
    """The answer, asked for until the server gives it; None if `stop` came first."""
    attempts = 0
    while not stop.is_set():
        try:
            answer = ask()
        except (psycopg.OperationalError, KafkaException) as error:
            if attempts % _REMIND_ATTEMPTS == 0:
                _log.warning(f"{server} is away, waiting for it", error=_text(error))
            stop.wait(_RETRY_S)
            attempts += 1
        else:
            if attempts:
                _log.info(f"{server} is there")
            return answer
    return None


def _text(error: Exception) -> str:
    inner = error.args[0] if isinstance(error, KafkaException) else None
    return inner.str() if inner is not None else str(error).strip()
