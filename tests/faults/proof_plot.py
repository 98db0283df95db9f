"""Draws what the processes used over a run as one SVG: a panel for each thing, a line for each."""

from __future__ import annotations

from ops.plot import Axis, Line, Panel, axis_from_zero, draw
from tests.faults.proof_sample import Sampler


def draw_samples(sampler: Sampler) -> str:
    """The whole picture as text; a gap in a line is a process that was away."""
    processes = {n: s for n, s in sampler.processes.items() if n.endswith(("-1", "-2"))}
    lines: dict[str, dict[str, Line]] = {
        "memory, MB": {n: [(s.at_s, s.memory_mb) for s in all_] for n, all_ in processes.items()},
        "file handles": {n: [(s.at_s, s.handles) for s in all_] for n, all_ in processes.items()},
        "connections": {
            n: [(s.at_s, s.connections) for s in all_] for n, all_ in processes.items()
        },
        "PostgreSQL sessions": {"all": [*sampler.counts.get("sessions", [])]},
        "records in the outbox": {"outbox": [*sampler.counts.get("outbox", [])]},
        "commands not answered": {"waiting": [*sampler.counts.get("waiting", [])]},
        "orders that are due": {"due": [*sampler.counts.get("due", [])]},
    }
    longest_s = max(
        (at for panel in lines.values() for line in panel.values() for at, _ in line), default=1
    )
    across = Axis(0, longest_s, [(0, "0 min"), (longest_s, f"{longest_s / 60:.1f} min")])
    panels = [Panel(title, across, _up(panel), panel) for title, panel in lines.items()]
    return draw(panels, list(processes))


def _up(lines: dict[str, Line]) -> Axis:
    return axis_from_zero(value for line in lines.values() for _, value in line)
