"""Draws lines between axes as one SVG: a panel for each thing, a line for each it is told of."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Line = Sequence[tuple[float, float]]

_WIDTH, _LEFT, _TOP, _GAP, _LEGEND = 900, 60, 30, 55, 120
_STYLE = (
    "text { font: 12px sans-serif } .frame { fill: none; stroke: #999999 } "
    ".grid { stroke: #dddddd }"
)
_COLOURS = ("#1b6ca8", "#5fa8d3", "#b5460f", "#e8985e", "#3a7d44", "#8fc093", "#7a4b94")


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, each of `labels` at its value; a logarithmic one begins above 0."""

    low: float
    high: float
    labels: Sequence[tuple[float, str]]
    is_logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one."""
        low, high = self.low, self.high
        if self.is_logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines by name, `height` points high; with `dots` each of a line's points is marked."""

    title: str
    across: Axis
    up: Axis
    lines: Mapping[str, Line]
    height: int = 150
    dots: bool = False


def draw(panels: Sequence[Panel], legend: Sequence[str]) -> str:
    """The whole picture as text, one panel below the other.

    The lines of a panel take the colours in turn, and so do the names of the legend.
    """
    height = _TOP + sum(panel.height + _GAP for panel in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + _LEFT + 20} {height}">',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    parts += [
        f'<text x="{_LEFT + _LEGEND * n}" y="16" fill="{_colour(n)}">{escape(name)}</text>'
        for n, name in enumerate(legend)
    ]
    top = _TOP + 20
    for panel in panels:
        parts += _draw(panel, top)
        top += panel.height + _GAP
    return "\n".join([*parts, "</svg>", ""])


def axis_from_zero(values: Iterable[float]) -> Axis:
    """From 0 to a little more than the highest value."""
    high = max(values, default=0) * 1.1 or 1
    return Axis(0, high, [(0, "0"), (high, f"{high:,.0f}" if high >= 10 else f"{high:.1f}")])


def round_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis around values above 0, labelled at 1, 2, 5, 10, 20, 50 and so on."""
    least, most = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = [digit * 10.0**power for power in range(least, most + 1) for digit in (1, 2, 5)]
    low = max(step for step in steps if step <= min(values))
    high = min(step for step in steps if step >= max(values) and step > low)
    labels = [(step, f"{step:,g}") for step in steps if low <= step <= high]
    return Axis(low, high, labels, is_logarithmic=True)


def _draw(panel: Panel, top: int) -> Iterator[str]:
    bottom, right = top + panel.height, _LEFT + _WIDTH
    yield f'<text x="{_LEFT}" y="{top - 5}">{escape(panel.title)}</text>'
    for value, label in panel.up.labels:
        y = bottom - panel.height * panel.up.share(value)
        if top < y < bottom:
            yield f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        at = min(y + 4, bottom) if y > top else y + 10
        yield f'<text x="{_LEFT - 5}" y="{at:.1f}" text-anchor="end">{escape(label)}</text>'
    for value, label in panel.across.labels:
        x = _LEFT + _WIDTH * panel.across.share(value)
        inside = _LEFT < x < right
        if inside:
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" class="grid"/>'
        anchor = "middle" if inside else "end" if x > _LEFT else "start"
        yield f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="{anchor}">{escape(label)}</text>'
    yield (f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{panel.height}" class="frame"/>')
    for number, line in enumerate(panel.lines.values()):
        points = [
            (
                f"{_LEFT + _WIDTH * panel.across.share(x):.1f}",
                f"{bottom - panel.height * panel.up.share(y):.1f}",
            )
            for x, y in line
        ]
        joined = " ".join(f"{x},{y}" for x, y in points)
        yield f'<polyline points="{joined}" fill="none" stroke="{_colour(number)}"/>'
        for cx, cy in points if panel.dots else ():
            yield f'<circle cx="{cx}" cy="{cy}" r="3" fill="{_colour(number)}"/>'


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
