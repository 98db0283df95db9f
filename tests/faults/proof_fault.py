"""The faults of a proof, by kind: each returns when what it took away is back."""

from __future__ import annotations

import random
import signal
import time

import psycopg
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from tests.faults.checker_evidence import INPUTS
from tests.faults.proof_crew import GROUP
from tests.faults.proof_field import Done, Fault, Field
from tests.faults.proof_link import cut_connections, slow_connections, stall_connections
from tests.faults.proof_log import add_partition, cut_off_records
from tests.faults.run import STEPS, is_listening

_DEATH_TIMEOUT_S = 20.0
_EMPTY_TIMEOUT_S = 30.0
_FREEZE_S = (13.0, 16.0)  # past the session's time-out and all of PostgreSQL's
# Where a process is killed by its own hand: the function, and on which side of it.
POINTS = {
    "worker": (
        ("consumers.batch:Ledger.apply", "before"),  # after the poll
        ("consumers.batch:Ledger.load", "after"),  # the locks are held
        ("ledger.journal:write", "after"),  # the journal is written
        ("ledger.position:move", "before"),
        ("consumers.batch:Ledger.commit", "before"),
        ("consumers.batch:Ledger.commit", "after"),
        ("consumers.expiry:release_expired", "before"),
    ),
    "relay": (
        ("producers.relay:Relay.take_over", "after"),
        ("producers.relay:Relay.read_batch", "after"),
        ("producers.sender:encode_progress", "before"),  # inside the Kafka transaction
        ("producers.relay:Relay.commit", "before"),
        ("producers.relay:Relay.commit", "after"),  # published, not deleted
        ("producers.relay:Relay.delete", "after"),
    ),
    "fulfillment": (
        ("ledger.fulfillment:lease", "after"),
        ("producers.fulfillment:settle_all", "before"),  # the API has answered
        ("ledger.journal:write", "after"),
        ("producers.fulfillment:settle_all", "after"),
    ),
}


def kill_process(role: str) -> Fault:
    """SIGKILL at any moment."""

    def strike(field: Field, chance: random.Random) -> Done:
        name = f"{role}-{chance.choice(field.victims)}"
        field.crew.kill(name)
        time.sleep(chance.uniform(0.0, 3.0))
        field.crew.start(name)
        return Done(name, time.monotonic())

    return strike


def kill_at_a_point(role: str) -> Fault:
    """SIGKILL at a named place of the code, to the one process of its kind that is left."""

    def strike(field: Field, chance: random.Random) -> Done:
        names = [f"{role}-1", f"{role}-2"]
        place, when = chance.choice(POINTS[role])
        nth = "1" if "take_over" in place else str(chance.randint(1, 20))
        field.crew.end(*names)
        field.crew.start(names[0], "--at", place, "--when", when, "--nth", nth)
        died = field.crew.await_death(names[0], _DEATH_TIMEOUT_S)
        for name in names:
            field.crew.start(name)
        what = f"{when} {place.split(':')[1]} no. {nth}"
        return Done(what if died else f"{what} (it did not come to it)", time.monotonic())

    return strike


def freeze(role: str) -> Fault:
    """SIGSTOP past every time-out, then SIGCONT."""

    def strike(field: Field, chance: random.Random) -> Done:
        name = f"{role}-{chance.choice(field.victims)}"
        field.crew.signal(name, signal.SIGSTOP)
        seconds = chance.uniform(*_FREEZE_S)
        time.sleep(seconds)
        field.crew.signal(name, signal.SIGCONT)
        return Done(f"{name} for {seconds:.0f} s", time.monotonic())

    return strike


def step_clock(role: str) -> Fault:
    """The wall clock jumps by an hour, either way, and stays there until the process ends."""

    def strike(field: Field, chance: random.Random) -> Done:
        name = f"{role}-{chance.choice(field.victims)}"
        step = chance.choice(list(STEPS))
        while not is_listening(field.crew.pids()[name]):
            time.sleep(0.05)
        field.crew.signal(name, step)
        return Done(f"{name} by {STEPS[step]} s", time.monotonic())

    return strike


def rebalance_storm(field: Field, chance: random.Random) -> Done:
    """A worker joins or leaves every second."""
    guests = [f"worker-{number}" for number in range(3, 3 + chance.randint(3, 6))]
    for name in guests:
        field.crew.start(name)
        time.sleep(1.0)
    for name in guests:
        if chance.random() < 0.5:
            field.crew.kill(name)
        else:
            field.crew.end(name)
        time.sleep(0.5)
    return Done(f"{len(guests)} more workers", time.monotonic())


def kill_kafka(field: Field, chance: random.Random) -> Done:
    """SIGKILL to the broker, and a start."""
    field.servers.broker.kill()
    time.sleep(chance.uniform(0.0, 3.0))
    field.servers.broker.start()
    return Done("the broker", time.monotonic())


def kill_postgres(field: Field, chance: random.Random) -> Done:
    """SIGKILL to the postmaster, and a start."""
    field.servers.database.kill()
    time.sleep(chance.uniform(0.0, 3.0))
    field.servers.database.start()
    return Done("the postmaster", time.monotonic())


def fill_disk(field: Field, chance: random.Random) -> Done:
    """PostgreSQL's data can't grow, while its WAL has room left for a time."""
    disk, seconds = field.servers.small_disk(), chance.uniform(3.0, 10.0)
    disk.fill()
    time.sleep(seconds)
    disk.make_room()
    return Done(f"for {seconds:.0f} s", time.monotonic())


