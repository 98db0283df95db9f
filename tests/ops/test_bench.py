"""A measurement runs, tells every figure, and leaves nothing behind; how fast it was is no test."""

from __future__ import annotations

import io
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from typing import Any

import orjson
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from rich.console import Console

from ops.bench.figure import (
    Endurance,
    Figures,
    Latency,
    Round,
    Sample,
    StageTime,
    Stretch,
    rate,
    ratio,
)
from ops.bench.latency import half_of
from ops.bench.listener import find_listeners
from ops.bench.load import HOT, commands, mix, mix_all
from ops.bench.meter import OTHERS, used_between
from ops.bench.plan import Plan
from ops.bench.report import show
from ops.bench.worker import STAGES
from ops.stack import StackAddress
from schemas.command import COMMANDS
from tests.ops.shell import Shell, until

SMALL = ("bench", "--commands", "500", "--clients", "50", "--latency-seconds", "1")
_DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'wallet\\_bench\\_%'"


@pytest.fixture
def servers(stack: StackAddress, admin_client: AdminClient) -> Iterator[Shell]:
    """The run's servers; what a killed measurement left there is gone afterwards."""
    yield Shell({**stack.environment(), "WALLET_PARTITIONS": "3", "WALLET_TOPIC_PREFIX": "t-"})
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        for (name,) in session.execute(_DATABASES).fetchall():
            session.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    if _topics(admin_client):
        admin_client.delete_topics(_topics(admin_client))  # nobody waits for it


@pytest.mark.long
def test_a_small_measurement_tells_every_figure_and_leaves_nothing_behind(
    servers: Shell, stack: StackAddress, admin_client: AdminClient, tmp_path: Path
) -> None:
    picture = tmp_path / "endurance.svg"
    plotted = ("--endure", "0.1", "--plot", str(picture))
    # In small batches, so that the round takes long enough to tell a rate.
    shell = Shell({**servers.env, "WALLET_BATCH_RECORDS_MAX": "20"})
    document = shell.json(*SMALL, "--no-baseline", "--mixed", *plotted)
    assert document["conditions"]["postgres"]["synchronous_commit"] == "on"
    assert document["conditions"]["partitions"] == 3
    assert document["conditions"]["warm_up_commands"] == 500
    assert len(document["rate"]["rounds"]) == 1
    assert set(document["rate"]) == {"per_s", "rounds"}
    latency = document["latency"]
    assert latency["count"] == 100
    assert 0 < latency["p50_ms"] <= latency["p99_ms"] <= latency["max_ms"]
    half = document["latency_at_half"]
    if document["rate"]["per_s"] is None:  # all of the round came at once
        assert half is document["endurance"] is None
        assert any("at half the rate" in part for part in document["left_out"])
    else:
        _assert_endured(document["endurance"], half["rate_per_s"])
        assert "dead tuples" in picture.read_text()

        assert half["rate_per_s"] == document["rate"]["per_s"] / 2 // 100 * 100
        assert half["count"] == half["rate_per_s"] * half["seconds"]
        assert 0 < half["p50_ms"] <= half["p99_ms"] <= half["max_ms"]
    stages = document["stages_per_1000"]
    assert list(stages) == ["poll", "decode", "load", "decide", "write", "commit"]
    assert all(took["wall_s"] > 0 for took in stages.values())
    assert "load generator" in document["cpu_s_per_1000"]
    # The test's own broker is none of the data folder's, and known all the same.
    assert not any("broker" in part for part in document["left_out"])
    assert len(document["mixed"]["rounds"]) == len(document["mixed"]["ratios"]) == 1
    assert {"per_s", "ratio", "cpu_s_per_1000"} < set(document["mixed"])
    assert all(took["wall_s"] > 0 for took in document["mixed"]["stages_per_1000"].values())
    assert document["baseline"] is None
    assert document["books_hold"] is True
    _assert_nothing_is_left(stack, admin_client)


@pytest.mark.long
def test_the_baseline_is_measured_in_turns(
    servers: Shell, stack: StackAddress, admin_client: AdminClient
) -> None:
    document = servers.json(*SMALL, "--warm-up", "0", "--workers", "2,1")
    baseline = document["baseline"]
    assert (
        len(document["rate"]["rounds"]) == len(baseline["rounds"]) == len(baseline["ratios"]) == 2
    )
    assert document["conditions"]["baseline_commands"] == 200
    assert baseline["per_s"] > 0
    assert document["mixed"] is None
    assert document["conditions"]["group_protocol"] == "consumer"
    assert [shared["workers"] for shared in document["workers"]] == [2, 1]
    assert {len(shared["rounds"]) for shared in document["workers"]} == {2}
    _assert_nothing_is_left(stack, admin_client)


@pytest.mark.long
def test_growth_is_measured_in_one_run(servers: Shell) -> None:
    document = servers.json(*SMALL, "--warm-up", "0", "--no-baseline", "--preload", "3000")
    growth = document["growth"]
    assert (growth["transactions"], growth["clients"]) == (3_000, 300)
    transactions = [growth[when]["storage"]["transactions"] for when in ("before", "grown")]
    assert transactions[1] - transactions[0] == 3_000 + 2 * 500
    assert growth["grown"]["storage"]["wal_bytes_per_command"] > 0
    names = [used["name"] for used in growth["grown"]["statements_per_1000"]]
    ours = {"batch.copy_transactions", "batch.insert_outbox"}
    assert ours | {"outbox.read_accounts", "outbox.delete_rows"} <= set(names)
    assert document["books_hold"] is True


