"""Tables that a measurement has grown are those of a ledger; what they cost is told."""

from __future__ import annotations

import io

import psycopg
import pytest
from rich.console import Console

from ledger import statement
from ledger.database import connect
from ledger.verification import verify
from ops.bench.checkpoint import Checkpoint
from ops.bench.figure import Cost, Figures, Growth, Latency, Round, StageTime
from ops.bench.preload import Bulk, preload
from ops.bench.report import show
from ops.bench.statement import Statements, Use, name_of, together, used_between
from ops.bench.storage import Relation, Storage, read_storage
from ops.bench.worker import STAGES
from tests.conftest import WalletEnv
from tests.ops.shell import Shell

_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"


# Up to the middle of a pass of transfers, to its end, a lone pass, and the fewest there may be.
@pytest.mark.parametrize(("count", "clients"), [(4_560, 100), (500, 100), (130, 100), (9, 2)])
def test_the_books_of_grown_tables_hold(wallet_env: WalletEnv, count: int, clients: int) -> None:
    url = wallet_env.env["DATABASE_URL"]
    told: list[str] = []
    with (
        psycopg.connect(url, autocommit=True) as session,
        psycopg.connect(url, autocommit=True) as second,
    ):
        before = session.execute(_INDEXES).fetchall()
        bulk = Bulk(count, clients, first_client=7, topic="grown", partitions=3)
        preload(session, second, bulk, lambda what, _done, _total: told.append(what))
        assert session.execute(_INDEXES).fetchall() == before
        storage = read_storage(session)
        [(highest,)] = session.execute("SELECT max(id) FROM transactions").fetchall()
    assert storage.transactions == highest == count
    assert storage.bytes[Relation("transactions", "transactions_pkey")] > 0
    assert {"accounts", "transactions", "indexes"} < set(told)
    with connect(url, application_name="test", long_queries=True) as reader:
        findings = {finding.name: finding for finding in verify(reader)}
    assert not [finding for finding in findings.values() if not finding.holds]
    assert findings["chains"].examined >= count
    assert findings["balances"].examined == clients
    assert findings["positions"].examined == 3


def test_statements_are_told_by_the_names_of_our_files(wallet_env: WalletEnv) -> None:
    with psycopg.connect(wallet_env.env["DATABASE_URL"], autocommit=True) as session:
        statements = Statements(session)
        if statements.left_out is not None:
            pytest.skip(statements.left_out)
        before = statements.read()
        lock = statement.statements("batch.sql")["lock_accounts"]
        session.execute(lock, (["a"], ["USD"]))
        session.execute("SELECT 1 AS nobody, 'secret' AS has_named")
        used = used_between(before, statements.read())
    assert used["batch.lock_accounts"].calls == 1
    assert [name for name in used if "nobody" in name and "secret" not in name]
    assert not [name for name in used if "pg_stat_statements" in name]


def test_a_name_is_found_however_the_server_shows_the_values() -> None:
    shown = "DELETE FROM outbox WHERE id = ANY ($1)"
    assert name_of(shown) == "outbox.delete_rows"
    assert name_of(" -- a comment\nSELECT\n  now() /* or so */") == "SELECT now()"
    assert len(name_of("SELECT " + "a, " * 100)) == 60


def test_what_ran_between_two_readings_is_what_counts_the_longest_first() -> None:
    one, more = Use(1, 1.0, 1, 0, 10), Use(3, 5.0, 3, 0, 30)
    used = used_between({"a": one, "b": one}, {"a": one, "b": more, "c": one})
    assert used == {"b": Use(2, 4.0, 2, 0, 20), "c": one}
    assert list(together([{"c": one}, used])) == ["b", "c"]
    assert together([{"c": one}, used])["c"] == Use(2, 2.0, 2, 0, 20)


def test_a_login_that_may_make_no_checkpoint_goes_without(wallet_env: WalletEnv) -> None:
    with psycopg.connect(wallet_env.env["DATABASE_URL"], autocommit=True) as session:
        with Checkpoint(session) as checkpoint:
            assert checkpoint.end() is None
            checkpoint.begin()
            assert checkpoint.end() is not None
        session.execute("SET ROLE wallet_runtime")
        with Checkpoint(session) as checkpoint:
            checkpoint.begin()
            assert checkpoint.end() is None
            assert "pg_checkpoint" in str(checkpoint.left_out)


def test_a_person_reads_what_growth_cost() -> None:
    relation = Relation("transactions", "transactions_pkey")
    sizes = Storage({relation: 2 << 20}, 100, 1_000, 1), Storage({relation: 3 << 20}, 2_100, 9_000)
    cost = Cost(*sizes, {"batch.known": Use(10, 0.05, 1_000, 7, 4_000)})
    stages = dict.fromkeys(STAGES, StageTime(0.02, 0.01))
    before = Round(1_000, 0.1, {"worker": 0.03}, 2_000, stages, cost=cost)
    grown = Round(900, 0.1, {}, 2_000, stages, cost=cost, checkpoint_s=0.5)
    figures = Figures(
        ours=[before], shared={4: [grown]}, others={}, baseline=[], orders=[],
        load_cpu_s_per_1000=0.01, latency=Latency(100, 1, [0.004], 0.001),
        latency_at_half=None, ladder=[],
        baseline_ladder=[], endurance=None,
        growth=Growth(before, grown, grown, 5_000, 500, 2.0), left_out=[], books_hold=True,
    )  # fmt: skip
    screen = Console(record=True, width=120, file=io.StringIO())
    show({"workers": [1, 4]}, figures, screen)
    said = screen.export_text()
    for words in ("4 workers", "0.90×", "5,000 transactions, 500 clients", "2,500 transactions/s"):
        assert words in said
    for words in ("a checkpoint of 0.5 s", "no checkpoint", "batch.known", "25.0", "524"):
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "0"], "1,2,4"),
        (["--workers", "1,,2"], "1,2,4"),
        (["--workers", "2,2"], "1,2,4"),
        (["--workers", "1,2", "--seconds", "5"], "whole rounds"),
        (["--preload", "100", "--seconds", "5"], "whole rounds"),
        (["--preload", "100", "--preload-clients", "101"], "too few"),
        (["--preload-clients", "10"], "too few"),
        (["--plot", "latency.svg"], "--ladder"),
        (["--ladder", "--plot", "nowhere/latency.svg"], "can't be written"),
        (["--ladder", "--endure", "1", "--plot", "nowhere/all.svg"], "all-ladder.svg can't be"),
        (["--endure", "0.05"], "0.1 minutes"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(arguments: list[str], told: str) -> None:
    ran = Shell({}).wallet("bench", *arguments)
    assert ran.returncode == 2
    assert told in " ".join(ran.stderr.split())
