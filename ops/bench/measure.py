"""The measurement from beginning to end: clients, rounds in turn, latency, growth, the books."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ledger.database import connect
from ledger.verification import verify
from ops.bench.checkpoint import Checkpoint
from ops.bench.cpu import Meter, Reading, used_between
from ops.bench.crew import Crew, Message
from ops.bench.failure import BenchError
from ops.bench.figure import Cost, Figures, Growth, Latency, Round, StageTime
from ops.bench.ground import Ground
from ops.bench.load import ORDERS
from ops.bench.plan import Plan
from ops.bench.preload import load_rows
from ops.bench.progress import Progress
from ops.bench.statement import Statements
from ops.bench.statement import used_between as statements_between
from ops.bench.storage import read_storage
from ops.bench.worker import STAGES

# A round in which nothing happens for so long has come to a stop.
_STALL_S = 60.0
_POLL_S = 0.05
_WARM_UP_S = 2
# The steps of a ladder, in commands a second. It ends where a command in a hundred waits for more
# than a second.
_STEPS_PER_S = (1_000, 2_000, 5_000, 7_500, 10_000, 12_500, 15_000, 20_000)
_BASELINE_STEPS_PER_S = (50, 100, 200, 300, 400, 600)
_STEP_S = 10
_SATURATED_MS = 1_000.0
# How long the fulfillment service of a round with orders takes for each call.
_STUB_DELAYS_MS = (0, 50)

_SETTLED = """
SELECT coalesce(sum(results + duplicates + queries + dead_letters), 0),
       EXISTS (SELECT FROM outbox)
