"""Pictures: latency over load, ours beside the baseline; what piled up in an endurance run."""

from collections.abc import Sequence

from ops.bench.figure import Endurance, Figures, Latency
from ops.plot import Axis, Line, Panel, axis_from_zero, draw, round_axis

_TITLE = "ms from published to readable, over commands a second"
_HEIGHT = 450
_MIB = 1024 * 1024


def draw_ladder(figures: Figures) -> str:
    """The ladder's p50 and p99 as an SVG, both axes logarithmic; the baseline's where measured."""
    ours, theirs = [figures.latency, *figures.ladder], figures.baseline_ladder
    lines = {**_lines("ours", ours), **_lines("baseline", theirs)}
    points = [point for line in lines.values() for point in line]
    across, up = (round_axis(values) for values in zip(*points, strict=True))
    return draw([Panel(_TITLE, across, up, lines, _HEIGHT, dots=True)], list(lines))


def draw_endurance(endurance: Endurance) -> str:
    """The outbox's waiting rows, dead tuples and size over time as an SVG, a panel each; the time's
    labels tell when the transaction was open.
    """
    samples, across = endurance.samples, _time_axis(endurance)
    lines: dict[str, Line] = {
        "rows that wait in the outbox": [(s.at_s, s.outbox_rows) for s in samples],
        "dead tuples in the outbox": [(s.at_s, s.dead_tuples) for s in samples],
        "the outbox's size on disk, MiB": [(s.at_s, s.outbox_bytes / _MIB) for s in samples],
    }
    panels = [
        Panel(title, across, axis_from_zero(value for _, value in line), {title: line})
        for title, line in lines.items()
    ]
    return draw(panels, [])


def _time_axis(endurance: Endurance) -> Axis:
    before, opened, after = (stretch.samples for stretch in endurance.stretches)
    begin_s, opens_s, ends_s, end_s = (
        sample.at_s for sample in (before[0], opened[0], after[0], after[-1])
    )
    labels = [
        (begin_s, "0"),
        (opens_s, f"{_time(opens_s)}: a transaction opens"),
        (ends_s, f"{_time(ends_s)}: it ends"),
        (end_s, _time(end_s)),
    ]
    return Axis(begin_s, end_s, labels)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _lines(whose: str, steps: Sequence[Latency]) -> dict[str, Line]:
    if not steps:
        return {}
    rising = sorted(steps, key=lambda step: step.rate_per_s)
    return {
        f"{whose}, {name}": [(step.rate_per_s, step.percentile_ms(share)) for step in rising]
        for name, share in (("p50", 0.50), ("p99", 0.99))
    }
