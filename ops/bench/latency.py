"""Latency at even rates: the plan's, half the maximum and, on a ladder, rising ones."""

from collections.abc import Sequence

from ops.bench.failure import BenchError
from ops.bench.figure import Latency
from ops.bench.rig import Rig

_WARM_UP_S = 2
# The steps of a ladder, in commands a second. It ends where a command in a hundred waits for more
# than a second.
_STEPS_PER_S = (1_000, 2_000, 5_000, 7_500, 10_000, 12_500, 15_000, 20_000)
_BASELINE_STEPS_PER_S = (50, 100, 200, 300, 400, 600)
_STEP_S = 10
_SATURATED_MS = 1_000.0
# Half of a rate is rounded down to so many commands a second.
_HALF_STEP_PER_S = 100


def half_of(per_s: float | None) -> int | None:
    """Half of a rate, in whole hundreds; None where there was none, or too low a one."""
    return int((per_s or 0) / 2 // _HALF_STEP_PER_S * _HALF_STEP_PER_S) or None


def climb(rig: Rig, half_per_s: int | None) -> tuple[Latency, Latency | None, Sequence[Latency]]:
    """The latency at the plan's rate, at half the maximum where that is known and, on a ladder, at
    each step up to saturation.
    """
    plan, ground = rig.plan, rig.ground
    topics = ground.command_topic, ground.result_topic
    with rig.system():
        rig.await_workers("latency")
        rig.publish("latency: warming up", topics[0], "warm", plan.latency_rate_per_s * 2)
        rig.settle("latency: warming up")
        even = pace(rig, *topics, plan.latency_rate_per_s, plan.latency_seconds)
        half = None
        if half_per_s is not None:
            kind = f"half-{half_per_s}"
            half = pace(rig, *topics, half_per_s, plan.latency_seconds, kind=kind)
        latencies = [even]
        for per_s in _STEPS_PER_S if plan.ladder else ():
            if latencies[-1].percentile_ms(0.99) > _SATURATED_MS:
                break
            latencies.append(pace(rig, *topics, per_s, _STEP_S))
    return even, half, latencies[1:]


def climb_baseline(rig: Rig) -> list[Latency]:
    """The same ladder for the baseline, with lower steps."""
    latencies: list[Latency] = []
    with rig.baseline():
        for per_s in _BASELINE_STEPS_PER_S:
            latencies.append(pace(rig, *rig.ground.baseline_topics, per_s, _STEP_S))
            if latencies[-1].percentile_ms(0.99) > _SATURATED_MS:
                break
    return latencies


def pace(
    rig: Rig, commands: str, results: str, rate: int, seconds: int, *, kind: str | None = None
) -> Latency:
    """Publish at an even rate and note when each result came; the first 2 s don't count.

    `kind` begins the commands' ids: a rate that is measured twice needs one of its own.
    """
    warm_up, count = rate * _WARM_UP_S, rate * (_WARM_UP_S + seconds)
    label = f"latency at {rate:,}/s"
    rig.read_from(results, count=count, each=True)
    sent = rig.publish(label, commands, kind or f"paced-{rate}", count, rate_per_s=rate)
    read = rig.hear_out("reader", label, count)["read"]
    rig.crew.end("reader")
    counted = list(sent["sent"].items())[warm_up:]
    missing = sum(command_id not in read for command_id, _ in counted)
    if missing:
        raise BenchError(f"{missing} of {len(counted)} results did not come")
    latencies = sorted(read[command_id] - sent_s for command_id, sent_s in counted)
    return Latency(rate, seconds, latencies, sent["late_s_max"])
