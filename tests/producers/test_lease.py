"""A lease has one owner: whoever lost it changes nothing, and what was begun is begun again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from ledger import fulfillment
from ledger.breaker import Pace
from ledger.currency import Currencies
from ledger.database import connect
from ledger.fulfillment import LEASE_LOST_SQLSTATE, Call, Job
from producers.caller import Made
from producers.reply import Outcome, Reply
from producers.settlement import Rule, settle_all
from tests.conftest import WalletEnv
from tests.producers.shop import Shop, opened, stubbed
from tests.producers.world import eventually

PACE = Pace()
RULE = Rule(3, keeps_money=False, pace=PACE)


@pytest.fixture
def shop(wallet_env: WalletEnv) -> Iterator[Shop]:
    with opened(wallet_env) as made:
        yield made


@pytest.fixture
def session(wallet_env: WalletEnv) -> Iterator[psycopg.Connection]:
    with connect(wallet_env.database_url, application_name="test-fulfillment") as connection:
        yield connection


def lease(session: psycopg.Connection, count: int = 10, lease_s: float = 60) -> list[Job]:
    seen = fulfillment.look(session)
    return fulfillment.lease(session, seen, count, owner="test", lease_s=lease_s, pace=PACE)


def made(job: Job, outcome: Outcome = Outcome.FULFILLED) -> Made:
    fulfilled = outcome is Outcome.FULFILLED
    reply = Reply(outcome, 200 if fulfilled else 422, f"F-{job.lease_token}" if fulfilled else None)
    call = Call(
        job, outcome, reply.is_transient, reply.http_status, reply.error, time.monotonic(), 5
    )
    return Made(job, reply, call)


def test_jobs_are_shared_and_each_is_leased_once(shop: Shop, session: psycopg.Connection) -> None:
    shop.place(*(f"o-{number}" for number in range(40)))
    leased: list[Job] = []

    def take() -> None:
        with connect(shop.env.database_url, application_name="test-lease") as own:
            while jobs := lease(own, 3):
                leased.extend(jobs)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(leased) == len({job.key for job in leased}) == 40
    assert len({job.lease_token for job in leased}) == 40


def test_who_lost_the_lease_can_not_overwrite_the_newer_owners_outcome(
    shop: Shop, session: psycopg.Connection
) -> None:
    shop.place("o-1")
    [old] = lease(session, lease_s=0)
    [new] = lease(session)
    assert settle_all(session, [made(old)], Currencies(), RULE) == (0, 0, 1)
    assert settle_all(session, [made(new, Outcome.REFUSED)], Currencies(), RULE) == (0, 1, 0)
    assert settle_all(session, [made(old)], Currencies(), RULE) == (0, 0, 1)
    assert (shop.order("o-1")["status"], shop.balances()) == ("failed", {"available": 1000})
    assert [attempt[0] for attempt in shop.attempts("o-1")] == ["lost", "refused"]
    shop.assert_books_in_order()


def test_the_server_itself_refuses_what_a_lost_lease_would_write(
    shop: Shop, session: psycopg.Connection
) -> None:
    shop.place("o-1")
    [old] = lease(session, lease_s=0)
    lease(session)
    call = made(old).call
    assert call is not None
    with pytest.raises(psycopg.Error) as refused, session.transaction():
        fulfillment.record(session, [call], datetime.now(UTC))
    assert refused.value.sqlstate == LEASE_LOST_SQLSTATE
    assert [attempt[0] for attempt in shop.attempts("o-1")] == ["lost"]


def test_a_retried_orders_new_round_does_not_take_an_old_lease(
    shop: Shop, session: psycopg.Connection
) -> None:
    shop.place("o-1")
    [old] = lease(session)
    settle_all(session, [made(old, Outcome.REFUSED)], Currencies(), RULE)
    shop.request("anna", "retry_order", "r-1", order_id="o-1")
    assert settle_all(session, [made(old)], Currencies(), RULE) == (0, 0, 1)
    assert shop.order("o-1")["status"] == "pending"


def test_cancel_and_lease_have_one_winner(shop: Shop, session: psycopg.Connection) -> None:
    shop.place("o-1", "o-2")
    assert shop.request("anna", "cancel_order", "c-1", order_id="o-1")["status"] == "cancelled"
    [job] = lease(session)
    assert job.order_id == "o-2"
    answer = shop.request("anna", "cancel_order", "c-2", order_id="o-2")
    assert (answer["event"], answer["reason"]) == ("request_rejected", "order_not_cancellable")
    fulfillment.release(session, [job])  # no call was made
    assert shop.request("anna", "cancel_order", "c-3", order_id="o-2")["status"] == "cancelled"
    assert lease(session) == []
    shop.assert_books_in_order()


def test_what_an_order_did_can_not_be_changed(shop: Shop, session: psycopg.Connection) -> None:
    shop.place("o-1")
    [job] = lease(session)
    settle_all(session, [made(job)], Currencies(), RULE)
    for change in (
        "UPDATE fulfillment_attempts SET outcome = 'lost'",
        "DELETE FROM fulfillment_attempts",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(change)
        with (
            connect(shop.env.database_url, application_name="test", role=None) as owner,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
        ):
            owner.execute(change)


def test_a_process_that_ends_settles_what_is_under_way_and_gives_the_rest_back(shop: Shop) -> None:
    shop.place(*(f"o-{number}" for number in range(6)))
    with stubbed(delay_ms=300) as (stub, url):
        with shop.fulfillment(url, WALLET_FULFILLMENT_CONCURRENCY="2") as process:
            eventually(lambda: stub.record.calls.total() == 2)
        assert process.stats.completed == 2
    leased = shop.rows("SELECT leased_until, lease_owner, attempts_made FROM fulfillments")
    assert leased == [(None, None, 0)] * 4
    assert stub.record.calls.total() == 2


def test_postgres_away_for_a_moment_is_waited_for(shop: Shop) -> None:
    shop.place("o-1", "o-2")
    with stubbed(delay_ms=100) as (stub, url), shop.fulfillment(url) as process:
        eventually(lambda: stub.record.calls.total() >= 1)
        shop.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'wallet-fulfillment' AND datname = current_database()"
        )
        assert set(shop.ended().values()) == {"completed"}
        eventually(lambda: process.trouble is None)
    assert len(stub.record.ids) == 2
