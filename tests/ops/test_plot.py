"""A picture shows what was measured: a point lies where its figures say."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ops.bench.figure import Endurance, Figures, Latency, Round, Sample, Stretch
from ops.bench.plot import draw_endurance, draw_ladder
from ops.plot import Axis, Panel, draw, round_axis

# The seconds of four samples and how many rows waited.
_ROWS = ((0.0, 1), (720.0, 2), (1_080.0, 70), (1_800.0, 3))
_SVG = "{http://www.w3.org/2000/svg}"


def _parts(svg: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{_SVG}{kind}"))  # noqa: S314 - we have drawn it


def _points(svg: str) -> list[list[tuple[float, float]]]:
    lines = _parts(svg, "polyline")
    pairs = [[point.split(",") for point in line.attrib["points"].split()] for line in lines]
    return [[(float(x), float(y)) for x, y in line] for line in pairs]


def _texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in _parts(svg, "text")]


def _latency(rate_per_s: int, ms: float) -> Latency:
    return Latency(rate_per_s, 10, [ms / 1000] * 98 + [ms / 100] * 2, 0.0)


def test_a_point_lies_between_the_ends_of_its_axes() -> None:
    across, up = Axis(0, 60, [(0, "0 s"), (60, "60 s")]), Axis(0, 10, [(0, "0"), (10, "10")])
    panel = Panel("rows & more", across, up, {"a": [(0, 0), (30, 5), (60, 10)]}, height=100)
    svg = draw([panel], ["a"])
    [[(x0, y0), (x1, y1), (x2, y2)]] = _points(svg)
    assert (x1 - x0, y0 - y1) == (x2 - x1, y1 - y2) == (450, 50)
    assert _texts(svg) == ["a", "rows & more", "0", "10", "0 s", "60 s"]


def test_on_a_logarithmic_axis_ten_times_as_much_is_as_far_everywhere() -> None:
    axis = round_axis([3, 700])
    assert (axis.low, axis.high) == (2, 1_000)
    labels = [label for _, label in axis.labels]
    assert labels == ["2", "5", "10", "20", "50", "100", "200", "500", "1,000"]
    assert axis.share(2) == 0
    assert axis.share(1_000) == pytest.approx(1)
    assert axis.share(50) - axis.share(5) == pytest.approx(axis.share(500) - axis.share(50))
    assert round_axis([5]).labels == [(5, "5"), (10, "10")]


def test_what_an_endurance_run_piled_up_is_drawn_over_time() -> None:
    samples = [Sample(at_s, 0, rows, rows << 20, 10 * rows, {}) for at_s, rows in _ROWS]
    stretches = [Stretch("", samples[a : a + 2], []) for a in range(3)]
    svg = draw_endurance(Endurance(5_000, 1_800, 9_000_000, 90, 0.0, stretches, samples))
    waiting, dead, size = _points(svg)
    assert [len(line) for line in (waiting, dead, size)] == [4, 4, 4]
    assert max(range(4), key=lambda n: -waiting[n][1]) == 2  # SVG counts from the top
    assert [x for x, _ in waiting] == [x for x, _ in size]
    assert {"12 min: a transaction opens", "18 min: it ends", "30 min"} <= set(_texts(svg))
    assert {"77", "770"} <= set(_texts(svg))


def test_the_ladder_is_drawn_beside_the_baselines() -> None:
    figures = Figures(
        ours=[Round(100, 1.0, {})], shared={}, others={}, baseline=[], orders=[],
        load_cpu_s_per_1000=0.0, latency=_latency(100, 10), latency_at_half=None,
        ladder=[_latency(1_000, 20), _latency(2_000, 90)], baseline_ladder=[_latency(50, 80)],
        endurance=None, growth=None, left_out=[], books_hold=True,
    )  # fmt: skip
    svg = draw_ladder(figures)
    assert {"ours, p50", "ours, p99", "baseline, p50", "baseline, p99"} <= set(_texts(svg))
    p50, p99, theirs_p50, _ = _points(svg)
    assert [len(line) for line in _points(svg)] == [3, 3, 1, 1]
    assert p50[0][1] > p50[1][1] > p50[2][1] > p99[2][1]  # SVG counts from the top
    assert p50[0][0] > theirs_p50[0][0]
    assert len(_parts(svg, "circle")) == 8
