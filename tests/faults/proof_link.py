"""The faults of the connections between our processes and the servers that they speak to."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from tests.faults.proof_field import Done, Fault, Field
from tests.faults.proxy import Proxy, proxied_environ

_SERVERS = {
    "KAFKA_BOOTSTRAP_SERVERS": "Kafka",
    "DATABASE_URL": "PostgreSQL",
    "FULFILLMENT_URL": "the service",
}
# The servers that each kind of process speaks to.
SPEAKS_TO = {
    "worker": ("Kafka", "PostgreSQL"),
    "relay": ("Kafka", "PostgreSQL"),
    "fulfillment": ("PostgreSQL", "the service"),
}
_CUT_S = (0.5, 5.0)
_STALL_S = (13.0, 16.0)  # past the session's time-out and all of PostgreSQL's
_SLOW_S = (4.0, 8.0)
_DELAY_S = 0.2


@contextmanager
def linked(
    environ: Mapping[str, str], names: Iterable[str]
) -> Iterator[tuple[dict[str, dict[str, str]], dict[str, dict[str, Proxy]]]]:
    """For each process of these names an environment that leads through proxies of its own, and the
    proxies by the names of process and server.
    """
    environs, links = dict[str, dict[str, str]](), dict[str, dict[str, Proxy]]()
    with ExitStack() as stack:
        for name in names:
            environs[name], proxies = stack.enter_context(proxied_environ(environ))
            links[name] = {_SERVERS[variable]: proxy for variable, proxy in proxies.items()}
        yield environs, links


def cut_connections(role: str) -> Fault:
    """A process's connections end, and each new one, too, for a while."""

    def strike(field: Field, chance: random.Random) -> Done:
        what, found = _draw(field, role, chance)
        seconds = chance.uniform(*_CUT_S)
        for link in found:
            link.cut()
        return _wait_and_mend(f"{what} for {seconds:.1f} s", found, seconds)

    return strike


def stall_connections(role: str) -> Fault:
    """Nothing comes through, past every time-out, and nothing ends: as if a cable were pulled."""

    def strike(field: Field, chance: random.Random) -> Done:
        what, found = _draw(field, role, chance)
        seconds = chance.uniform(*_STALL_S)
        for link in found:
            link.stall()
        return _wait_and_mend(f"{what} for {seconds:.0f} s", found, seconds)

    return strike


def slow_connections(role: str) -> Fault:
    """Each piece comes later, both ways."""

    def strike(field: Field, chance: random.Random) -> Done:
        what, found = _draw(field, role, chance)
        seconds = chance.uniform(*_SLOW_S)
        for link in found:
            link.slow(_DELAY_S)
        return _wait_and_mend(f"{what} by {_DELAY_S} s for {seconds:.0f} s", found, seconds)

    return strike


def _draw(field: Field, role: str, chance: random.Random) -> tuple[str, list[Proxy]]:
    """A process's connections with one of its servers, or with all of them."""
    name = f"{role}-{chance.choice(field.victims)}"
    each = [(server,) for server in SPEAKS_TO[role]]
    servers = chance.choice([*each, SPEAKS_TO[role]])
    found = [field.links[name][server] for server in servers]
    return f"{name} and {' and '.join(servers)}", found


def _wait_and_mend(what: str, links: list[Proxy], seconds: float) -> Done:
    time.sleep(seconds)
    for link in links:
        link.mend()
    return Done(what, time.monotonic())
