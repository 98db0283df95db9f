"""The figures that our processes show at /metrics: their names, and where each comes from.

Nothing here is in a record's way: the worker and the relay call once a batch, and what can be read
from their counters or from PostgreSQL is read when somebody looks. No client is in a label.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import psycopg
import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from consumers.report import BatchReport
from consumers.worker import Worker
from ledger.backlog import read_figures
from ledger.database import Failures, connect
from ledger.verification import UnsettledError, verify
from producers.fulfillment import Fulfillment
from producers.relay import Relay, RelayReport

_log = structlog.get_logger(__name__)


class Figure(NamedTuple):
    """A figure's name in base units, its kind, its labels, who shows it, and what it says."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    process: Literal["worker", "relay", "both", "fulfillment", "all"]
    meaning: str


RECORDS: Final = Figure(
    "wallet_records_total",
    "counter",
    ("topic", "outcome"),
    "worker",
    "Input records by outcome: result, duplicate, query or dead_letter.",
)
BATCH_DURATION: Final = Figure(
    "wallet_batch_duration_seconds",
    "histogram",
    ("stage",),
    "worker",
    "Time of a batch by stage: decode, load, decide, write, commit.",
)
END_TO_END: Final = Figure(
    "wallet_end_to_end_seconds",
    "histogram",
    ("stage",),
    "both",
    "Of each batch's first record: apply, from its timestamp to the ledger's commit (worker); "
    "publish, from there to readers (relay). The two add up to the whole way.",
)
CONSUMER_LAG: Final = Figure(
    "wallet_consumer_lag",
    "gauge",
    ("topic", "partition"),
    "worker",
    "Offsets between the position and the log's end, of the partitions this worker has.",
)
FENCED: Final = Figure(
    "wallet_fenced_total",
    "counter",
    (),
    "both",
    "How often another process had taken over what this one held.",
)
MISPLACED: Final = Figure(
    "wallet_misplaced_records_total",
    "counter",
    (),
    "worker",
    "Records in a partition that murmur2 does not give their key.",
)
TOPICS_STOPPED: Final = Figure(
    "wallet_topics_stopped",
    "gauge",
    (),
    "worker",
    "Topics of which nothing is read until `wallet offsets reset` has decided.",
)
OUTBOX_PENDING: Final = Figure(
    "wallet_outbox_pending",
    "gauge",
    (),
    "relay",
    "Records that are to be published, counted in the first 100,000 rows of the outbox.",
)
OUTBOX_OLDEST: Final = Figure(
    "wallet_outbox_oldest_seconds",
    "gauge",
    (),
    "relay",
    "How long the first of them has waited; 0 where none does.",
)
PUBLISHED: Final = Figure(
    "wallet_relay_published_total",
    "counter",
    (),
    "relay",
    "Results and dead letters that readers can see.",
)
TRANSACTION_DURATION: Final = Figure(
    "wallet_relay_transaction_seconds",
    "histogram",
    (),
    "relay",
    "Time of a relay transaction: sent, committed, deleted from the outbox.",
)
OWNER: Final = Figure(
    "wallet_relay_owner",
    "gauge",
    (),
    "relay",
    "1 where this relay owns its part of the outbox, 0 where it stands by.",
)
TAKEOVERS: Final = Figure(
    "wallet_relay_takeovers_total", "counter", (), "relay", "How often it became the owner."
)
ABORTED: Final = Figure(
    "wallet_relay_aborted_total", "counter", (), "relay", "Kafka transactions that it gave up."
)
MISMATCHES: Final = Figure(
    "wallet_relay_mismatches_total",
    "counter",
    (),
    "relay",
    "Rows with the ids of published ones that tell of other events: the database was restored.",
)
IMBALANCE: Final = Figure(
    "wallet_books_imbalance",
    "gauge",
    ("check",),
    "relay",
    "Rows at fault in the newest check of the books; needs WALLET_BOOKS_CHECK_INTERVAL_S.",
)
BOOKS_CHECKED: Final = Figure(
    "wallet_books_checked_timestamp_seconds",
    "gauge",
    (),
    "relay",
    "When the newest check of the books ended, in Unix time.",
)
FULFILLMENT_REQUESTS: Final = Figure(
    "wallet_fulfillment_requests_total",
    "counter",
    ("code",),
    "fulfillment",
    "Calls to the fulfillment API by HTTP status, or by what came in its place: timeout, "
    "no connection, connection lost.",
)
ORDERS_SETTLED: Final = Figure(
    "wallet_orders_settled_total",
    "counter",
    ("status",),
    "fulfillment",
    "Orders by how their fulfillment ended: completed or failed.",
)
LEASES_LOST: Final = Figure(
    "wallet_fulfillment_leases_lost_total",
    "counter",
    (),
    "fulfillment",
    "Calls whose lease had ended before what they came to could be written.",
)
BREAKER_STATE: Final = Figure(
    "wallet_breaker_state",
    "gauge",
    (),
    "fulfillment",
    "The circuit breaker of all processes: 0 closed, 1 closed and ramping up, 2 open.",
)
POSTGRES_UP: Final = Figure(
    "wallet_postgres_up",
    "gauge",
    (),
    "all",
    "1 where PostgreSQL has just answered this process, else 0.",
)
POSTGRES_FAILURES: Final = Figure(
    "wallet_postgres_failures_total",
    "counter",
    ("sqlstate",),
    "all",
    "Tries that PostgreSQL failed, by SQLSTATE (53100: its disk is full) or `connection`.",
)

