"""The seeded bugs: each protection, and what must happen for its absence to show.

Every provocation is harmless to the system as it is; that is tried, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

from producers.publisher import Input
from schemas.topic import ORDER_REQUEST
from tests.faults.checker_load import Load
from tests.producers.shop import QUICK, stubbed
from tests.producers.world import eventually
from tests.scene import Process, Scene, command


@dataclass(slots=True)
class Stage:
    """One scene in which processes are started without some protections."""

    scene: Scene
    folder: Path
    stack: ExitStack
    without: Sequence[str] = ()
    started: int = 0

    def start(self, process: str, *fault: str, also_without: str | None = None) -> Process:
        """Start a worker or relay; its log is the next file in the folder."""
        names = [*self.without, *([also_without] if also_without else [])]
        options = [option for name in names for option in ("--without", name)]
        self.started += 1
        return self.stack.enter_context(
            self.scene.process(process, *options, *fault, log=self.log(self.started))
        )

    def log(self, number: int) -> Path:
        return self.folder / f"{number}.log"

    def says(self, number: int, text: str) -> Callable[[], bool]:
        """Whether a process has said something."""
        return lambda: text in self.log(number).read_text(encoding="utf-8")


class Seeded(NamedTuple):
    """A protection, the promise it keeps, and the rules that may notice that it is missing."""

    removal: str
    promise: str
    provoke: Callable[[Stage], None]
    rules: frozenset[str]
    is_quick: bool = False


def steady(stage: Stage) -> None:
    """No fault but those that producers make: duplicates, conflicts, an aborted transaction."""
    stage.scene.extra["WALLET_BATCH_RECORDS_MAX"] = "40"
    load = Load(seed=7, client_count=20)
    stage.start("worker")
    stage.start("relay")
    opening = load.opening()
    # Somebody of whom nothing more is heard than the last transfer.
    stage.scene.command("quiet", command_id="first", type_="credit", amount="5")
    stage.scene.publish(*opening)
    eventually(lambda: stage.scene.positions_count() == len(opening) + 1, 60)
    _abort(stage, command("client-1", command_id="aborted", type_="credit", amount="5"))
    stage.scene.publish(*load.more(400))
    stage.scene.command(
        "client-0", command_id="last", type_="transfer", amount="1", to_client_id="quiet"
    )


def crossing(stage: Stage) -> None:
    """Two workers, whose clients send to each other all the time."""
    stage.scene.extra["WALLET_BATCH_RECORDS_MAX"] = "40"
    _start_two_workers(stage)
    stage.start("relay")
    load = Load(seed=8, client_count=12)
    stage.scene.publish(*load.opening())
    eventually(lambda: stage.scene.positions_count() == 24, 60)
    clients = [f"client-{number}" for number in range(12)]
    for turn in range(20):
        stage.scene.publish(
            *(
                command(one, command_id=f"x-{turn}-{step}", type_="transfer", amount="0.01",
                        to_client_id=clients[(n + step) % 12])
                for step in range(1, 12)
                for n, one in enumerate(clients)
            )
        )  # fmt: skip


def frozen_worker(stage: Stage) -> None:
    """A worker freezes with a batch in hand; another takes over; the first wakes and goes on."""
    load = Load(seed=9, client_count=20)
    stage.scene.publish(*load.opening(), *load.more(10))
    fault = ("--at", "consumers.batch:Ledger.apply", "--when", "before", "--signal", "STOP")
    frozen = stage.start("worker", *fault)
    eventually(lambda: frozen.is_frozen, 60)
    stage.start("worker")
    stage.start("relay")
    eventually(lambda: stage.scene.positions_count() == 50, 60)
    frozen.thaw()
    eventually(lambda: stage.says(1, "batch applied")() or stage.says(1, "fenced")(), 60)


def lost_confirmation(stage: Stage) -> None:
    """A commit goes through; the connection is cut before the worker hears of it."""
    load = Load(seed=10, client_count=20)
    stage.scene.publish(*load.opening(), *load.more(10))
    stage.start("worker", also_without="first-confirmation")
    stage.start("relay")


def killed_at_the_commit(stage: Stage) -> None:
    """A worker is killed when the commit has been made, and another one started."""
    _killed(stage, "--at", "consumers.batch:Ledger.commit", "--when", "after")


def killed_at_the_move(stage: Stage) -> None:
    """A worker is killed before it moves its positions, and another one started."""
    _killed(stage, "--at", "ledger.position:move", "--when", "before")


def relay_killed_after_its_commit(stage: Stage) -> None:
    """A relay is killed when its rows are published and not deleted yet."""
    _relay_killed(stage, "--at", "producers.relay:Relay.commit", "--when", "after")


def relay_killed_while_sending(stage: Stage) -> None:
    """A relay is killed when its rows are sent and its progress is not."""
    _relay_killed(stage, "--at", "producers.sender:encode_progress", "--when", "before")


def relay_frozen_before_its_commit(stage: Stage) -> None:
    """A relay freezes before its commit and is cut off; another publishes; the first wakes."""
    _written(stage)
    fault = ("--at", "producers.relay:Relay.publish", "--when", "after", "--signal", "STOP")
    # For its records to reach the broker.
    frozen = stage.start("relay", *fault, "--delay-s", "1")
    eventually(lambda: frozen.is_frozen, 60)
    with stage.scene.connect() as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'wallet-relay%'"
        )
    stage.start("relay")
    eventually(lambda: stage.scene.waiting() == 0, 60)
    said = stage.log(2).stat().st_size
    frozen.thaw()
    # Fenced or not, its session is gone, and it says that it starts over.
    eventually(lambda: stage.log(2).stat().st_size > said, 60)
    time.sleep(1.0)


def late_settlement(stage: Stage) -> None:
    """A fulfillment process freezes with a refusal in hand; when its lease has ended, another has
    the order fulfilled; the first wakes, while other money of the client's is in escrow.
    """
    scene, client = stage.scene, "client-1"
    stub, url = stage.stack.enter_context(stubbed(refuse_rate=1.0))
    scene.extra |= {**QUICK, "FULFILLMENT_URL": url}
    stage.start("worker")
    stage.start("relay")
    scene.command(client, command_id="money", type_="deposit", amount="100")
    eventually(lambda: scene.positions_count() == 1, 60)
    fault = ("--at", "producers.fulfillment:settle_all", "--when", "before", "--signal", "STOP")
    frozen = stage.start("fulfillment", *fault)
    _place(stage, client, "first")
    eventually(lambda: frozen.is_frozen, 60)
    stub.behaviour = stub.behaviour.changed({"refuse_rate": 0.0})
    successor = stage.start("fulfillment")
    eventually(lambda: scene.scalar("SELECT count(*) FROM orders WHERE status = 'completed'"), 60)
    successor.end()
    _place(stage, client, "second")
    eventually(lambda: scene.positions_count() == 3, 60)
    frozen.thaw()


def _place(stage: Stage, client: str, order_id: str) -> None:
    fields = {"type": "place_order", "order_id": order_id, "amount": "10"}
    stage.scene.command(client, ORDER_REQUEST, command_id=order_id, **fields)


def late_commit(stage: Stage) -> None:
    """A batch that took its outbox ids early commits late: between a relay's look and delete."""
    scene = stage.scene
    # Its rows of the outbox are sent by then, its COMMIT is not.
    stall = ("--at", "ledger.position:move", "--when", "before", "--signal", "STOP")
    late = _start_two_workers(stage, *stall)
    clients = [f"client-{number}" for number in range(20)]
    scene.publish(*(command(c, command_id="1", type_="credit", amount="1") for c in clients))
    eventually(lambda: late.is_frozen and scene.positions_count() > 0, 60)
    count = scene.positions_count()
    scene.publish(*(command(c, command_id="2", type_="credit", amount="1") for c in clients))
    # What the relay finds must have later ids than the late batch: there is one row a batch.
    eventually(lambda: scene.positions_count() > count, 60)
    count = scene.positions_count()
    pause = ("--at", "producers.relay:Relay.commit", "--when", "after", "--signal", "STOP")
    relay = stage.start("relay", *pause)
    eventually(lambda: relay.is_frozen, 60)
    late.thaw()
    eventually(lambda: scene.positions_count() > count, 60)
    relay.thaw()