def test_a_person_reads_tables() -> None:
    ours = Round(1_000, 0.1, {"worker": 0.03}, 1_000, dict.fromkeys(STAGES, StageTime(0.02, 0.01)))
    latency = Latency(100, 1, [0.004, 0.009], 0.001)
    mixed = Round(800, 0.1, {}, 800, ours.stages)
    theirs = Round(100, 0.2, {})
    figures = Figures(
        ours=[ours], shared={}, others={"mixed": [mixed]}, baseline=[theirs], orders=[],
        load_cpu_s_per_1000=0.01, latency=latency,
        latency_at_half=Latency(4_900, 1, [0.0271], 0.0), ladder=[Latency(5_000, 1, [0.0314], 0.0)],
        baseline_ladder=[], endurance=_endurance(), growth=None, left_out=["the broker: away"],
        books_hold=True,
    )  # fmt: skip
    screen = Console(record=True, width=100, file=io.StringIO())
    show({"cores": 2, "workers": [1], "postgres": {"fsync": "on"}}, figures, screen)
    said = screen.export_text()
    for words in ("10,000/s", "8,000/s", "0.80×", "500/s", "20.0×", "9.0 ms", "postgres fsync"):
        assert words in said
    for words in ("8,123 at 5,000/s", "6,000", "4,000", "456.7", "76,543", "7.0", "53.0"):
        assert words in said
    for words in (
        "the broker",
        "decode",
        "5,000",
        "31.4",
        "at half the rate",
        "4,900/s",
        "27.1 ms",
    ):
        assert words in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_ended_early_leaves_nothing_behind(
    servers: Shell, stack: StackAddress, admin_client: AdminClient, number: signal.Signals
) -> None:
    with servers.started(*SMALL, "--latency-seconds", "60") as running:
        until(lambda: len(_children(running.process.pid)) >= 2, lambda: running.said)
        children = _children(running.process.pid)
        assert running.end(number) in {130, 143}, running.said
    until(lambda: not [pid for pid in children if _runs(pid)])  # reaped a moment later
    _assert_nothing_is_left(stack, admin_client)


def test_its_processes_end_with_it_even_when_it_is_killed(servers: Shell) -> None:
    with servers.started(*SMALL, "--latency-seconds", "60") as running:
        until(lambda: len(_children(running.process.pid)) >= 2, lambda: running.said)
        children = _children(running.process.pid)
        running.end(signal.SIGKILL)
    until(lambda: not [pid for pid in children if _runs(pid)])


def test_a_login_that_may_make_no_database_is_told_so(servers: Shell, stack: StackAddress) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        session.execute("DROP ROLE IF EXISTS bench_guest")
        session.execute("CREATE ROLE bench_guest LOGIN PASSWORD 'guest'")
    url = stack.database_url.replace("//postgres@", "//bench_guest:guest@").replace(
        "//postgres:postgres@", "//bench_guest:guest@"
    )
    ran = servers.wallet(*SMALL, DATABASE_URL=url)
    assert ran.returncode == 1
    assert "CREATEDB" in ran.stderr


def test_commands_are_the_same_however_often_they_are_made() -> None:
    made = list(mix("first", 100, 2_000))
    assert made == list(mix("first", 100, 2_000))
    assert len({command.command_id for command in made}) == 2_000
    transfers = sum(b"transfer" in command.value for command in made)
    assert 300 < transfers < 500
    assert not [c for c in made if f'"to_client_id":"{c.client_id}"'.encode() in c.value]


def test_a_mix_of_all_types_has_them_all_and_refers_only_to_what_came_before() -> None:
    made = list(mix_all("mixed-first", 100, 5_000))
    assert made == list(mix_all("mixed-first", 100, 5_000))
    before: set[tuple[str, str]] = set()
    types: Counter[str] = Counter()
    for client_id, command_id, value in made:
        fields = orjson.loads(value)
        COMMANDS[fields["type"]].model_validate(fields)
        types[fields["type"]] += 1
        for name in ("original_command_id", "hold_id"):
            assert name not in fields or (client_id, fields[name]) in before
        before.add((client_id, command_id))
    assert len(before) == 5_000
    assert set(types) == set(COMMANDS)
    assert min(types.values()) > 100


@pytest.mark.parametrize("load", HOT)
def test_a_hot_load_is_all_about_one_wallet_or_merchant(load: str) -> None:
    made = [
        (client_id, orjson.loads(value))
        for client_id, _, value in commands(f"{load}-first", 100, 200)
    ]
    for _, fields in made:
        COMMANDS[fields["type"]].model_validate(fields)
    targets = {
        client_id if load == "hot-wallet" else fields.get("to_client_id", fields.get("merchant_id"))
        for client_id, fields in made
    }
    assert len(targets) == 1
    assert targets != {None}
    assert (len({client_id for client_id, _ in made}) > 50) == (load != "hot-wallet")


