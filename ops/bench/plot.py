"""Latency over load as a picture, ours beside the baseline."""

from collections.abc import Sequence

from ops.bench.figure import Figures, Latency
from ops.plot import Line, Panel, draw, round_axis

_TITLE = "ms from published to readable, over commands a second"
_HEIGHT = 450


def draw_ladder(figures: Figures) -> str:
    """The ladder's p50 and p99 as an SVG, both axes logarithmic; the baseline's where measured."""
    ours, theirs = [figures.latency, *figures.ladder], figures.baseline_ladder
    lines = {**_lines("ours", ours), **_lines("baseline", theirs)}
    points = [point for line in lines.values() for point in line]
    across, up = (round_axis(values) for values in zip(*points, strict=True))
    return draw([Panel(_TITLE, across, up, lines, _HEIGHT, dots=True)], list(lines))


def _lines(whose: str, steps: Sequence[Latency]) -> dict[str, Line]:
    if not steps:
        return {}
    rising = sorted(steps, key=lambda step: step.rate_per_s)
    return {
        f"{whose}, {name}": [(step.rate_per_s, step.percentile_ms(share)) for step in rising]
        for name, share in (("p50", 0.50), ("p99", 0.99))
    }