def _start_two_workers(stage: Stage, *fault: str) -> Process:
    """Two that share the partitions of wallet-command; the first one has the fault."""
    # Sticky assignment may give one of them all of it, and the other all of order-request.
    stage.scene.extra["WALLET_GROUP_PROTOCOL"] = "consumer"
    first = stage.start("worker", *fault)
    stage.start("worker")
    for number in (1, 2):
        eventually(stage.says(number, "wallet-command "), 60)
    return first


def _abort(stage: Stage, record: Input) -> None:
    """Send a record in a transaction of an upstream service, and abort that."""
    upstream = Producer(
        {
            **stage.scene.settings.kafka_client(),
            "transactional.id": f"{stage.scene.env.topic_prefix}upstream",
            "partitioner": "murmur2_random",
        }
    )
    upstream.init_transactions(20)
    upstream.begin_transaction()
    upstream.produce(stage.scene.topics.real(record.topic), record.value, record.key)
    upstream.flush(10)
    upstream.abort_transaction(10)


def _killed(stage: Stage, *fault: str) -> None:
    load = Load(seed=11, client_count=20)
    stage.scene.publish(*load.opening(), *load.more(10))
    killed = stage.start("worker", *fault, "--signal", "KILL")
    killed.started.wait(60)
    stage.start("worker")
    stage.start("relay")
    stage.scene.publish(*load.more(5))


