"""One breaker for all processes: the API is away, nobody hammers it, and no order fails for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ledger.breaker import BreakerState
from tests.conftest import WalletEnv
from tests.producers.shop import Shop, opened, stubbed
from tests.producers.world import eventually


@pytest.fixture
def shop(wallet_env: WalletEnv) -> Iterator[Shop]:
    with opened(wallet_env) as made:
        yield made


def test_while_the_api_is_down_orders_wait_and_then_complete_without_a_burst(shop: Shop) -> None:
    orders = [f"o-{number}" for number in range(60)]
    shop.place(*orders)
    with stubbed(down=True) as (stub, url), ExitStack() as stack:
        pair = [
            stack.enter_context(shop.fulfillment(url, WALLET_BREAKER_RAMP_S="5")) for _ in range(2)
        ]
        eventually(lambda: all(p.breaker_state is BreakerState.OPEN for p in pair))
        time.sleep(0.3)  # what was under way when it opened
        before, began = stub.record.calls.total(), time.monotonic()
        time.sleep(1.0)
        probes, seconds = stub.record.calls.total() - before, time.monotonic() - began
        assert 5 <= probes <= seconds / 0.05 + 2
        assert {status for _, status in shop.rows("SELECT order_id, status FROM orders")} == {
            "pending"
        }
        before = stub.record.calls.total()
        stub.behaviour = stub.behaviour.changed({"down": False})
        began = time.monotonic()
        assert set(shop.ended().values()) == {"completed"}
        seconds = time.monotonic() - began
    # 20 a second and 40 more with each, plus a probe and what five hundredths of a second let pass.
    assert stub.record.calls.total() - before >= len(orders)
    assert 20 * seconds + 20 * seconds**2 + 5 >= len(orders)
    assert len(stub.record.ids) == len(orders)
    shop.assert_books_in_order()


def test_an_order_whose_third_attempt_was_over_fails_and_the_others_get_theirs_back(
    shop: Shop,
) -> None:
    shop.place("lone")
    with stubbed(error_rate=1) as (stub, url), shop.fulfillment(url) as process:
        assert shop.ended("lone") == {"lone": "failed"}
        assert process.breaker_state is BreakerState.CLOSED
        shop.place("second", "third")
        eventually(lambda: process.breaker_state is BreakerState.OPEN)
        eventually(lambda: len(shop.attempts("second") + shop.attempts("third")) >= 6)
        assert {shop.order(o)["status"] for o in ("second", "third")} == {"pending"}
        assert shop.rows("SELECT DISTINCT attempts FROM fulfillments") == [(0,)]
        stub.behaviour = stub.behaviour.changed({"error_rate": 0})
        assert shop.ended()["second"] == "completed"
    assert process.stats.failed == 1


def test_a_refusal_tells_that_the_api_is_back(shop: Shop) -> None:
    shop.place("o-1", "o-2")
    with stubbed(down=True) as (stub, url), shop.fulfillment(url) as process:
        eventually(lambda: process.breaker_state is BreakerState.OPEN)
        stub.behaviour = stub.behaviour.changed({"down": False, "refuse_rate": 1})
        assert set(shop.ended().values()) == {"failed"}
        assert process.breaker_state is not BreakerState.OPEN
