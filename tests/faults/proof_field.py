"""What a proof's faults have before them, and what each says when it is over."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka.admin import AdminClient

from ops.fulfillment_stub.server import Stub
from ops.stack import kafka
from tests.faults.checker_evidence import Place, Seen
from tests.faults.proof_crew import NAMES, Crew
from tests.faults.proof_server import Servers
from tests.faults.proof_traffic import Downstream, Upstream
from tests.faults.proxy import Proxy


@dataclass(slots=True)
class Field:
    """All that can be attacked."""

    crew: Crew
    servers: Servers
    upstream: Upstream
    downstream: Downstream
    stub: Stub
    # By process, then by server: what stands between the two. None in a soak.
    links: dict[str, dict[str, Proxy]] = field(default_factory=dict)
    # Which of two processes of a kind may be hit.
    victims: tuple[int, ...] = (1, 2)
    # Input records that were cut off the log after they had been read: evidence all the same.
    kept: dict[Place, Seen] = field(default_factory=dict)

    def new_admin(self) -> AdminClient:
        """A new administrator of Kafka, to be held until its answers are there. One that has seen
        Kafka killed may get none any more, and may not know of a partition that was added.
        """
        return kafka.admin(self.servers.bootstrap_servers)

    def make_whole(self) -> None:
        """Start what a fault that failed half way has left ended, mend what it has left cut."""
        if self.servers.disk is not None:
            self.servers.disk.make_room()
        for server in (self.servers.broker, self.servers.database):
            if server.has_ended:
                server.start()
        for links in self.links.values():
            for link in links.values():
                link.mend()
        for name in NAMES:
            if name not in self.crew.running:
                self.crew.start(name)


class Done(NamedTuple):
    """A fault that is over: what was done to whom, and since when the part is back."""

    what: str
    back_at_s: float
    kind: str = ""


Fault = Callable[[Field, random.Random], Done]
