"""A worker, a relay and a fulfillment process under all kinds of commands, judged at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.fulfillment_stub.server import Stub
from tests.faults.checker_load import Load
from tests.faults.traffic import Traffic
from tests.producers.shop import stubbed
from tests.producers.world import eventually
from tests.scene import Process, Scene

PROCESSES = ("worker", "relay", "fulfillment")
# Two calls in ten go wrong, some of them with a Retry-After.
_GOES_WRONG = {"refuse_rate": 0.03, "limit_rate": 0.05, "error_rate": 0.1, "reset_rate": 0.02}
_SETTINGS = {
    "WALLET_FULFILLMENT_TIMEOUT_S": "1",
    "WALLET_FULFILLMENT_BACKOFF_S": "0.1",
    "WALLET_BREAKER_PROBE_S": "0.2",
    "WALLET_BREAKER_RAMP_S": "2",
}


@dataclass(slots=True)
class Whole:
    """The processes by name, each with its log, and steady credits through them."""

    scene: Scene
    folder: Path
    stub: Stub
    traffic: Traffic
    processes: dict[str, Process]
    load: Load = field(default_factory=lambda: Load(1, 40, whole=True))
    sent_count: int = 0

    def send(self, count: int) -> None:
        """Commands of all kinds: transfers, refunds, holds that expire, orders, broken ones."""
        records = self.load.more(count) if self.sent_count else self.load.opening()
        self.sent_count += len(records)
        self.scene.publish(*records)

    def command(self, client: str, **fields: Any) -> None:
        """One command of the test's choice; `type` is spelled `type_`."""
        self.sent_count += 1
        self.scene.command(client, **fields)

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def check(self) -> None:
        """After the end of all traffic, the processes still running as they did from the first."""
        total = self.traffic.sent_count + self.sent_count
        eventually(lambda: self.scene.positions_count() >= total, 60)
        eventually(self._waits_for_nothing, 60)
        assert {name: p.started.poll() for name, p in self.processes.items()} == dict.fromkeys(
            PROCESSES
        )
        time.sleep(0.5)  # for what might come twice
        self.traffic.check(others=self.sent_count, fulfilled=dict(self.stub.record.ids))

    def _waits_for_nothing(self) -> bool:
        return bool(
            self.scene.scalar(
                "SELECT NOT EXISTS (SELECT FROM outbox)"
                " AND NOT EXISTS (SELECT FROM orders WHERE status = 'pending')"
            )
        )


@contextmanager
def whole(scene: Scene, folder: Path, *fault: str) -> Iterator[Whole]:
    """Run it; `fault` are options of tests.faults.run, for each of the processes."""
    with ExitStack() as stack:
        stub, url = stack.enter_context(stubbed(**_GOES_WRONG))
        scene.extra |= {**_SETTINGS, "FULFILLMENT_URL": url}
        processes = {
            name: stack.enter_context(scene.process(name, *fault, log=folder / f"{name}.log"))
            for name in PROCESSES
        }
        with Traffic(scene) as traffic:
            made = Whole(scene, folder, stub, traffic, processes)
            made.send(0)
            yield made
        made.check()
