"""What a setting's value must be, which settings go together, and which variables are none."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

# Kubernetes gives every pod such variables for a service named `wallet` or `wallet-worker`.
_KUBERNETES = re.compile(r"WALLET(_[A-Z0-9_]+)?_(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_\d.*)?)")


def libpq(value: SecretStr) -> SecretStr:
    """A URL of PostgreSQL's or libpq's words. Raises ValueError."""
    text = value.get_secret_value()
    if not text.startswith(("postgresql://", "postgres://")) and "=" not in text:
        raise ValueError("it is no connection string of libpq's")
    return value


def http_url(value: SecretStr) -> SecretStr:
    """A whole URL with http or https. Raises ValueError."""
    text = value.get_secret_value()
    url = urlsplit(text)
    fit = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    if not fit or re.fullmatch(r"[!-~]+", text) is None:
        raise ValueError("it is no URL of HTTP's")
    return value


_PERIODS_MS = {"s": 1_000, "min": 60_000, "h": 3_600_000, "day": 86_400_000}
_RATE = re.compile(r"([1-9][0-9]{0,8})/(s|min|h|day)")


def rate(value: object) -> object:
    """`100/min` as (100, 60000): a number, and a period in milliseconds."""
    if not isinstance(value, str):
        return value
    found = _RATE.fullmatch(value)
    if found is None:
        raise ValueError("it is no rate")
    return int(found[1]), _PERIODS_MS[found[2]]


def unfitting_connection(given: Mapping[str, str]) -> Iterator[str]:
    """Settings of the connection to Kafka that do not go together."""
    protocol = given.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    sasl = ("KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
    for variable in sasl:
        if protocol.startswith("SASL_") and variable not in given:
            yield f"{variable} is not set: KAFKA_SECURITY_PROTOCOL={protocol} needs it"
    for variable in sorted(given):
        kind = next((k for k in ("SASL", "SSL") if variable.startswith(f"KAFKA_{k}_")), None)
        if kind is not None and kind not in protocol.split("_"):
            yield (
                f"{variable} has no effect with KAFKA_SECURITY_PROTOCOL={protocol}: "
                f"unset it, or choose a protocol with {kind}"
            )
    pair = ("KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION")
    if sum(variable in given for variable in pair) == 1:
        yield f"{pair[0]} and {pair[1]} go together: both or neither are right"


def data_dir(environ: Mapping[str, str]) -> Path:
    """The XDG base directory specification's place for a user's data."""
    xdg = environ.get("XDG_DATA_HOME", "")
    if Path(xdg).is_absolute():
        return Path(xdg) / "wallet"
    return Path(environ.get("HOME") or Path.home()) / ".local" / "share" / "wallet"


def unknown_variables(
    environ: Mapping[str, str], variables: Collection[str], files: Collection[str]
) -> Iterator[str]:
    """A sentence for each variable of ours that is neither a setting nor names a secret's file."""
    for variable in sorted(environ):
        if not variable.startswith("WALLET_") or variable in variables or variable in files:
            continue
        if not _KUBERNETES.fullmatch(variable):
            near = difflib.get_close_matches(variable, variables, 1, 0.75)
            hint = f"{near[0]} is meant?" if near else "it must be unset"
            yield f"{variable} is no setting: {hint}"
