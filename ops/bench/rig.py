"""What a measurement is made with: workers and relay, load generator and reader."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ops.bench.checkpoint import Checkpoint
from ops.bench.crew import Crew, Message
from ops.bench.failure import BenchError
from ops.bench.figure import Round
from ops.bench.ground import Ground
from ops.bench.meter import Meter, Reading, used_between
from ops.bench.plan import Plan
from ops.bench.progress import Progress

# A round in which nothing happens for so long has come to a stop.
STALL_S = 60.0
_POLL_S = 0.05

_SETTLED = """
SELECT coalesce(sum(results + duplicates + queries + dead_letters), 0),
       EXISTS (SELECT FROM outbox)
FROM consumer_positions
"""


@dataclass(slots=True)
class Rig:
    """The processes of one measurement on its own ground. `published` counts the commands of our
    topic so far.
    """

    plan: Plan
    ground: Ground
    crew: Crew
    meter: Meter
    progress: Progress
    published: int = 0

    @contextmanager
    def system(self, workers: int | None = None) -> Iterator[list[Message]]:
        """Run our workers and a relay; what the workers report is in the list afterwards."""
        reports: list[Message] = []
        names = self.worker_names("worker", workers)
        for name in names:
            self.crew.start(name, "worker", {})
        self.crew.start_deployed("relay")
        yield reports
        ended = self.crew.end(*names, "relay")
        reports += [ended[name][-1] for name in names]

    @contextmanager
    def baseline(self) -> Iterator[None]:
        """Run the baseline's workers and its relay."""
        commands, results = self.ground.baseline_topics
        names = self.worker_names("baseline worker")
        for name in names:
            self.crew.start(name, "baseline-worker", {"topic": commands})
        self.crew.start("baseline relay", "baseline-relay", {"topic": results})
        yield
        self.crew.end(*names, "baseline relay")

    def await_workers(self, label: str, workers: int | None = None) -> None:
        """Wait until every worker has partitions."""
        self.progress.begin(f"{label}: waiting for the workers")
        for name in self.worker_names("worker", workers):
            self.hear(name, label)

    def worker_names(self, name: str, workers: int | None = None) -> list[str]:
        """A name for each worker of a round; as many as the plan says first where not given."""
        workers = workers or self.plan.workers[0]
        return [name] if workers == 1 else [f"{name} {i + 1}" for i in range(workers)]

    def publish(
        self,
        label: str,
        topic: str,
        kind: str,
        count: int,
        *,
        clients: int | None = None,
        rate_per_s: int | None = None,
    ) -> Message:
        """Publish commands and wait until they are; what the load generator says at the end."""
        self.start_load(topic, kind, count, clients=clients, rate_per_s=rate_per_s)
        return self.end_load(label, topic, count)

    def start_load(
        self,
        topic: str,
        kind: str,
        count: int,
        *,
        clients: int | None = None,
        rate_per_s: int | None = None,
        sample_every: int | None = None,
    ) -> None:
        """Begin to publish commands, at once or at a rate, of the plan's clients if not given.

        Without `sample_every` the load generator tells at the end when it sent each of a paced
        load; with it, once a second, of every so manieth.
        """
        arguments: Message = {
            "topic": topic, "kind": kind, "clients": clients or self.plan.clients, "count": count,
        }  # fmt: skip
        if rate_per_s is not None:
            arguments["rate_per_s"] = rate_per_s
        if sample_every is not None:
            arguments["sample_every"] = sample_every
        self.crew.start("load generator", "load", arguments)

    def end_load(self, label: str, topic: str, count: int) -> Message:
        """Wait until all is published; what the load generator says at the end."""
        done = self.hear_out("load generator", label, count)
        self.crew.end("load generator")
        if topic in (self.ground.command_topic, self.ground.order_topics[0]):
            self.published += count
        return done

    def read_from(
        self,
        topic: str,
        *,
        count: int,
        each: bool = False,
        orders: bool = False,
        sample_every: int | None = None,
    ) -> None:
        """Start the reader, and wait until it stands at the end of the topic."""
        arguments: Message = {
            "topic": topic, "count": count, "each": each, "orders": orders,
            "seconds": self.plan.seconds, "sample_every": sample_every,
        }  # fmt: skip
        self.crew.start("reader", "reader", arguments)
        if self.crew.receive("reader", STALL_S) is None:
            raise BenchError("the reader does not begin")

    def follow(self, label: str, count: int, checkpoint: Checkpoint | None = None) -> Round:
        """Wait until the reader has read the round, and read the CPU times at both ends.

        When it has read the half, a checkpoint begins.
        """
        self.progress.begin(label, count)
        before: Reading = {}
        while "done" not in (message := self.hear("reader", label)):
            if "start" in message:
                before = self.meter.read(self.crew.pids())
            else:
                self.progress.move(message["count"])
                if checkpoint is not None and message["count"] * 2 >= count:
                    checkpoint.begin()
                    checkpoint = None
        after = self.meter.read(self.crew.pids())
        self.crew.end("reader")
        cpu = used_between(before, after) if before else {}
        return Round(message["count"], message["seconds"], cpu)

    def hear_out(self, name: str, label: str, count: int) -> Message:
        """Wait until a process says that it is done."""
        self.progress.begin(label, count)
        while "done" not in (message := self.hear(name, label)):
            self.progress.move(message["count"])
        return message

    def hear(self, name: str, label: str) -> Message:
        """The next thing that a process says. Raises BenchError if there is none for a minute."""
        message = self.crew.receive(name, STALL_S)
        if message is None:
            raise BenchError(f"{label}: the {name} has said nothing for {STALL_S:.0f} s")
        return message

    def settle(self, label: str) -> None:
        """Wait until all that was published is answered, and the outbox is empty."""
        self.progress.begin(label, self.published)
        moved_at, last = time.monotonic(), -1
        with self.ground.connect() as session:
            while True:
                answered, pending = session.execute(_SETTLED).fetchone() or (0, True)
                if answered >= self.published and not pending:
                    return
                if answered != last:
                    moved_at, last = time.monotonic(), answered
                    self.progress.move(int(answered))
                elif time.monotonic() - moved_at > STALL_S:
                    raise BenchError(f"{label}: nothing has moved for {STALL_S:.0f} s")
                # Ours to hear of a process that failed; nobody speaks meanwhile.
                self.crew.receive("relay", _POLL_S)