def fill_disk_of_wal(field: Field, chance: random.Random) -> Done:
    """Not even WAL can be written: PostgreSQL ends, and is started when there is room."""
    disk = field.servers.small_disk()
    disk.fill()
    field.servers.exhaust_wal()
    time.sleep(chance.uniform(0.0, 3.0))
    disk.make_room()
    field.servers.database.start()
    return Done("and the server ended", time.monotonic())


def cut_sessions(field: Field, _chance: random.Random) -> Done:
    """Every session that our processes have with PostgreSQL is cut."""
    with psycopg.connect(field.servers.database_url, autocommit=True) as session:
        rows = session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'wallet%'"
        ).fetchall()
    return Done(f"{len(rows)} sessions", time.monotonic())


def reset_offsets(field: Field, _chance: random.Random) -> Done:
    """The group's offsets in Kafka are set to zero while no worker runs: nobody may look there."""
    workers = ("worker-1", "worker-2")
    field.crew.end(*workers)
    admin = field.new_admin()
    known = admin.list_topics(timeout=10).topics
    zero = [TopicPartition(t, p, 0) for t in INPUTS for p in known[t].partitions]
    deadline = time.monotonic() + _EMPTY_TIMEOUT_S
    while True:
        asked = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, zero)])
        try:
            asked[GROUP].result(20)
            break
        except KafkaException:  # a killed worker is still a member
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    for name in workers:
        field.crew.start(name)
    return Done("all to 0", time.monotonic())


def aborted_upstream(field: Field, chance: random.Random) -> Done:
    """An upstream transaction is aborted."""
    count = chance.randint(1, 50)
    field.upstream.send_in_transaction(count, abandon=False)
    return Done(f"{count} records", time.monotonic())


def abandoned_upstream(field: Field, chance: random.Random) -> Done:
    """An upstream transaction is left open; what comes after it waits until Kafka aborts it."""
    count = chance.randint(1, 50)
    field.upstream.send_in_transaction(count, abandon=True)
    return Done(f"{count} records", time.monotonic())


def service_down(field: Field, chance: random.Random) -> Done:
    """The fulfillment service answers every call by 503."""
    seconds = chance.uniform(3.0, 8.0)
    good = field.stub.behaviour
    field.stub.behaviour = good.changed({"down": True})
    time.sleep(seconds)
    field.stub.behaviour = good
    return Done(f"for {seconds:.0f} s", time.monotonic())


FAULTS: dict[str, Fault] = {
    "worker killed": kill_process("worker"),
    "relay killed": kill_process("relay"),
    "fulfillment killed": kill_process("fulfillment"),
    "worker killed at a named point": kill_at_a_point("worker"),
    "relay killed at a named point": kill_at_a_point("relay"),
    "fulfillment killed at a named point": kill_at_a_point("fulfillment"),
    "worker frozen past all time-outs": freeze("worker"),
    "relay frozen past all time-outs": freeze("relay"),
    "fulfillment frozen past all time-outs": freeze("fulfillment"),
    "worker with its clock stepped": step_clock("worker"),
    "relay with its clock stepped": step_clock("relay"),
    "fulfillment with its clock stepped": step_clock("fulfillment"),
    "rebalance storm": rebalance_storm,
    "Kafka killed": kill_kafka,
    "PostgreSQL killed": kill_postgres,
    "PostgreSQL's disk full for data": fill_disk,
    "PostgreSQL's disk full for WAL": fill_disk_of_wal,
    "PostgreSQL sessions cut": cut_sessions,
    "Kafka offsets of the group reset": reset_offsets,
    "upstream transaction aborted": aborted_upstream,
    "upstream transaction left open": abandoned_upstream,
    "fulfillment service down": service_down,
    "partition added": add_partition,
    "records cut off below the positions": cut_off_records,
} | {
    f"{role} connections {done}": fault(role)
    for done, fault in (
        ("cut", cut_connections), ("stalled", stall_connections), ("slowed", slow_connections)
    )
    for role in POINTS
}  # fmt: skip
# Not for a soak, which spares the first process of each kind, only counts what it finds in the
# topics, and has more to send than a proxy of ours can hand on.
PROOF_ONLY = {
    "Kafka offsets of the group reset", "records cut off below the positions",
    *(name for name in FAULTS if "named point" in name or "connections" in name),
}  # fmt: skip
# These need a disk that can be full.
OF_DISK = {name for name in FAULTS if "disk full" in name}
# What two faults at once must not both take hold of: each other's processes or servers.
PARTS = {name: {name.split()[0]} for name in FAULTS if name.split()[0] in POINTS} | {
    "rebalance storm": {"guests"},
    "Kafka killed": {"kafka"},
    "PostgreSQL killed": {"postgres"},
    "PostgreSQL's disk full for data": {"postgres"},
    "PostgreSQL's disk full for WAL": {"postgres"},
    "PostgreSQL sessions cut": {"postgres"},
    "Kafka offsets of the group reset": {"worker", "kafka", "guests"},
    "upstream transaction aborted": {"kafka"},
    "upstream transaction left open": {"kafka"},
    "fulfillment service down": {"service"},
    "partition added": {"kafka"},
    "records cut off below the positions": {"kafka", "postgres"},
}