FROM consumer_positions
"""


@dataclass(slots=True)
class Measurement:
    """One measurement on its own ground. `published` counts the commands of our topic so far."""

    plan: Plan
    ground: Ground
    crew: Crew
    meter: Meter
    progress: Progress
    statements: Statements
    published: int = 0
    left_out: list[str] = field(default_factory=list)

    def run(self) -> Figures:
        """Measure everything. Raises BenchError where a process fails or nothing moves any more."""
        plan, ours, theirs = self.plan, list[Round](), list[Round]()
        others: dict[str, list[Round]] = {load: [] for load in plan.others}
        shared: dict[int, list[Round]] = {workers: [] for workers in plan.workers[1:]}
        self.make_clients()
        for turn in ("first", "second") if plan.baseline else ("only",):
            ours.append(self.sustain(f"rate, {turn} round", turn))
            for workers, rounds in shared.items():
                label = f"{workers} workers, {turn} round"
                rounds.append(self.sustain(label, f"{workers}-{turn}", workers=workers))
            for load, rounds in others.items():
                rounds.append(self.sustain(f"{load}, {turn} round", f"{load}-{turn}"))
            if plan.baseline:
                theirs.append(self.sustain_baseline(f"baseline, {turn} round", turn))
        orders = [(delay, self.complete(delay)) for delay in _STUB_DELAYS_MS if plan.orders]
        latency, *ladder = self.climb()
        baseline_ladder = self.climb_baseline() if plan.ladder and plan.baseline else []
        growth = self.grow() if plan.preload else None
        return Figures(
            ours=ours,
            shared=shared,
            others=others,
            baseline=theirs,
            orders=orders,
            load_cpu_s_per_1000=sum(r.load_cpu_s for r in ours)
            / (plan.commands * len(ours))
            * 1000,
            latency=latency,
            ladder=ladder,
            baseline_ladder=baseline_ladder,
            growth=growth,
            left_out=[*self.meter.left_out, *self.left_out],
            books_hold=self.check_books(),
        )

    def make_clients(self) -> None:
        """Make the clients by a credit each, and have the planner know the tables."""
        topic, clients = self.ground.command_topic, self.plan.clients
        self.publish("clients: publishing", topic, kind="seed", count=clients)
        with self.system():
            self.settle("clients: applying")
        with self.ground.connect() as session:
            session.execute("VACUUM (ANALYZE) clients, accounts, transactions, outbox")

    def sustain(
        self,
        label: str,
        kind: str,
        *,
        workers: int | None = None,
        clients: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Round:
        """One round of ours: publish, then let worker and relay run until all is read.

        Several workers first share the partitions, which takes the group some seconds; then all
        is published at once, much faster than it can be worked off. So it is for one worker where
        others are to be compared with it. A checkpoint begins when half is read.
        """
        ground, count = self.ground, self.plan.commands
        topic, clients = ground.command_topic, clients or self.plan.clients
        workers = workers or self.plan.workers[0]
        with ground.connect() as session:
            before, statements = read_storage(session), self.statements.read()
            if self.plan.workers == (1,):
                loaded = self.publish(f"{label}: publishing", topic, kind, count, clients=clients)
                self.read_from(ground.result_topic, count=count)
                with self.system(workers) as reports:
                    counted = self.follow(label, count, checkpoint)
            else:
                self.read_from(ground.result_topic, count=count)
                with self.system(workers) as reports:
                    self.await_workers(label, workers)
                    self.start_load(topic, kind, count, clients=clients)
                    counted = self.follow(label, count, checkpoint)
                    loaded = self.end_load(label, topic, count)
            used = statements_between(statements, self.statements.read())
            cost = Cost(before, read_storage(session), used)
        return Round(
            counted.count,
            counted.seconds,
            counted.cpu,
            sum(report["records"] for report in reports),
            _stage_sums(reports),
            loaded["cpu_s"],
            cost,
            checkpoint.end() if checkpoint is not None else None,
        )

    def grow(self) -> Growth:
        """A round on the tables as they are, and two on grown ones, each across a checkpoint.

        The first of the two is of the same clients as before, the second of all there are then.
        """
        plan, clients = self.plan, self.plan.clients + self.plan.preload_clients
        with self.ground.connect() as session, Checkpoint(session) as checkpoint:
            if checkpoint.left_out is not None:
                self.left_out.append(checkpoint.left_out)
            self.progress.begin("a checkpoint, to begin with nothing to write")
            checkpoint.make()
            small = self.sustain("before growth", "small", checkpoint=checkpoint)
            preload_s = load_rows(self.ground, plan, self.progress)
            checkpoint.make()
            same = self.sustain("grown, the same clients", "grown-same", checkpoint=checkpoint)
            spread = self.sustain(
                "grown, all clients", "grown-all", clients=clients, checkpoint=checkpoint
            )
        return Growth(small, same, spread, plan.preload, plan.preload_clients, preload_s)

    def sustain_baseline(self, label: str, turn: str) -> Round:
        """One round of the baseline, in the same way."""
        count = self.plan.baseline_commands
        commands, results = self.ground.baseline_topics
        self.publish(f"{label}: publishing", commands, turn, count)
        self.read_from(results, count=count)
        with self.baseline():
            return self.follow(label, count)

    def complete(self, delay_ms: int) -> Round:
        """One round of orders, from the first one's answer until all are completed.

        Everything is on this machine: the service that fulfills them, too.
        """
        count, label = self.plan.orders, f"orders, fulfilled after {delay_ms} ms"
        requests, results = self.ground.order_topics
        self.publish(f"{label}: publishing", requests, f"{ORDERS}-{delay_ms}", count)
        self.crew.start("stub", "stub", {"delay_ms": delay_ms})
        url = self.hear("stub", label)["url"]
        self.read_from(results, count=count, orders=True)
        self.crew.start_deployed("fulfillment", FULFILLMENT_URL=url)
        with self.system():
            counted = self.follow(label, count)
        self.crew.end("fulfillment", "stub")
        return counted

    def climb(self) -> list[Latency]:
        """The latency at the plan's rate and, on a ladder, at each step up to saturation."""
        plan, ground = self.plan, self.ground
        topics = ground.command_topic, ground.result_topic
        latencies: list[Latency] = []
        with self.system():
            self.await_workers("latency")
            self.publish("latency: warming up", topics[0], "warm", plan.latency_rate_per_s * 2)
            self.settle("latency: warming up")
            latencies.append(self.pace(*topics, plan.latency_rate_per_s, plan.latency_seconds))
            for per_s in _STEPS_PER_S if plan.ladder else ():
                if latencies[-1].percentile_ms(0.99) > _SATURATED_MS:
                    break
                latencies.append(self.pace(*topics, per_s, _STEP_S))
        return latencies

    def climb_baseline(self) -> list[Latency]:
        """The same ladder for the baseline, with lower steps."""
        latencies: list[Latency] = []
        with self.baseline():
            for per_s in _BASELINE_STEPS_PER_S:
                latencies.append(self.pace(*self.ground.baseline_topics, per_s, _STEP_S))
                if latencies[-1].percentile_ms(0.99) > _SATURATED_MS:
                    break
        return latencies

    def pace(self, commands: str, results: str, rate: int, seconds: int) -> Latency:
        """Publish at an even rate and note when each result came; the first 2 s don't count."""
        warm_up, count = rate * _WARM_UP_S, rate * (_WARM_UP_S + seconds)
        label = f"latency at {rate:,}/s"
        self.read_from(results, count=count, each=True)
        sent = self.publish(label, commands, f"paced-{rate}", count, rate_per_s=rate)
        read = self.hear_out("reader", label, count)["read"]
        self.crew.end("reader")
        counted = list(sent["sent"].items())[warm_up:]
        missing = sum(command_id not in read for command_id, _ in counted)
        if missing:
            raise BenchError(f"{missing} of {len(counted)} results did not come")
        latencies = sorted(read[command_id] - sent_s for command_id, sent_s in counted)
        return Latency(rate, seconds, latencies, sent["late_s_max"])

    def check_books(self) -> bool:
        """Whether the books hold after all this."""
        url, report = self.ground.owner_url, self.progress.parts("the books")
        with connect(url, application_name="wallet-bench", long_queries=True) as session:
            return all(finding.holds for finding in verify(session, report))

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
    ) -> None:
        """Begin to publish commands, at once or at a rate, of the plan's clients if not given."""
        arguments: Message = {
            "topic": topic, "kind": kind, "clients": clients or self.plan.clients, "count": count,
        }  # fmt: skip
        if rate_per_s is not None:
            arguments["rate_per_s"] = rate_per_s
        self.crew.start("load generator", "load", arguments)

    def end_load(self, label: str, topic: str, count: int) -> Message:
        """Wait until all is published; what the load generator says at the end."""
        done = self.hear_out("load generator", label, count)
        self.crew.end("load generator")
        if topic in (self.ground.command_topic, self.ground.order_topics[0]):
            self.published += count
        return done

    def read_from(
        self, topic: str, *, count: int, each: bool = False, orders: bool = False
    ) -> None:
        """Start the reader, and wait until it stands at the end of the topic."""
        arguments: Message = {
            "topic": topic, "count": count, "each": each, "orders": orders,
            "seconds": self.plan.seconds,
        }  # fmt: skip
        self.crew.start("reader", "reader", arguments)
        if self.crew.receive("reader", _STALL_S) is None:
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
        message = self.crew.receive(name, _STALL_S)
        if message is None:
            raise BenchError(f"{label}: the {name} has said nothing for {_STALL_S:.0f} s")
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
                elif time.monotonic() - moved_at > _STALL_S:
                    raise BenchError(f"{label}: nothing has moved for {_STALL_S:.0f} s")
                # Ours to hear of a process that failed; nobody speaks meanwhile.
                self.crew.receive("relay", _POLL_S)


def _stage_sums(reports: list[Message]) -> dict[str, StageTime]:
    return {
        name: StageTime(
            sum(report["stages"][name]["wall_s"] for report in reports),
            sum(report["stages"][name]["cpu_s"] for report in reports),
        )
        for name in STAGES
    }
