"""Draws what the processes used over a run as one SVG: a panel for each thing, a line for each."""

from __future__ import annotations

from html import escape

from tests.faults.proof_sample import Sampler

Line = list[tuple[float, float]]
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 900, 150, 60, 30, 55
_COLOURS = ("#1b6ca8", "#5fa8d3", "#b5460f", "#e8985e", "#3a7d44", "#8fc093", "#7a4b94")


def draw(sampler: Sampler) -> str:
    """The whole picture as text; a gap in a line is a process that was away."""
    processes = {n: s for n, s in sampler.processes.items() if n.endswith(("-1", "-2"))}
    panels: dict[str, dict[str, Line]] = {
        "memory, MB": {n: [(s.at_s, s.memory_mb) for s in all_] for n, all_ in processes.items()},
        "file handles": {n: [(s.at_s, s.handles) for s in all_] for n, all_ in processes.items()},
        "connections": {
            n: [(s.at_s, s.connections) for s in all_] for n, all_ in processes.items()
        },
        "PostgreSQL sessions": {"all": [*sampler.counts.get("sessions", [])]},
        "rows in the outbox": {"outbox": [*sampler.counts.get("outbox", [])]},
    }
    longest_s = max(
        (at for p in panels.values() for line in p.values() for at, _ in line), default=1
    )
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + _LEFT + 20} {height}">',
        "<style>text { font: 12px sans-serif } .frame { fill: none; stroke: #999999 }</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *_legend(list(processes)),
    ]
    for number, (title, lines) in enumerate(panels.items()):
        parts += _panel(title, lines, _TOP + 20 + number * (_HEIGHT + _GAP), longest_s)
    return "\n".join([*parts, "</svg>", ""])


def _legend(names: list[str]) -> list[str]:
    return [
        f'<text x="{_LEFT + 120 * n}" y="16" fill="{_COLOURS[n % len(_COLOURS)]}">'
        f"{escape(name)}</text>"
        for n, name in enumerate(names)
    ]


def _panel(title: str, lines: dict[str, Line], top: int, longest_s: float) -> list[str]:
    highest = max((value for line in lines.values() for _, value in line), default=0) * 1.1 or 1
    bottom, right = top + _HEIGHT, _LEFT + _WIDTH
    parts = [
        f'<text x="{_LEFT}" y="{top - 5}">{escape(title)}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" class="frame"/>',
        f'<text x="{_LEFT - 5}" y="{top + 10}" text-anchor="end">{highest:.0f}</text>',
        f'<text x="{_LEFT - 5}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_LEFT}" y="{bottom + 15}">0 min</text>',
        f'<text x="{right}" y="{bottom + 15}" text-anchor="end">{longest_s / 60:.1f} min</text>',
    ]
    for number, line in enumerate(lines.values()):
        points = " ".join(
            f"{_LEFT + _WIDTH * at / longest_s:.1f},{bottom - _HEIGHT * value / highest:.1f}"
            for at, value in line
        )
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
    return parts
