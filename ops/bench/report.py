"""The figures as a person reads them, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.text import Text

from ops.bench.figure import Figures, Latency, Round, cpu_s_per_1000, rate, ratio, stages_per_1000
from ops.bench.load import HOT, MIXED
from ops.cli.screen import table

LOAD = "load generator"


def as_document(conditions: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Everything as one object; null stands for what could not be measured or was left out."""
    return {
        "conditions": conditions,
        "rate": {"per_s": rate(figures.ours), "rounds": [_round(r) for r in figures.ours]},
        "latency": _latency(figures.latency),
        "ladder": [_latency(step) for step in figures.ladder],
        "baseline_ladder": [_latency(step) for step in figures.baseline_ladder],
        "cpu_s_per_1000": _cpu(figures),
        "left_out": list(figures.left_out),
        "stages_per_1000": _stages(figures.ours),
        "mixed": _other(figures, MIXED),
        "hot": {load.removeprefix("hot-"): _other(figures, load) for load in HOT},
        "baseline": _baseline(figures) if figures.baseline else None,
        "orders": [_orders(delay_ms, r) for delay_ms, r in figures.orders],
        "books_hold": figures.books_hold,
    }


def show(conditions: Mapping[str, Any], figures: Figures, screen: Console) -> None:
    """Print conditions, rate, latency, and where the time went."""
    document = as_document(conditions, figures)
    rows = table("Condition", "Is", title="Conditions")
    for name, value in _flat(conditions):
        rows.add_row(name, value)
    screen.print(rows)
    screen.print()
    screen.print(_headlines(document))
    screen.print()
    if document["ladder"]:
        rows = table(
            "", "Commands/s", "p50 ms", "p99 ms", "max ms", "Generator late by ms",
            right=("Commands/s", "p50 ms", "p99 ms", "max ms", "Generator late by ms"),
            title="Latency over load",
        )  # fmt: skip
        for whose, step in _steps(document):
            late = step["generator_late_ms_max"]
            figures_ms = (step["p50_ms"], step["p99_ms"], step["max_ms"], late)
            rows.add_row(whose, f"{step['rate_per_s']:,}", *(f"{ms:.1f}" for ms in figures_ms))
        screen.print(rows)
        screen.print()
    screen.print(Text("CPU time per 1,000 commands", "bold"))
    rows = table("Process", "ms", right=("ms",))
    for part, seconds in sorted(document["cpu_s_per_1000"].items()):
        rows.add_row(part, _ms(seconds))
    screen.print(rows)
    for orders in document["orders"]:
        screen.print()
        screen.print(
            Text(f"… per 1,000 orders, fulfilled after {orders['fulfillment_ms']} ms", "bold")
        )
        rows = table("Process", "ms", right=("ms",))
        for part, seconds in sorted(orders["cpu_s_per_1000"].items()):
            rows.add_row(part, _ms(seconds))
        screen.print(rows)
    for part in figures.left_out:
        screen.print(Text(f"left out: {part}", "dim"))
    screen.print()
    screen.print(Text("A worker's time by stage, per 1,000 commands", "bold"))
    rows = table("Stage", "Wall ms", "CPU ms", right=("Wall ms", "CPU ms"))
    for name, took in document["stages_per_1000"].items():
        rows.add_row(name, _ms(took["wall_s"]), _ms(took["cpu_s"]))
    screen.print(rows)


def _headlines(document: dict[str, Any]) -> Any:
    rows = table("Figure", "Value", "", title="From published to readable")
    ours, theirs, latency = document["rate"], document["baseline"], document["latency"]
    rows.add_row("sustained rate", _per_s(ours["per_s"]), _each(ours["rounds"]))
    for told, other in _others(document):
        rows.add_row(told, _per_s(other["per_s"]), _each(other["rounds"]))
        each = ", ".join(_share(r) for r in other["ratios"])
        rows.add_row("… to the first rate", _share(other["ratio"]), f"rounds: {each}")
    if theirs is not None:
        rows.add_row("per-record baseline", _per_s(theirs["per_s"]), _each(theirs["rounds"]))
        each = ", ".join(_times(r) for r in theirs["ratios"])
        rows.add_row("ratio", _times(theirs["ratio"]), f"rounds: {each}")
    for orders in document["orders"]:
        took = orders["fulfillment_ms"]
        told = (
            f"request to completed, each fulfilled after {took} ms"
            if took
            else ("request to completed, each fulfilled at once")
        )
        rows.add_row("orders", _per_s(orders["per_s"]), told)
    rows.add_row("taken by others", *_taken_by_others(document))
    at = f"at {latency['rate_per_s']}/s for {latency['seconds']} s"
    rows.add_row("latency p50", f"{latency['p50_ms']:.1f} ms", at)
    rows.add_row("latency p99", f"{latency['p99_ms']:.1f} ms", f"{latency['count']} commands")
    late = f"the generator was late by up to {latency['generator_late_ms_max']:.1f} ms"
    rows.add_row("latency max", f"{latency['max_ms']:.1f} ms", late)
    rows.add_row("the books", "hold" if document["books_hold"] else "do NOT hold", "")
    return rows


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


def _steps(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each rate at which latency was measured on a ladder, lowest first, ours before theirs."""
    if document["ladder"]:
        yield from (("ours", step) for step in [document["latency"], *document["ladder"]])
    yield from (("baseline", step) for step in document["baseline_ladder"])


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


def _others(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The other loads that were measured, each with what it is."""
    hot = [(told, document["hot"][load.removeprefix("hot-")]) for load, told in HOT.items()]
    return [
        (told, other) for told, other in [("mix of all types", document["mixed"]), *hot] if other
    ]


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


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name} ")
        elif value is not None:
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((f"{prefix}{name}", shown))
    return rows


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _per_s(value: float | None) -> str:
    return "too few commands to tell" if value is None else f"{value:,.0f}/s"


def _taken_by_others(document: dict[str, Any]) -> tuple[str, str]:
    """How much of the machine something else took at worst, and in each round as they came."""
    others = [other for _, other in _others(document)]
    parts = [document["rate"], *others, document["baseline"] or {}]
    turns = zip_longest(*(part.get("rounds", []) for part in parts))
    rounds = [r for turn in turns for r in turn if r is not None]
    cores = [r["cores_of_others"] or 0.0 for r in rounds]
    return f"{max(cores):.1f} cores", "in turn: " + ", ".join(f"{c:.1f}" for c in cores)


def _times(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}×"


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}×"


def _each(rounds: list[dict[str, Any]]) -> str:
    return "rounds: " + ", ".join(_per_s(r["per_s"]) for r in rounds)