FIGURES: Final = (
    RECORDS, BATCH_DURATION, END_TO_END, CONSUMER_LAG, FENCED, MISPLACED, TOPICS_STOPPED,
    OUTBOX_PENDING, OUTBOX_OLDEST, PUBLISHED, TRANSACTION_DURATION, OWNER, TAKEOVERS, ABORTED,
    MISMATCHES, IMBALANCE, BOOKS_CHECKED, FULFILLMENT_REQUESTS, ORDERS_SETTLED, LEASES_LOST,
    BREAKER_STATE, POSTGRES_UP, POSTGRES_FAILURES,
)  # fmt: skip

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ANSWER_KEPT_S = 1.0


class Postgres:
    """A session of its own for what is asked of PostgreSQL when somebody looks.

    Any thread may ask. A second's answers are kept, so that many lookers cost as much as one.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._asked_at_s = -_ANSWER_KEPT_S
        self._answer: tuple[int, float] | None = None

    def outbox(self) -> tuple[int, float] | None:
        """Rows that wait and the first one's age in seconds; None where PostgreSQL is away."""
        with self._lock:
            if time.monotonic() - self._asked_at_s >= _ANSWER_KEPT_S:
                self._answer = self._ask()
                self._asked_at_s = time.monotonic()
            return self._answer

    def close(self) -> None:
        """End the session."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _ask(self) -> tuple[int, float] | None:
        try:
            if self._connection is None or self._connection.closed or self._connection.broken:
                self._connection = connect(self._database_url, application_name="wallet-health")
            return read_figures(self._connection)
        except psycopg.Error as error:
            _log.debug("postgres does not answer", error=str(error).strip())
            return None


class WorkerMetrics(Collector):
    """A worker's figures, in a registry of their own."""

    def __init__(self, worker: Worker, postgres: Postgres) -> None:
        self.registry = _registry()
        self._worker = worker
        self._postgres = postgres
        self._records = _counter(RECORDS, self.registry)
        self._stages = _histogram(BATCH_DURATION, self.registry)
        self._end_to_end = _histogram(END_TO_END, self.registry).labels("apply")
        self.registry.register(self)
        worker.on_batch = self._on_batch

    def collect(self) -> Iterator[Metric]:
        """What is read when somebody looks."""
        worker = self._worker
        lags = [((t, str(p)), float(lag)) for (t, p), lag in sorted(worker.assignment.lags.items())]
        yield _family(CONSUMER_LAG, lags)
        yield _single(FENCED, worker.assignment.fenced_count)
        yield _single(MISPLACED, worker.misplaced_count)
        yield _single(TOPICS_STOPPED, len(worker.assignment.stopped_topics))
        yield _single(POSTGRES_UP, self._postgres.outbox() is not None)
        yield _postgres_failures(worker.failures)

    def _on_batch(self, report: BatchReport) -> None:
        for (topic, outcome), count in report.outcomes.items():
            if count:
                self._records.labels(topic, outcome).inc(count)
        for stage, seconds in report.stage_s.items():
            self._stages.labels(stage).observe(seconds)
        if report.age_s is not None:
            self._end_to_end.observe(report.age_s)


