"""The figures as a person reads them."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.bench.document import as_document
from ops.bench.figure import Figures
from ops.bench.load import HOT
from ops.cli.screen import table

# Statements shown of each round; JSON has them all.
_STATEMENTS_SHOWN = 15
_MIB = 1024 * 1024
_STRETCHES = {"before": "not yet open", "open": "open", "after": "over"}


def show(conditions: Mapping[str, Any], figures: Figures, screen: Console) -> None:
    """Print conditions, rate, latency, and where the time went."""
    document = as_document(conditions, figures)
    rows = table("Condition", "Is", title="Conditions")
    for name, value in _flat(conditions):
        rows.add_row(name, value)
    screen.print(rows)
    screen.print()
    screen.print(_headlines(document))
    for rows in _tables(document):
        screen.print()
        screen.print(rows)
    for part in figures.left_out:
        screen.print(Text(f"left out: {part}", "dim"))


def _tables(document: dict[str, Any]) -> Iterator[Table]:
    """Where the time went, and everything else that was asked for."""
    if document["ladder"]:
        yield _ladder(document)
    yield _cpu("CPU time per 1,000 commands", {"ms": document["cpu_s_per_1000"]})
    if document["workers"]:
        columns = {f"{w['workers']}: ms": w["cpu_s_per_1000"] for w in document["workers"]}
        yield _cpu("… by how many workers shared them", columns)
    for orders in document["orders"]:
        title = f"… per 1,000 orders, fulfilled after {orders['fulfillment_ms']} ms"
        yield _cpu(title, {"ms": orders["cpu_s_per_1000"]})
    yield _stages(document)
    if document["statements_per_1000"]:
        yield _statements(document)
    yield _storage("What tables and log took", {"": document["storage"]})
    if document["endurance"]:
        yield _endurance(document["endurance"])
        yield _memory(document["endurance"])
    if document["growth"]:
        before, grown = document["growth"]["before"], document["growth"]["grown"]
        if before["statements_per_1000"]:
            yield _grown_statements(before, grown)
        storages = {"before: ": before["storage"], "grown: ": grown["storage"]}
        yield _storage("What tables and log took, before and after growth", storages)


def _ladder(document: dict[str, Any]) -> Table:
    figures = ("Commands/s", "p50 ms", "p99 ms", "max ms", "Generator late by ms")
    rows = table("", *figures, right=figures, title="Latency over load")
    for whose, step in _steps(document):
        late = step["generator_late_ms_max"]
        figures_ms = (step["p50_ms"], step["p99_ms"], step["max_ms"], late)
        rows.add_row(whose, f"{step['rate_per_s']:,}", *(f"{ms:.1f}" for ms in figures_ms))
    return rows


def _endurance(endurance: dict[str, Any]) -> Table:
    """What was seen before, while and after a transaction was open, side by side."""
    columns = tuple(_STRETCHES.values())
    title = f"Endurance: {endurance['count']:,} at {endurance['rate_per_s']:,}/s, all answered"
    rows = table("A transaction is", *columns, right=columns, title=title)
    for told, key, shown in (
        ("seconds", "seconds", ",.0f"),
        ("results a second", "per_s", ",.0f"),
        ("latency p50, ms", "p50_ms", ",.1f"),
        ("latency p99, ms", "p99_ms", ",.1f"),
        ("rows in the outbox, median", "outbox_rows_median", ",.0f"),
        ("rows in the outbox, most", "outbox_rows_max", ",.0f"),
        ("dead tuples in it, most", "dead_tuples_max", ",.0f"),
    ):
        values = (stretch[key] for stretch in endurance["stretches"])
        rows.add_row(told, *("" if value is None else format(value, shown) for value in values))
    sizes = (stretch["outbox_bytes_max"] / _MIB for stretch in endurance["stretches"])
    rows.add_row("its size on disk, most, MiB", *(f"{size:,.1f}" for size in sizes))
    return rows


def _memory(endurance: dict[str, Any]) -> Table:
    """Each process's memory at the ends of the stretches; an empty field: it was not there."""
    before, opened, after = endurance["stretches"]
    moments = {
        "At the beginning": before["memory_bytes_begin"],
        "When it opens": opened["memory_bytes_begin"],
        "When it ends": after["memory_bytes_begin"],
        "At the end": after["memory_bytes_end"],
    }
    title = "… and each process's memory, MiB"
    rows = table("Process", *moments, right=tuple(moments), title=title)
    for part in sorted({part for memory in moments.values() for part in memory}):
        sizes = (memory.get(part) for memory in moments.values())
        rows.add_row(part, *("" if size is None else f"{size / _MIB:,.1f}" for size in sizes))
    return rows


def _cpu(title: str, columns: Mapping[str, Mapping[str, float]]) -> Table:
    """CPU time by process; an empty field is a process that was not there."""
    rows = table("Process", *columns, right=tuple(columns), title=title)
    for part in sorted({part for column in columns.values() for part in column}):
        rows.add_row(
            part, *(_ms(column[part]) if part in column else "" for column in columns.values())
        )
    return rows


def _stages(document: dict[str, Any]) -> Table:
    figures = ("Wall ms", "CPU ms")
    title = "A worker's time by stage, per 1,000 commands"
    rows = table("Stage", *figures, right=figures, title=title)
    for name, took in document["stages_per_1000"].items():
        rows.add_row(name, _ms(took["wall_s"]), _ms(took["cpu_s"]))
    return rows


