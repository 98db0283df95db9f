"""Free TCP ports of 127.0.0.1 for the broker."""

from __future__ import annotations

import random
import socket

from ops.stack.report import StackError

# Below the range that systems take outgoing connections' ports from.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


def choose(wanted: list[int], count: int) -> list[int]:
    """Return as many free ports as asked for: the wanted ones, or else new ones."""
    ports = [port for port in wanted[:count] if _is_free(port)]
    for _ in range(_ATTEMPTS):
        if len(ports) == count:
            return ports
        port = random.choice(_RANGE)  # two stacks starting at once should differ
        if port not in ports and _is_free(port):
            ports.append(port)
    raise StackError("There are no free ports on 127.0.0.1 for Kafka.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Java does: a port that only old connections linger on is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
