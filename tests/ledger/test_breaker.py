"""The circuit breaker: what opens it, what passes while it is open, and how it closes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger.breaker import (
    FAILURES_IN_A_ROW,
    RAMP_GROWTH_PER_S,
    RAMP_START_PER_S,
    Breaker,
    BreakerState,
    Pace,
)

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
PACE = Pace(probe_s=1.0, ramp_s=30.0)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def opened() -> Breaker:
    breaker = Breaker()
    for number in range(FAILURES_IN_A_ROW):
        breaker.fail(f"anna/o-{number % 2}", BEGIN, PACE)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_a_lone_order_never_opens_it_and_a_second_one_does() -> None:
    breaker = Breaker()
    assert not any(breaker.fail("anna/o-1", BEGIN, PACE) for _ in range(20))
    assert breaker.fail("ben/o-1", BEGIN, PACE)


def test_an_answer_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for number in range(50):
        for _ in range(FAILURES_IN_A_ROW - 1):
            assert not breaker.fail(f"anna/o-{number}", BEGIN, PACE)
            number += 1  # noqa: PLW2901 - orders of their own
        breaker.answer(BEGIN)
    assert breaker.is_calm


def test_open_it_lets_one_probe_a_second_pass() -> None:
    breaker = opened()
    passed = [breaker.grant(100, at(tick / 10), PACE) for tick in range(51)]
    assert sum(passed) == 5
    assert set(passed) == {0, 1}
    assert breaker.grant(0, at(10), PACE) == 0
    assert breaker.grant(5, at(10), PACE) == 1


def test_an_answer_closes_it_and_calls_ramp_up_until_they_are_free() -> None:
    breaker = opened()
    assert breaker.answer(at(10))
    assert breaker.state is BreakerState.RAMPING
    per_second = [
        sum(breaker.grant(1_000, at(10 + second + tick / 100), PACE) for tick in range(100))
        for second in range(30)
    ]
    assert per_second == sorted(per_second)
    assert per_second[0] <= RAMP_START_PER_S + RAMP_GROWTH_PER_S / 2
    assert breaker.grant(1_000, at(40), PACE) == 1_000
    assert breaker.ramp_from is None


def test_what_was_not_asked_for_while_it_ramps_up_does_not_come_as_a_burst() -> None:
    breaker = opened()
    breaker.answer(BEGIN)
    rate_per_s = RAMP_START_PER_S + RAMP_GROWTH_PER_S * 20
    assert breaker.grant(10_000, at(20), PACE) <= rate_per_s * 0.2 + 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 3)), max_size=60))
def test_it_is_open_if_a_run_over_two_orders_was_long_enough(
    calls: list[tuple[str, bool, float]],
) -> None:
    breaker, run, is_open, now = Breaker(), list[str](), False, BEGIN
    for order, failed, later_s in calls:
        now += timedelta(seconds=later_s)
        if failed:
            run = [] if is_open else [*run, order]
            opens = len(run) >= FAILURES_IN_A_ROW and len(set(run)) > 1
            assert breaker.fail(order, now, PACE) == opens
            is_open = is_open or opens
        else:
            assert breaker.answer(now) == is_open
            run, is_open = [], False
        assert (breaker.state is BreakerState.OPEN) == is_open
        assert breaker.grant(7, now, PACE) <= 7


def test_it_does_not_wait_for_a_clock_that_was_set_back() -> None:
    breaker = opened()
    assert breaker.grant(10, at(-3600), PACE) == 1
    assert breaker.grant(10, at(-3599.5), PACE) == 0
    assert breaker.grant(10, at(-3599), PACE) == 1
    breaker.answer(at(0))
    assert breaker.grant(10, at(-3600), PACE) == 0
    assert breaker.grant(100, at(-3599), PACE) > 0
    assert breaker.grant(10_000, at(-3600 + PACE.ramp_s), PACE) == 10_000
