"""The faults of the connections between our processes and the servers that they speak to."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    return _trouble(role, _CUT_S, Proxy.cut, "for {:.1f} s")


def stall_connections(role: str) -> Fault:
    """Nothing comes through, past every time-out, and nothing ends: as if a cable were pulled."""
    return _trouble(role, _STALL_S, Proxy.stall, "for {:.0f} s")


def slow_connections(role: str) -> Fault:
    """Each piece comes later, both ways."""

    def slow(link: Proxy) -> None:
        link.slow(_DELAY_S)

    return _trouble(role, _SLOW_S, slow, f"by {_DELAY_S} s for {{:.0f}} s")


def _trouble(
    role: str, bounds_s: tuple[float, float], begin: Callable[[Proxy], None], told: str
) -> Fault:
    """The fault that begins so on some of a process's connections, and is mended after a while."""

    def strike(field: Field, chance: random.Random) -> Done:
        what, links = _draw(field, role, chance)
        seconds = chance.uniform(*bounds_s)
        for link in links:
            begin(link)
        time.sleep(seconds)
        for link in links:
            link.mend()
        return Done(f"{what} {told.format(seconds)}", time.monotonic())

    return strike


def _draw(field: Field, role: str, chance: random.Random) -> tuple[str, list[Proxy]]:
    """A process's connections with one of its servers, or with all of them."""
    name = f"{role}-{chance.choice(field.victims)}"
    each = [(server,) for server in SPEAKS_TO[role]]
    servers = chance.choice([*each, SPEAKS_TO[role]])
    found = [field.links[name][server] for server in servers]
    return f"{name} and {' and '.join(servers)}", found
