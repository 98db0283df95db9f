"""What comes from the environment: every setting, read once, and all mistakes reported at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas import setting_rule as rule


class SettingsError(Exception):
    """The environment can't be used. `mistakes` holds one sentence each, never a secret."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("the settings can't be used:\n" + "\n".join(f"- {m}" for m in mistakes))


_DatabaseUrl = Annotated[SecretStr, AfterValidator(rule.libpq)]


class Settings(BaseSettings):
    """Every setting, flat and frozen. Made by `load_settings`; a secret's repr is masked."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kafka_bootstrap_servers: str | None = Field(
        None,
        validation_alias="KAFKA_BOOTSTRAP_SERVERS",
        description="Kafka's brokers, host:port[,host:port]. "
        "Without them the stack in the data directory is used.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        validation_alias="KAFKA_SECURITY_PROTOCOL",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None,
        validation_alias="KAFKA_SASL_MECHANISM",
        description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; needed by the SASL protocols.",
    )
    kafka_sasl_username: str | None = Field(
        None,
        validation_alias="KAFKA_SASL_USERNAME",
        description="The SASL user; needed by the SASL protocols.",
    )
    kafka_sasl_password: SecretStr | None = Field(
        None,
        validation_alias="KAFKA_SASL_PASSWORD",
        description="The SASL user's password; needed by the SASL protocols.",
    )
    kafka_ssl_ca_location: str | None = Field(
        None,
        validation_alias="KAFKA_SSL_CA_LOCATION",
        description="File or folder of the authorities that the brokers' certificates are "
        "checked against. Default: the system's.",
    )
    kafka_ssl_certificate_location: str | None = Field(
        None,
        validation_alias="KAFKA_SSL_CERTIFICATE_LOCATION",
        description="Our own certificate (PEM), where the brokers ask for one.",
    )
    kafka_ssl_key_location: str | None = Field(
        None,
        validation_alias="KAFKA_SSL_KEY_LOCATION",
        description="The private key (PEM) of our own certificate.",
    )
    kafka_ssl_key_password: SecretStr | None = Field(
        None,
        validation_alias="KAFKA_SSL_KEY_PASSWORD",
        description="The private key's password.",
    )
    database_url: _DatabaseUrl | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL, as postgresql://user:password@host:port/name or libpq's "
        "key=value words. Without it libpq's PG* variables or the stack in the data directory "
        "are used.",
    )
    migrate_database_url: _DatabaseUrl | None = Field(
        None,
        validation_alias="WALLET_MIGRATE_DATABASE_URL",
        description="PostgreSQL as the schema's owner, for `wallet migrate`: "
        "postgresql://user:password@host:port/name. Default: DATABASE_URL.",
    )
    topic_prefix: str = Field(
        "",
        validation_alias="WALLET_TOPIC_PREFIX",
        pattern=r"^[A-Za-z0-9._-]*$",
        max_length=100,
        description="Stands before every topic, group and transactional id: at most 100 of "
        "A-Z a-z 0-9 . _ -",
    )
    partitions: int = Field(
        12,
        validation_alias="WALLET_PARTITIONS",
        ge=1,
        le=10_000,
        description="Partitions of a topic that `wallet topics apply` makes, 1 to 10000. "
        "The number never changes afterwards.",
    )
    replication_factor: int = Field(
        -1,
        validation_alias="WALLET_REPLICATION_FACTOR",
        ge=-1,
        le=32_767,
        description="Replicas of a topic that `wallet topics apply` makes; -1: the broker's "
        "default.",
    )
    default_currency: str = Field(
        "USD",
        validation_alias="WALLET_DEFAULT_CURRENCY",
        pattern=r"^[A-Z][A-Z0-9]{2,11}$",
        description="The currency of a command that names none: a code of ISO 4217's or one of "
        "the operator's own units.",
    )
    auto_create: bool = Field(
        True,
        validation_alias="WALLET_AUTO_CREATE",
        description="Whether an applied credit, deposit, top-up, bonus or loyalty makes a missing "
        "client and wallet: true or false.",
    )
    transfer_refund: bool = Field(
        False,
        validation_alias="WALLET_TRANSFER_REFUND",
        description="Whether a transfer can be refunded, which takes from its recipient: "
        "true or false.",
    )
    rate_limit: Annotated[tuple[int, int] | None, BeforeValidator(rule.rate)] = Field(
        None,
        validation_alias="WALLET_RATE_LIMIT",
        description="How many commands of one client a topic takes, such as 100/min: a number and "
        "s, min, h or day. Default: any number.",
    )
    order_failure: Literal["refund", "keep"] = Field(
        "refund",
        validation_alias="WALLET_ORDER_FAILURE",
        description="What becomes of a failed order's money: refund (back to the wallet) or keep "
        "(in escrow, until retry_order or cancel_order).",
    )
    fulfillment_url: Annotated[SecretStr, AfterValidator(rule.http_url)] | None = Field(
        None,
        validation_alias="FULFILLMENT_URL",
        description="Where orders are sent: http://host/path or https://host/path, with "
        "user:password@ before the host where the service asks for it; HTTP_PROXY, HTTPS_PROXY "
        "and NO_PROXY are heeded. Without it no order is fulfilled, and `wallet run all` runs no "
        "fulfillment process.",
    )
    fulfillment_concurrency: int = Field(
        64,
        validation_alias="WALLET_FULFILLMENT_CONCURRENCY",
        ge=1,
        le=1_000,
        description="How many orders a fulfillment process sends at the same time, 1 to 1000.",
    )
    fulfillment_timeout_s: float = Field(
        5.0,
        validation_alias="WALLET_FULFILLMENT_TIMEOUT_S",
        ge=0.1,
        le=60,
        allow_inf_nan=False,
        description="How long a call may take from its beginning to its end, 0.1 to 60 seconds. "
        "Three times as long an order of a killed process waits for another one.",
    )
    fulfillment_attempts: int = Field(
        3,
        validation_alias="WALLET_FULFILLMENT_ATTEMPTS",
        ge=1,
        le=100,
        description="After how many failed attempts an order has failed, 1 to 100.",
    )
    fulfillment_backoff_s: float = Field(
        0.5,
        validation_alias="WALLET_FULFILLMENT_BACKOFF_S",
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="The longest wait before an order's second attempt, 0 to 60 seconds; it "
        "doubles with each further one, up to 60.",
    )
    breaker_probe_s: float = Field(
        1.0,
        validation_alias="WALLET_BREAKER_PROBE_S",
        ge=0.01,
        le=3_600,
        allow_inf_nan=False,
        description="The time between two probes while the circuit breaker is open, 0.01 to 3600 "
        "seconds.",
    )
    breaker_ramp_s: float = Field(
        30.0,
        validation_alias="WALLET_BREAKER_RAMP_S",
        ge=0,
        le=3_600,
        allow_inf_nan=False,
        description="For how long orders are sent at a rising rate after the breaker has closed, "
        "0 to 3600 seconds.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic",
        validation_alias="WALLET_GROUP_PROTOCOL",
        description="How workers share partitions: classic (cooperative-sticky) or consumer "
        "(KIP-848).",
    )
    session_timeout_ms: int = Field(
        10_000,
        validation_alias="WALLET_SESSION_TIMEOUT_MS",
        ge=1_000,
        le=300_000,
        description="How long a silent worker keeps its partitions, 1000 to 300000; brokers "
        "refuse less than their group.min.session.timeout.ms, by default 6000. Only with the "
        "classic protocol: with the other it is the broker's setting.",
    )
    batch_records_max: int = Field(
        4_000,
        validation_alias="WALLET_BATCH_RECORDS_MAX",
        ge=1,
        le=10_000,
        description="The most records in one ledger transaction, 1 to 10000.",
    )
    worker_nice: int | None = Field(
        None,
        validation_alias="WALLET_WORKER_NICE",
        ge=-20,
        le=19,
        description="The nice value of the worker, and of its session in PostgreSQL where that is "
        "reached by a socket of this machine's, -20 to 19: below 0 they come first where cores "
        "are short, which takes root. Default: those they are started with.",
    )
    relay_records_max: int = Field(
        10_000,
        validation_alias="WALLET_RELAY_RECORDS_MAX",
        ge=1,
        le=40_000,
        description="The most results and dead letters in one Kafka transaction, 1 to 40000; the "
        "first row of the outbox, up to 80 of them, is sent in any case.",
    )
    relay_bytes_max: int = Field(
        16 * 1024 * 1024,
        validation_alias="WALLET_RELAY_BYTES_MAX",
        ge=64 * 1024,
        le=256 * 1024 * 1024,
        description="The most bytes of outbox rows, before compression, read at once, 65536 to "
        "268435456; one row larger than that is read alone.",
    )
    relay_part_count: int = Field(
        1,
        validation_alias="WALLET_RELAY_PART_COUNT",
        ge=1,
        le=16,
        description="Into how many parts the outbox is divided, 1 to 16. It changes only while "
        "no relay runs.",
    )
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        Path("~/.local/share/wallet"),
        validation_alias="WALLET_DATA_DIR",
        description="The folder of the embedded Kafka and PostgreSQL. Default: wallet in "
        "XDG_DATA_HOME or ~/.local/share.",
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        validation_alias="WALLET_LOG_FORMAT",
        description="Log lines as text for a person or as json for a machine.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        validation_alias="WALLET_LOG_LEVEL",
        description="The least level that is logged: debug, info, warning or error.",
    )
    metrics_port: int | None = Field(
        None,
        validation_alias="WALLET_METRICS_PORT",
        ge=1,
        le=65_533,
        description="The port of /livez, /readyz and /metrics, 1 to 65533; of `wallet run all` "
        "the worker takes it, the relay the next one, fulfillment the one after that. "
        "Default: none is opened.",
    )
    books_check_interval_s: int | None = Field(
        None,
        validation_alias="WALLET_BOOKS_CHECK_INTERVAL_S",
        ge=1,
        le=604_800,
        description="How often the relay checks the books for wallet_books_imbalance, 1 to 604800 "
        "seconds; it reads the whole journal each time. Default: never.",
    )
    debug: bool = Field(
        False,
        validation_alias="WALLET_DEBUG",
        description="Whether a failure shows its traceback: true or false.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        *further: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        **named: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` hands over counts: the environment is read there, once."""
        return (init_settings,)

    def kafka_client(self) -> dict[str, str | int | float | bool]:
        """The connection's settings for librdkafka, the same for every client of ours.

        Raises SettingsError where no brokers are known.
        """
        if self.kafka_bootstrap_servers is None:
            raise SettingsError(["KAFKA_BOOTSTRAP_SERVERS is not set and no stack is running"])
        password, key_password = self.kafka_sasl_password, self.kafka_ssl_key_password
        client = {
            "bootstrap.servers": self.kafka_bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": password.get_secret_value() if password else None,
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
            "ssl.key.password": key_password.get_secret_value() if key_password else None,
        }
        return {name: value for name, value in client.items() if value is not None}


