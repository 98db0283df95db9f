"""The figures as one JSON object."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from ops.bench.figure import (
    Endurance,
    Figures,
    Growth,
    Latency,
    Round,
    Stretch,
    cpu_s_per_1000,
    rate,
    ratio,
    stages_per_1000,
    statements_per_1000,
)
from ops.bench.load import HOT, MIXED

LOAD = "load generator"


def as_document(conditions: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Everything as one object; null stands for what could not be measured or was left out."""
    return {
        "conditions": conditions,
        "rate": {"per_s": rate(figures.ours), "rounds": [_round(r) for r in figures.ours]},
        "latency": _latency(figures.latency),
        "latency_at_half": _latency(figures.latency_at_half) if figures.latency_at_half else None,
        "ladder": [_latency(step) for step in figures.ladder],
        "baseline_ladder": [_latency(step) for step in figures.baseline_ladder],
        "cpu_s_per_1000": _cpu(figures),
        "left_out": list(figures.left_out),
        "stages_per_1000": _stages(figures.ours),
        "statements_per_1000": _statements(figures.ours),
        "storage": _storage(figures.ours),
        "workers": _workers(conditions["workers"], figures) if figures.shared else [],
        "mixed": _other(figures, MIXED),
        "hot": {load.removeprefix("hot-"): _other(figures, load) for load in HOT},
        "baseline": _baseline(figures) if figures.baseline else None,
        "endurance": _endurance(figures.endurance) if figures.endurance else None,
        "growth": _growth(figures.growth) if figures.growth else None,
        "orders": [_orders(delay_ms, r) for delay_ms, r in figures.orders],
        "books_hold": figures.books_hold,
    }


def _latency(latency: Latency) -> dict[str, Any]:
    return {
        "rate_per_s": latency.rate_per_s,
        "seconds": latency.seconds,
        "count": len(latency.sorted_s),
        "p50_ms": latency.percentile_ms(0.50),
        "p99_ms": latency.percentile_ms(0.99),
        "max_ms": latency.percentile_ms(1.0),
        "generator_late_ms_max": latency.late_s_max * 1000,
    }


def _endurance(endurance: Endurance) -> dict[str, Any]:
    return {
        "rate_per_s": endurance.rate_per_s,
        "seconds": endurance.seconds,
        "count": endurance.count,
        "timed_every": endurance.timed_every,
        "generator_late_ms_max": endurance.late_s_max * 1000,
        "stretches": [_stretch(stretch) for stretch in endurance.stretches],
        "samples": [asdict(sample) for sample in endurance.samples],
    }


def _stretch(stretch: Stretch) -> dict[str, Any]:
    """One of three: `before`, `open` and `after`, by when the transaction was open."""
    samples = stretch.samples
    return {
        "name": stretch.name,
        "seconds": stretch.seconds,
        "per_s": stretch.per_s,
        "timed": len(stretch.sorted_s),
        "p50_ms": stretch.percentile_ms(0.50),
        "p99_ms": stretch.percentile_ms(0.99),
        "outbox_rows_median": median(sample.outbox_rows for sample in samples),
        "outbox_rows_max": max(sample.outbox_rows for sample in samples),
        "outbox_bytes_max": max(sample.outbox_bytes for sample in samples),
        "dead_tuples_max": max(sample.dead_tuples for sample in samples),
        "memory_bytes_begin": samples[0].memory_bytes,
        "memory_bytes_end": samples[-1].memory_bytes,
    }


def _other(figures: Figures, load: str) -> dict[str, Any] | None:
    """Another load's rounds, and how many times the plain rate of the same run theirs is."""
    ours, theirs = figures.ours, figures.others.get(load)
    if theirs is None:
        return None
    return {
        "per_s": rate(theirs),
        "rounds": [_round(r) for r in theirs],
        "ratio": ratio(rate(theirs), rate(ours)),
        "ratios": [ratio(a.per_s, b.per_s) for a, b in zip(theirs, ours, strict=True)],
        "cpu_s_per_1000": cpu_s_per_1000(theirs),
        "stages_per_1000": _stages(theirs),
    }


def _workers(counts: Sequence[int], figures: Figures) -> list[dict[str, Any]]:
    """The rate with each number of workers, and how many times the first one's it is."""
    first = rate(figures.ours)
    return [
        {
            "workers": count,
            "per_s": rate(rounds),
            "rounds": [_round(r) for r in rounds],
            "ratio": ratio(rate(rounds), first),
            "cpu_s_per_1000": cpu_s_per_1000(rounds),
        }
        for count, rounds in zip(counts, [figures.ours, *figures.shared.values()], strict=True)
    ]


def _growth(growth: Growth) -> dict[str, Any]:
    """The rounds before and after; the ratios are to the one before."""
    before = growth.small.per_s
    return {
        "transactions": growth.transactions,
        "clients": growth.clients,
        "preload_s": growth.preload_s,
        "preload_per_s": growth.transactions / growth.preload_s,
        "ratio": ratio(growth.spread.per_s, before),
        "ratio_same_clients": ratio(growth.same.per_s, before),
        "before": _grown(growth.small),
        "grown_same_clients": _grown(growth.same),
        "grown": _grown(growth.spread),
    }


def _grown(r: Round) -> dict[str, Any]:
    return {
        **_round(r),
        "checkpoint_s": r.checkpoint_s,
        "cpu_s_per_1000": cpu_s_per_1000([r]),
        "stages_per_1000": _stages([r]),
        "statements_per_1000": _statements([r]),
        "storage": _storage([r]),
    }


def _statements(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    return [{"name": name, **use._asdict()} for name, use in statements_per_1000(rounds).items()]


def _storage(rounds: Sequence[Round]) -> dict[str, Any]:
    """Bytes of each table and index after the last round, and by how much a command grew it."""
    commands, last = max(1, sum(r.records for r in rounds)), rounds[-1].cost.after
    costs = [r.cost for r in rounds]
    return {
        "transactions": last.transactions,
        "wal_bytes_per_command": sum(c.after.wal_bytes - c.before.wal_bytes for c in costs)
        / commands,
        "page_images_per_command": sum(c.after.page_images - c.before.page_images for c in costs)
        / commands,
        "relations": [
            {
                "table": relation.table,
                "index": relation.index_name,
                "bytes": size,
                "bytes_per_command": sum(c.grown_bytes(relation) for c in costs) / commands,
            }
            for relation, size in last.bytes.items()
        ],
    }


def _baseline(figures: Figures) -> dict[str, Any]:
    ours, theirs = figures.ours, figures.baseline
    pairs = zip(ours, theirs, strict=True)
    return {
        "per_s": rate(theirs),
        "rounds": [_round(r) for r in theirs],
        "ratio": ratio(rate(ours), rate(theirs)),
        "ratios": [ratio(a.per_s, b.per_s) for a, b in pairs],
        "cpu_s_per_1000": cpu_s_per_1000(theirs),
    }


def _orders(delay_ms: int, r: Round) -> dict[str, Any]:
    return {"fulfillment_ms": delay_ms, **_round(r), "cpu_s_per_1000": cpu_s_per_1000([r])}


def _round(r: Round) -> dict[str, Any]:
    return {
        "count": r.count,
        "seconds": r.seconds,
        "per_s": r.per_s,
        "cores_of_others": r.cores_of_others,
    }


def _cpu(figures: Figures) -> dict[str, float]:
    return {**cpu_s_per_1000(figures.ours), LOAD: figures.load_cpu_s_per_1000}


def _stages(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    return {name: took._asdict() for name, took in stages_per_1000(rounds).items()}