def test_a_mix_of_all_types_needs_whole_rounds(servers: Shell) -> None:
    ran = servers.wallet(*SMALL, "--mixed", "--seconds", "1")
    assert ran.returncode == 2
    assert "--seconds" in ran.stderr


def test_a_percentile_is_the_least_latency_that_so_many_did_not_exceed() -> None:
    latency = Latency(100, 1, [i / 1000 for i in range(1, 101)], 0.0)
    assert [latency.percentile_ms(share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert Latency(1, 1, [0.002], 0.0).percentile_ms(0.99) == 2


def test_half_a_rate_is_in_whole_hundreds_and_unknown_where_the_rate_is() -> None:
    assert [half_of(per_s) for per_s in (11_299.0, 10_400.0, 200.0)] == [5_600, 5_200, 100]
    assert [half_of(per_s) for per_s in (None, 199.9)] == [None, None]


def test_a_rate_is_over_all_rounds_and_unknown_where_nothing_was_counted() -> None:
    assert rate([Round(100, 1.0, {}), Round(100, 3.0, {})]) == 50
    assert rate([Round(0, 0.0, {})]) is None
    assert ratio(None, 10) is None
    assert ratio(100, 10) == 10


def test_cpu_time_is_divided_between_the_parts_and_everything_else() -> None:
    before = {0: (OTHERS, 100.0), 7: ("worker", 1.0)}
    after = {0: (OTHERS, 110.0), 7: ("worker", 4.0), 8: ("relay", 2.0)}
    assert used_between(before, after) == {"worker": 3.0, "relay": 2.0, OTHERS: 5.0}


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_broker_of_this_machine_is_known_by_where_it_listens(host: str) -> None:
    with socket() as broker:
        broker.bind((host, 0))
        port = broker.getsockname()[1]
        assert find_listeners(f"127.0.0.1:{port}") == set()
        broker.listen()
        for servers in (f"127.0.0.1:{port}", f"PLAINTEXT://localhost:{port}, [::1]:1"):
            assert find_listeners(servers) == {os.getpid()}
        # No broker of ours: another port, another machine, nobody's name.
        assert find_listeners(f"127.0.0.1:1,192.0.2.1:{port},nowhere.invalid:{port}") == set()


def test_the_baseline_has_fewer_commands_but_never_too_few() -> None:
    assert _plan(100_000).baseline_commands == 5_000
    assert _plan(1_000).baseline_commands == 200
    assert _plan(50).baseline_commands == 50


def _endurance() -> Endurance:
    """3,000 results in each half second but the open one, which has 2,000 and a process more."""
    samples = [
        Sample(-0.0, 100, 0, 8192, 10, {"relay": 50 << 20}),
        Sample(0.5, 3_100, 4, 8192, 2_000, {"relay": 51 << 20}),
        Sample(1.0, 5_100, 90, 7 << 20, 76_543, {"relay": 52 << 20, "late": 1 << 20}),
        Sample(1.5, 8_100, 2, 7 << 20, 0, {"relay": 53 << 20}),
    ]
    stretches = [
        Stretch("before", samples[:2], [0.011]),
        Stretch("open", samples[1:3], [0.0123] * 98 + [0.4567] * 2),
        Stretch("after", samples[2:], []),
    ]
    return Endurance(5_000, 1.5, 8_123, 1, 0.0, stretches, samples)


def _plan(count: int) -> Plan:
    return Plan(count, 10, None, 100, 1, (1,), baseline=True)


def _assert_endured(endurance: dict[str, Any], per_s: int) -> None:
    assert (endurance["rate_per_s"], endurance["count"]) == (per_s, per_s * 8)
    assert [s["name"] for s in endurance["stretches"]] == ["before", "open", "after"]
    for stretch in endurance["stretches"]:
        assert stretch["timed"] > 0
        assert stretch["per_s"] > 0
        assert 0 < stretch["p50_ms"] <= stretch["p99_ms"]
        assert stretch["outbox_rows_median"] <= stretch["outbox_rows_max"]
        assert stretch["outbox_bytes_max"] > 0
        for when in ("begin", "end"):
            assert {"worker", "relay", "reader"} < set(stretch[f"memory_bytes_{when}"])
    assert max(sample["dead_tuples"] for sample in endurance["samples"]) > 0
    reads = [sample["read"] for sample in endurance["samples"]]
    assert reads == sorted(reads)
    assert set(endurance["samples"][0]) == {
        "at_s", "read", "outbox_rows", "outbox_bytes", "dead_tuples", "memory_bytes"
    }  # fmt: skip


def _assert_nothing_is_left(stack: StackAddress, admin_client: AdminClient) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as session:
        assert session.execute(_DATABASES).fetchall() == []
    until(lambda: not _topics(admin_client))


def _topics(admin_client: AdminClient) -> list[str]:
    return [t for t in admin_client.list_topics(timeout=10).topics if t.startswith("t-bench-")]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(c) for task in tasks.iterdir() for c in (task / "children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
