"""Latency at even rates: the plan's and, on a ladder, rising ones up to saturation."""

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


def climb(rig: Rig) -> list[Latency]:
    """The latency at the plan's rate and, on a ladder, at each step up to saturation."""
    plan, ground = rig.plan, rig.ground
    topics = ground.command_topic, ground.result_topic
    latencies: list[Latency] = []
    with rig.system():
        rig.await_workers("latency")
        rig.publish("latency: warming up", topics[0], "warm", plan.latency_rate_per_s * 2)
        rig.settle("latency: warming up")
        latencies.append(pace(rig, *topics, plan.latency_rate_per_s, plan.latency_seconds))
        for per_s in _STEPS_PER_S if plan.ladder else ():
            if latencies[-1].percentile_ms(0.99) > _SATURATED_MS:
                break
            latencies.append(pace(rig, *topics, per_s, _STEP_S))
    return latencies


def climb_baseline(rig: Rig) -> list[Latency]:
    """The same ladder for the baseline, with lower steps."""
    latencies: list[Latency] = []
    with rig.baseline():
        for per_s in _BASELINE_STEPS_PER_S:
            latencies.append(pace(rig, *rig.ground.baseline_topics, per_s, _STEP_S))
            if latencies[-1].percentile_ms(0.99) > _SATURATED_MS:
                break
    return latencies


def pace(rig: Rig, commands: str, results: str, rate: int, seconds: int) -> Latency:
    """Publish at an even rate and note when each result came; the first 2 s don't count."""
    warm_up, count = rate * _WARM_UP_S, rate * (_WARM_UP_S + seconds)
    label = f"latency at {rate:,}/s"
    rig.read_from(results, count=count, each=True)
    sent = rig.publish(label, commands, f"paced-{rate}", count, rate_per_s=rate)
    read = rig.hear_out("reader", label, count)["read"]
    rig.crew.end("reader")
    counted = list(sent["sent"].items())[warm_up:]
    missing = sum(command_id not in read for command_id, _ in counted)
    if missing:
        raise BenchError(f"{missing} of {len(counted)} results did not come")
    latencies = sorted(read[command_id] - sent_s for command_id, sent_s in counted)
    return Latency(rate, seconds, latencies, sent["late_s_max"])