class RelayMetrics(Collector):
    """A relay's figures, in a registry of their own."""

    def __init__(self, relay: Relay, postgres: Postgres) -> None:
        self.registry = _registry()
        self.books: tuple[float, dict[str, int]] | None = None
        self._relay = relay
        self._postgres = postgres
        self._end_to_end = _histogram(END_TO_END, self.registry).labels("publish")
        self._transactions = _histogram(TRANSACTION_DURATION, self.registry)
        self.registry.register(self)
        relay.on_batch = self._on_batch

    def collect(self) -> Iterator[Metric]:
        """What is read when somebody looks; of an absent PostgreSQL nothing is said."""
        stats = self._relay.stats
        yield _single(PUBLISHED, stats.published)
        yield _single(OWNER, self._relay.is_owner is True)
        yield _single(TAKEOVERS, stats.takeovers)
        yield _single(ABORTED, stats.aborted)
        yield _single(FENCED, stats.fenced)
        yield _single(MISMATCHES, stats.mismatches)
        outbox = self._postgres.outbox()
        yield _single(POSTGRES_UP, outbox is not None)
        yield _postgres_failures(self._relay.failures)
        if outbox is not None:
            yield _single(OUTBOX_PENDING, outbox[0])
            yield _single(OUTBOX_OLDEST, outbox[1])
        if self.books is not None:
            checked_at_s, faults = self.books
            yield _single(BOOKS_CHECKED, checked_at_s)
            yield _family(IMBALANCE, [((check,), float(n)) for check, n in faults.items()])

    def check_books(self, database_url: str) -> None:
        """Check the books once; what could not be checked leaves the last verdict and its time."""
        try:
            with connect(
                database_url, application_name="wallet-books", long_queries=True
            ) as connection:
                findings = verify(connection)
        except (psycopg.Error, UnsettledError) as error:
            _log.warning("the books were not checked", error=str(error).strip())
            return
        self.books = (time.time(), {finding.name: finding.at_fault for finding in findings})
        wrong = [finding.name for finding in findings if not finding.holds]
        if wrong:
            _log.error("the books are wrong: `wallet verify` shows the rows", checks=wrong)

    def _on_batch(self, report: RelayReport) -> None:
        age = datetime.now(UTC) - report.oldest_at
        self._end_to_end.observe(max(0.0, age.total_seconds()))
        self._transactions.observe(report.duration_s)


class FulfillmentMetrics(Collector):
    """A fulfillment process's figures, in a registry of their own."""

    def __init__(self, fulfillment: Fulfillment, postgres: Postgres) -> None:
        self.registry = _registry()
        self._fulfillment = fulfillment
        self._postgres = postgres
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """What is read when somebody looks; of a breaker not yet read nothing is said."""
        stats, breaker = self._fulfillment.stats, self._fulfillment.breaker_state
        calls = sorted(stats.calls.items())
        yield _family(FULFILLMENT_REQUESTS, [((code,), float(n)) for code, n in calls])
        ends = (("completed", stats.completed), ("failed", stats.failed))
        yield _family(ORDERS_SETTLED, [((status,), float(n)) for status, n in ends])
        yield _single(LEASES_LOST, stats.lost)
        if breaker is not None:
            yield _single(BREAKER_STATE, breaker)
        yield _single(POSTGRES_UP, self._postgres.outbox() is not None)
        yield _postgres_failures(self._fulfillment.failures)


def _postgres_failures(failures: Failures) -> Metric:
    counts = sorted(failures.counts.copy().items())
    return _family(POSTGRES_FAILURES, [((state,), float(n)) for state, n in counts])


def _registry() -> CollectorRegistry:
    disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _counter(figure: Figure, registry: CollectorRegistry) -> Counter:
    return Counter(figure.name, figure.meaning, figure.labels, registry=registry)


def _histogram(figure: Figure, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        figure.name, figure.meaning, figure.labels, registry=registry, buckets=_BUCKETS
    )


def _single(figure: Figure, value: float) -> Metric:
    return _family(figure, [((), float(value))])


def _family(figure: Figure, values: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    family = kind(figure.name, figure.meaning, labels=figure.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family