def _statements(document: dict[str, Any]) -> Table:
    figures = ("Calls", "ms", "Rows", "Blocks read", "WAL kB")
    title = "PostgreSQL's time by statement, per 1,000 commands"
    rows = table("Statement", *figures, right=figures, title=title)
    for used in document["statements_per_1000"][:_STATEMENTS_SHOWN]:
        rows.add_row(
            used["name"],
            f"{used['calls']:.2f}",
            _ms(used["seconds"]),
            f"{used['rows']:,.0f}",
            f"{used['blocks_read']:,.1f}",
            f"{used['wal_bytes'] / 1000:,.1f}",
        )
    return rows


def _grown_statements(before: dict[str, Any], grown: dict[str, Any]) -> Table:
    figures = ("Before: ms", "Blocks read", "Grown: ms", "Blocks read ")
    title = "PostgreSQL's time by statement, before and after growth, per 1,000 commands"
    rows = table("Statement", *figures, right=figures, title=title)
    earlier = {used["name"]: used for used in before["statements_per_1000"]}
    for used in grown["statements_per_1000"][:_STATEMENTS_SHOWN]:
        cells = []
        for each in (earlier.get(used["name"]), used):
            cells += (
                ["", ""] if each is None else [_ms(each["seconds"]), f"{each['blocks_read']:,.1f}"]
            )
        rows.add_row(used["name"], *cells)
    return rows


def _storage(title: str, storages: Mapping[str, dict[str, Any]]) -> Table:
    """Sizes, and bytes by which a command grew each, side by side; small ones are left out."""
    figures = [f"{label}{figure}" for label in storages for figure in ("MiB", "bytes a command")]
    rows = table("Table or index", *figures, right=figures, title=title)
    relations = [storage["relations"] for storage in storages.values()]
    for sides in zip(*relations, strict=True):
        if not any(round(side["bytes_per_command"]) or side["bytes"] > _MIB for side in sides):
            continue
        name = sides[0]["table"] if sides[0]["index"] is None else f"  {sides[0]['index']}"
        cells = [(f"{s['bytes'] / _MIB:,.1f}", f"{s['bytes_per_command']:,.0f}") for s in sides]
        rows.add_row(name, *(cell for pair in cells for cell in pair))
    for name, key in (
        ("write-ahead log", "wal_bytes_per_command"),
        ("… whole pages in it", "page_images_per_command"),
    ):
        figure = ",.0f" if key == "wal_bytes_per_command" else ",.2f"
        each = (("", format(storage[key], figure)) for storage in storages.values())
        rows.add_row(name, *(cell for pair in each for cell in pair))
    return rows


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
    for shared in document["workers"]:
        rows.add_row(
            f"{shared['workers']} workers" if shared["workers"] > 1 else "1 worker",
            _per_s(shared["per_s"]),
            f"{_share(shared['ratio'])}; {_each(shared['rounds'])}",
        )
    for row in _growth(document["growth"]):
        rows.add_row(*row)
    rows.add_row("taken by others", *_taken_by_others(document))
    for row in _latency("latency", latency):
        rows.add_row(*row)
    for row in _latency("latency at half the rate:", document["latency_at_half"]):
        rows.add_row(*row)
    rows.add_row("the books", "hold" if document["books_hold"] else "do NOT hold", "")
    return rows


def _latency(told: str, latency: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    if latency is None:
        return
    at = f"at {latency['rate_per_s']:,}/s for {latency['seconds']} s"
    late = f"the generator was late by up to {latency['generator_late_ms_max']:.1f} ms"
    yield f"{told} p50", f"{latency['p50_ms']:.1f} ms", at
    yield f"{told} p99", f"{latency['p99_ms']:.1f} ms", f"{latency['count']:,} commands"
    yield f"{told} max", f"{latency['max_ms']:.1f} ms", late


def _growth(growth: dict[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    if growth is None:
        return
    told = f"{growth['preload_per_s']:,.0f} transactions/s, in {growth['preload_s']:,.0f} s"
    grown_by = f"{growth['transactions']:,} transactions, {growth['clients']:,} clients"
    yield "preload", grown_by, told
    for told, key in (
        ("before growth", "before"),
        ("grown, the same clients", "grown_same_clients"),
        ("grown, all clients", "grown"),
    ):
        took = growth[key]["checkpoint_s"]
        spans = "spans no checkpoint" if took is None else f"spans a checkpoint of {took:.1f} s"
        rows = growth[key]["storage"]["transactions"]
        yield told, _per_s(growth[key]["per_s"]), f"{rows:,} transactions; {spans}"
    each = f"of the same clients {_share(growth['ratio_same_clients'])}"
    yield "… to the rate before", _share(growth["ratio"]), each


def _steps(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each rate at which latency was measured on a ladder, lowest first, ours before theirs."""
    if document["ladder"]:
        yield from (("ours", step) for step in [document["latency"], *document["ladder"]])
    yield from (("baseline", step) for step in document["baseline_ladder"])


def _others(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The other loads that were measured, each with what it is."""
    hot = [(told, document["hot"][load.removeprefix("hot-")]) for load, told in HOT.items()]
    return [
        (told, other) for told, other in [("mix of all types", document["mixed"]), *hot] if other
    ]


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