def _relay_killed(stage: Stage, *fault: str) -> None:
    _written(stage)
    killed = stage.start("relay", *fault, "--signal", "KILL")
    killed.started.wait(60)
    stage.start("relay")


def _written(stage: Stage) -> None:
    """Have a worker write answers, with no relay to publish them."""
    load = Load(seed=12, client_count=20)
    stage.scene.publish(*load.opening(), *load.more(10))
    stage.start("worker")
    eventually(lambda: stage.scene.positions_count() == 50, 60)


_STATE = frozenset({"sequential", "state", "money"})
_ONCE = "one answer per input record"
SEEDED = (
    Seeded("position-guard", "no zombie writes", frozen_worker, frozenset({"doubled"})),
    Seeded(
        "refusal-on-the-server", "no zombie writes", frozen_worker, frozenset({"doubled"})
    ),
    Seeded("expected-offset", _ONCE, lost_confirmation, frozenset({"doubled"}), True),
    Seeded("position-in-the-transaction", _ONCE, killed_at_the_move, frozenset({"doubled"})),
    Seeded("outbox-in-the-transaction", _ONCE, killed_at_the_commit, frozenset({"lost"}), True),
    Seeded("outbox-order", "answers in order", steady, frozenset({"order"})),
    Seeded(
        "fingerprint", "one movement per command id", steady, frozenset({"idempotency"})
    ),
    Seeded(
        "look-for-known-commands", "one movement per command id", steady,
        frozenset({"dead letters", "lost"}),
    ),
    Seeded("second-account", "money neither made nor lost", steady, _STATE),
    Seeded("account-lock", "money neither made nor lost", crossing, _STATE),
    Seeded("lock-order", "nobody waits in a circle", crossing, frozenset({"deadlock"})),
    Seeded(
        "read-committed", "an aborted record is no input", steady, frozenset({"invented"}), True
    ),
    Seeded(
        "letters-bytes", "dead letters as they came", steady, frozenset({"dead letters"})
    ),
    Seeded(
        "recipients-balance", "the newest balances", steady, frozenset({"wallet-balance"})
    ),
    Seeded("lease-guard", "an order ends once", late_settlement, frozenset({"sequential"})),
    Seeded(
        "progress-record", "each output once", relay_killed_after_its_commit,
        frozenset({"doubled"}), True,
    ),
    Seeded("delete-by-ids", "each output once", late_commit, frozenset({"lost"})),
    Seeded(
        "kafka-transaction", "each output once", relay_killed_while_sending,
        frozenset({"doubled"}),
    ),
    Seeded(
        "kafka-fence", "each output once", relay_frozen_before_its_commit, frozenset({"doubled"})
    ),
)  # fmt: skip
PROVOCATIONS = tuple(dict.fromkeys(seeded.provoke for seeded in SEEDED))
