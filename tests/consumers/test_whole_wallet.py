"""What holds, refunds, pages and limits promise, on a real database by the workers' own path."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ledger import journal
from ledger.database import connect
from ledger.query import history, view_at
from ledger.rate import Bucket, RateLimit
from ledger.rule import Rules
from ledger.verification import verify
from tests.conftest import WalletEnv
from tests.ledger.bookkeeper import Bookkeeper, Record
from tests.ledger.damage import command
from tests.producers.world import eventually

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def session(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    with connect(wallet_env.database_url, application_name="test-worker") as connection:
        yield connection
    url = wallet_env.database_url
    with connect(url, application_name="test-verify", long_queries=True) as reader:
        assert [finding for finding in verify(reader) if not finding.holds] == []


def _paid(amount: str = "10.00") -> Record:
    value = {"command_id": "paid", "type": "payment", "amount": amount, "merchant_id": "m"}
    return "alice", value


def _refund(amount: str | None = None) -> Record:
    return command("alice", "refund", amount, original_command_id="paid")


def test_refunds_of_one_batch_with_their_original_never_pass_it(
    session: psycopg.Connection,
) -> None:
    money = command("alice", "credit", "10")
    answers = Bookkeeper(session).results(
        [money, _paid(), _refund("6"), _refund("5"), _refund(), _refund()]
    )
    outcomes = [(a["status"], a["reason"], a["amount"]) for a in answers[2:]]
    assert outcomes == [
        ("applied", None, "6.00"),
        ("rejected", "exceeds_original", "5.00"),
        ("applied", None, "4.00"),
        ("rejected", "exceeds_original", None),
    ]
    assert answers[4]["merchant_id"] == "m"
    assert answers[4]["balance_after"] == "10.00"


def test_refunds_of_later_batches_never_pass_the_original(session: psycopg.Connection) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "10"), _paid()])
    reasons = [books.results([_refund("6")])[0]["reason"] for _ in range(2)]
    assert reasons == [None, "exceeds_original"]


def _at_once(wallet_env: WalletEnv, count: int, work: Callable[[Bookkeeper], None]) -> None:
    """The same work of several workers, each with a partition of its own, begun together."""
    start, failures = threading.Barrier(count), list[Exception]()

    def run(books: Bookkeeper) -> None:
        try:
            start.wait(10)
            work(books)
        except Exception as error:  # noqa: BLE001 - it is shown below
            failures.append(error)

    with ExitStack() as stack:
        sessions = [
            stack.enter_context(connect(wallet_env.database_url, application_name=f"worker-{n}"))
            for n in range(count)
        ]
        books = [Bookkeeper(s, Rules(), partition=n + 1) for n, s in enumerate(sessions)]
        threads = [threading.Thread(target=run, args=(book,)) for book in books]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_refunds_of_several_workers_at_once_never_pass_the_original(
    wallet_env: WalletEnv, session: psycopg.Connection
) -> None:
    Bookkeeper(session).apply([command("alice", "credit", "10"), _paid()])

    def work(books: Bookkeeper) -> None:
        for _ in range(10):
            books.apply([_refund("0.40")])

    _at_once(wallet_env, 4, work)
    rows = history(session, "alice", page_size=100)
    refunded = [row.amount for row in rows if row.type == "refund" and row.status == "applied"]
    assert refunded == [40] * 25
    assert Counter(row.reason for row in rows if row.type == "refund")["exceeds_original"] == 15


def test_accounts_that_move_while_their_lock_is_waited_for_are_written_where_they_are_then(
    wallet_env: WalletEnv, session: psycopg.Connection
) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "10"), command("alice", "hold", "4", hold_id="h")])
    batch = [command("alice", "capture", hold_id="h"), command("alice", "debit", "1")]
    worker = threading.Thread(target=books.apply, args=(batch,))
    with (
        psycopg.connect(wallet_env.database_url) as other,
        psycopg.connect(wallet_env.database_url, autocommit=True) as watch,
    ):
        # Each row's next version stands at another place, as after another batch's update.
        other.execute("UPDATE accounts SET updated_at = updated_at WHERE client_id = 'alice'")
        worker.start()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
        eventually(lambda: watch.execute(waiting, (session.info.backend_pid,)).fetchone())
        other.commit()
        worker.join()
    [wallet] = view_at(session, "alice", datetime.now(UTC)).wallets
    assert (wallet.balance, wallet.held) == (500, 0)


def test_exactly_one_of_capture_release_and_expiry_wins(
    wallet_env: WalletEnv, session: psycopg.Connection
) -> None:
    books = Bookkeeper(session)
    soon = (datetime.now(UTC) + timedelta(milliseconds=300)).isoformat()
    holds = [command("alice", "hold", "1", hold_id=f"h{n}", expires_at=soon) for n in range(30)]
    books.apply([command("alice", "credit", "100"), *holds])

    def work(worker: Bookkeeper) -> None:
        kind = "capture" if worker.position.partition == 1 else "release"
        if worker.position.partition == 3:
            for _ in range(40):
                worker.sweep()
            return
        for n in range(30):
            worker.apply([command("alice", kind, hold_id=f"h{n}")])

    _at_once(wallet_env, 3, work)
    while journal.due_holds(session, 1):
        books.sweep()
    rows = history(session, "alice", page_size=1000)
    settled = Counter(row.type for row in rows if row.status == "applied")
    assert settled["capture"] + settled["release"] + settled["hold_released"] == 30
    assert view_at(session, "alice", datetime.now(UTC)).wallets[0].held == 0


def test_a_capture_with_a_rest_tells_the_whole_outcome_each_time(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "100"), command("alice", "hold", "30", hold_id="h")])
    capture = command("alice", "capture", "20.00", hold_id="h")
    [first] = books.results([capture])
    told = ("amount", "balance_before", "balance_after", "held", "hold_id", "currency")
    assert [first[name] for name in told] == ["20.00", "70.00", "80.00", "0.00", "h", "USD"]
    [again] = books.results([capture])
    assert again == {**first, "duplicate": True, "source": again["source"]}
    [page] = books.results([command("alice", "get_history", limit=2)])  # type: ignore[arg-type]
    assert [(t["type"], t["command_id"]) for t in page["transactions"]] == [
        ("capture", first["command_id"]),
        ("release", first["command_id"]),
    ]


def test_pages_of_a_history_are_stable_while_it_grows(session: psycopg.Connection) -> None:
    books = Bookkeeper(session)
    books.apply([command("alice", "credit", "1") for _ in range(25)])
    books.apply([command("alice", "credit", "1", currency="EUR") for _ in range(10)])
    everything = [str(row.transaction_id) for row in history(session, "alice", page_size=100)]
    walked: list[str] = []
    before: str | None = None
    while True:
        asked: dict[str, Any] = {"limit": 7} if before is None else {"limit": 7, "before": before}
        more = command("alice", "credit", "1")
        page = books.results([more, command("alice", "get_history", **asked), more])[1]
        walked += [t["transaction_id"] for t in page["transactions"]]
        before = page["next_before"]
        if before is None:
            break
    assert walked[1:] == everything
    assert len(set(walked)) == len(walked) == 36


def test_the_balances_of_any_moment_are_those_that_results_told_then(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    steps = [
        command("alice", "credit", "50"),
        command("bob", "credit", "9"),
        command("bob", "transfer", "4", to_client_id="alice"),
        command("alice", "hold", "20", hold_id="h"),
        command("alice", "freeze_wallet"),
        command("alice", "release", hold_id="h"),
    ]
    told = [(datetime(2020, 1, 1, tzinfo=UTC), list[tuple[int, int, str]]())]
    for step in steps:
        books.apply([step])
        [asked] = books.results([command("alice", "get_wallet")])
        wallets = [
            (int(w["balance"].replace(".", "")), int(w["held"].replace(".", "")), w["status"])
            for w in asked["wallets"]
        ]
        now = session.execute("SELECT clock_timestamp()").fetchone()
        assert now is not None
        told.append((now[0], wallets))
    for moment, wallets in told:
        found = view_at(session, "alice", moment).wallets
        assert [(w.balance, w.held, w.status) for w in found] == wallets


def test_the_statements_of_a_batch_do_not_grow_with_its_commands(
    session: psycopg.Connection, counted: Counter[str]
) -> None:
    books = Bookkeeper(session, Rules(transfer_refund=True))

    def batch(first: int, clients: int) -> list[Record]:
        made = []
        for name in (f"client-{n}" for n in range(first, first + clients)):
            paid = name, {"command_id": "p", "type": "spend", "amount": "1"}
            made += [
                command(name, "credit", "10"), command(name, "bonus", "1", currency="EUR"), paid,
                command(name, "hold", "2", hold_id="h"), command(name, "hold", "1", hold_id="i"),
                command(name, "capture", "1", hold_id="h"), command(name, "release", hold_id="i"),
                command(name, "refund", original_command_id="p"), command(name, "get_wallet"),
                command(name, "freeze_wallet"), command(name, "register_client", name="N"),
            ]  # fmt: skip
        return made

    seen = []
    for size in (1, 40):
        counted.clear()
        books.apply(batch(size * 100, size))
        seen.append(dict(counted))
    assert seen[0] == seen[1]
    assert set(seen[0].values()) == {1}


def test_a_bucket_gives_what_the_limit_says_and_fills_by_the_records_times() -> None:
    limit, bucket = RateLimit(2, 1000), Bucket()
    at = int(_NOW.timestamp() * 1000)
    assert [bucket.take(limit, at, _NOW) for _ in range(3)] == [True, True, False]
    assert bucket.take(limit, at + 499, _NOW) is False
    assert bucket.take(limit, at + 500, _NOW) is True
    assert bucket.take(limit, at - 60_000, _NOW) is False  # never backwards
    assert bucket.filled_at_ms == at + 500
    assert bucket.take(limit, at + 3_600_000, _NOW) is True  # nor far beyond the clock
    assert bucket.filled_at_ms == at + 5_000


def test_a_bucket_goes_on_filling_where_the_databases_clock_was_set_back() -> None:
    limit, bucket = RateLimit(1, 1000), Bucket()
    hour_ago = _NOW - timedelta(hours=1)
    at = int(hour_ago.timestamp() * 1000)
    assert bucket.take(limit, at + 3_600_000, _NOW) is True
    assert bucket.take(limit, at, hour_ago) is False  # the time that is gone gives nothing
    assert bucket.take(limit, at + 7_000, hour_ago + timedelta(seconds=2)) is True


def test_the_rate_limit_is_one_per_client_and_costs_duplicates_and_queries_nothing(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session, Rules(rate_limit=RateLimit(2, 60_000)))
    one, two, three = (command("alice", "credit", "1") for _ in range(3))
    query = command("alice", "get_wallet")
    batches = [[one, one, query, query], [two, one, query], [three, command("bob", "credit", "1")]]
    reasons = [[answer["reason"] for answer in books.results(batch)] for batch in batches]
    assert reasons == [[None] * 4, [None] * 3, ["rate_limited", None]]
    limited = books.results([three])[0]
    assert (limited["transaction_id"], limited["duplicate"]) == (None, False)


def test_a_hold_opened_by_a_worker_of_the_release_before_is_worked_on(
    session: psycopg.Connection,
) -> None:
    books = Bookkeeper(session)
    books.results([command("alice", "credit", "10"), command("alice", "hold", "4", hold_id="h")])
    session.execute("UPDATE accounts SET sides = 0")  # it does not know the column
    [captured] = books.results([command("alice", "capture", hold_id="h")])
    assert (captured["status"], captured["held"]) == ("applied", "0.00")
    counted = session.execute("SELECT sides FROM accounts WHERE kind = 'available'").fetchone()
    assert counted == (1,)