# Variable name -> field name, and the variables whose value is never shown.
VARIABLES = {str(f.validation_alias): name for name, f in Settings.model_fields.items()}
SECRETS = frozenset(
    variable
    for variable, name in VARIABLES.items()
    if "SecretStr" in str(Settings.model_fields[name].annotation)
    or name in ("database_url", "migrate_database_url")
)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """All settings from `environ` (default: the process's own). An empty variable counts as unset.

    Raises SettingsError that names every mistake: a value out of its rule, settings that do not
    go together, an unreadable `*_FILE`, an unknown `WALLET_*` variable.
    """
    if environ is None:
        environ = os.environ
    files = {f"{variable}_FILE" for variable in SECRETS}
    mistakes = list(rule.unknown_variables(environ, VARIABLES, files))
    given, unreadable = _with_secret_files(environ)
    mistakes += unreadable
    mistakes += rule.unfitting_connection(given)
    given.setdefault("WALLET_DATA_DIR", str(rule.data_dir(environ)))
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        mistakes += [_mistake(str(e["loc"][0]), e["msg"], given) for e in error.errors()]
        raise SettingsError(mistakes) from None  # the cause would show what was given
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def _with_secret_files(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The variables that are set, secrets read from their files, and what could not be read."""
    given = {v: environ[v] for v in VARIABLES if environ.get(v)}
    mistakes = []
    for variable in sorted(SECRETS):
        path = environ.get(f"{variable}_FILE")
        if not path:
            continue
        if variable in given:
            mistakes.append(f"{variable} and {variable}_FILE are both set: one of them must go")
            continue
        try:
            given[variable] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            mistakes.append(f"{variable}_FILE={path!r} can't be read: {why}")
    return given, mistakes


def _mistake(variable: str, message: str, given: Mapping[str, str]) -> str:
    shown = "*****" if variable in SECRETS else repr(given[variable])
    right = Settings.model_fields[VARIABLES[variable]].description
    return f"{variable}={shown}: {message.removeprefix('Value error, ')}. Right: {right}"
