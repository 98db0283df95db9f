"""Where Kafka and PostgreSQL are: as the environment says, or the stack in the data directory."""

import os
from dataclasses import dataclass, replace

from pydantic import SecretStr

from ops.cli.failure import UnreachableError
from schemas.settings import Settings, SettingsError, load_settings

_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE")


@dataclass(frozen=True, slots=True)
class Place:
    """Settings whose brokers are known, and a connection string (empty: libpq's PG* say it all).

    `environ` is the environment in which other processes of ours find the same place.
    """

    settings: Settings
    database_url: str
    environ: dict[str, str]


def kafka() -> Settings:
    """For verbs that need only Kafka: the settings, with brokers.

    Raises SettingsError where only PostgreSQL is given: the stack's Kafka knows nothing of it.
    UnreachableError where nothing is given and no stack runs.
    """
    return _find(kafka=True, database=False).settings


def database() -> Place:
    """For verbs that need only PostgreSQL. Raises as `kafka` does, the other way round."""
    return _find(kafka=False, database=True)


def both() -> Place:
    """For verbs that need both. Raises SettingsError where one of two is given."""
    return _find(kafka=True, database=True)


def owner() -> Place:
    """The database as its schema's owner sees it: WALLET_MIGRATE_DATABASE_URL comes first."""
    settings = load_settings()
    if settings.migrate_database_url is None:
        return database()
    url = settings.migrate_database_url.get_secret_value()
    return Place(settings, url, dict(os.environ))


def _find(*, kafka: bool, database: bool) -> Place:
    settings = load_settings()
    found = Place(settings, _secret(settings.database_url), dict(os.environ))
    if settings.kafka_bootstrap_servers is None and settings.database_url is None:
        return _stack(found)
    # PG* count only beside KAFKA_BOOTSTRAP_SERVERS: alone they are often set for other programs.
    has_database = settings.database_url is not None or any(os.environ.get(v) for v in _LIBPQ)
    if kafka and settings.kafka_bootstrap_servers is None:
        raise SettingsError([_one_of_two("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")])
    if database and not has_database:
        raise SettingsError([_one_of_two("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL")])
    return found


def _one_of_two(given: str, missing: str) -> str:
    return (
        f"{given} is set and {missing} is not: set both, or neither to use the stack in the data "
        "directory"
    )


def _secret(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()


def _stack(found: Place) -> Place:
    # Of the extra `stack`, which an installation with servers of its own does without.
    from ops.stack import Stack, StackError  # noqa: PLC0415

    try:
        address = Stack(found.settings.data_dir).address()
    except StackError as error:
        raise UnreachableError(
            f"{error}\nStart it with `wallet stack start`, or set KAFKA_BOOTSTRAP_SERVERS and "
            "DATABASE_URL to use servers of your own."
        ) from error
    given = address.environment()
    settings = found.settings.model_copy(
        update={"kafka_bootstrap_servers": address.kafka_bootstrap_servers}
    )
    return replace(
        found,
        settings=settings,
        database_url=address.database_url,
        environ={**found.environ, **given},
    )
