"""The measurement from beginning to end: clients, rounds in turn, latency and all."""

from dataclasses import dataclass, field

from ledger.database import connect
from ledger.verification import verify
from ops.bench.checkpoint import Checkpoint
from ops.bench.crew import Message
from ops.bench.endurance import endure
from ops.bench.figure import Cost, Figures, Growth, Round, StageTime, rate
from ops.bench.latency import climb, climb_baseline, half_of
from ops.bench.load import ORDERS
from ops.bench.preload import load_rows
from ops.bench.rig import Rig
from ops.bench.statement import Statements
from ops.bench.statement import used_between as statements_between
from ops.bench.storage import read_storage
from ops.bench.worker import STAGES

# How long the fulfillment service of a round with orders takes for each call.
_STUB_DELAYS_MS = (0, 50)
_NO_HALF = (
    "what is measured at half the rate: the rounds were too short to tell one, or it is below 200/s"
)


@dataclass(slots=True)
class Measurement:
    """One measurement, made with the rig; `left_out` is what could not be."""

    rig: Rig
    statements: Statements
    left_out: list[str] = field(default_factory=list)

    def run(self) -> Figures:
        """Measure everything. Raises BenchError where a process fails or nothing moves any more."""
        plan, ours, theirs = self.rig.plan, list[Round](), list[Round]()
        others: dict[str, list[Round]] = {load: [] for load in plan.others}
        shared: dict[int, list[Round]] = {workers: [] for workers in plan.workers[1:]}
        self.make_clients()
        if plan.warm_up:
            self.warm_up()
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
        half_per_s = half_of(rate(ours))
        if half_per_s is None:
            self.left_out.append(_NO_HALF)
        latency, half, ladder = climb(self.rig, half_per_s)
        baseline_ladder = climb_baseline(self.rig) if plan.ladder and plan.baseline else []
        endurance = None
        if plan.endure_minutes and half_per_s is not None:
            endurance = endure(self.rig, half_per_s, plan.endure_minutes)
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
            latency_at_half=half,
            ladder=ladder,
            baseline_ladder=baseline_ladder,
            endurance=endurance,
            growth=growth,
            left_out=[*self.rig.meter.left_out, *self.left_out],
            books_hold=self.check_books(),
        )

    def make_clients(self) -> None:
        """Make the clients by a credit each, and have the planner know the tables."""
        topic, clients = self.rig.ground.command_topic, self.rig.plan.clients
        self.rig.publish("clients: publishing", topic, kind="seed", count=clients)
        with self.rig.system():
            self.rig.settle("clients: applying")
        with self.rig.ground.connect() as session:
            session.execute("VACUUM (ANALYZE) clients, accounts, transactions, outbox")

    def warm_up(self) -> None:
        """A round that counts for nothing: in a Java that was just started a command costs the
        broker two to three times as much, most of it the compiler's.
        """
        ground, count = self.rig.ground, self.rig.plan.warm_up
        self.rig.publish("warm-up: publishing", ground.command_topic, "warm-up", count)
        self.rig.read_from(ground.result_topic, count=count)
        with self.rig.system():
            self.rig.follow("warm-up", count)
            self.rig.settle("warm-up")

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
        rig, ground, count = self.rig, self.rig.ground, self.rig.plan.commands
        topic, clients = ground.command_topic, clients or rig.plan.clients
        workers = workers or rig.plan.workers[0]
        with ground.connect() as session:
            before, statements = read_storage(session), self.statements.read()
            if rig.plan.workers == (1,):
                loaded = rig.publish(f"{label}: publishing", topic, kind, count, clients=clients)
                rig.read_from(ground.result_topic, count=count)
                with rig.system(workers) as reports:
                    counted = rig.follow(label, count, checkpoint)
            else:
                rig.read_from(ground.result_topic, count=count)
                with rig.system(workers) as reports:
                    rig.await_workers(label, workers)
                    rig.start_load(topic, kind, count, clients=clients)
                    counted = rig.follow(label, count, checkpoint)
                    loaded = rig.end_load(label, topic, count)
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
        plan, clients = self.rig.plan, self.rig.plan.clients + self.rig.plan.preload_clients
        with self.rig.ground.connect() as session, Checkpoint(session) as checkpoint:
            if checkpoint.left_out is not None:
                self.left_out.append(checkpoint.left_out)
            self.rig.progress.begin("a checkpoint, to begin with nothing to write")
            checkpoint.make()
            small = self.sustain("before growth", "small", checkpoint=checkpoint)
            preload_s = load_rows(self.rig.ground, plan, self.rig.progress)
            checkpoint.make()
            same = self.sustain("grown, the same clients", "grown-same", checkpoint=checkpoint)
            spread = self.sustain(
                "grown, all clients", "grown-all", clients=clients, checkpoint=checkpoint
            )
        return Growth(small, same, spread, plan.preload, plan.preload_clients, preload_s)

    def sustain_baseline(self, label: str, turn: str) -> Round:
        """One round of the baseline, in the same way."""
        count = self.rig.plan.baseline_commands
        commands, results = self.rig.ground.baseline_topics
        self.rig.publish(f"{label}: publishing", commands, turn, count)
        self.rig.read_from(results, count=count)
        with self.rig.baseline():
            return self.rig.follow(label, count)

    def complete(self, delay_ms: int) -> Round:
        """One round of orders, from the first one's answer until all are completed.

        Everything is on this machine: the service that fulfills them, too.
        """
        count, label = self.rig.plan.orders, f"orders, fulfilled after {delay_ms} ms"
        requests, results = self.rig.ground.order_topics
        self.rig.publish(f"{label}: publishing", requests, f"{ORDERS}-{delay_ms}", count)
        self.rig.crew.start("stub", "stub", {"delay_ms": delay_ms})
        url = self.rig.hear("stub", label)["url"]
        self.rig.read_from(results, count=count, orders=True)
        self.rig.crew.start_deployed("fulfillment", FULFILLMENT_URL=url)
        with self.rig.system():
            counted = self.rig.follow(label, count)
        self.rig.crew.end("fulfillment", "stub")
        return counted

    def check_books(self) -> bool:
        """Whether the books hold after all this."""
        url, report = self.rig.ground.owner_url, self.rig.progress.parts("the books")
        with connect(url, application_name="wallet-bench", long_queries=True) as session:
            return all(finding.holds for finding in verify(session, report))


def _stage_sums(reports: list[Message]) -> dict[str, StageTime]:
    return {
        name: StageTime(
            sum(report["stages"][name]["wall_s"] for report in reports),
            sum(report["stages"][name]["cpu_s"] for report in reports),
        )
        for name in STAGES
    }
