"""Connections cut, stalled and slowed between each of our processes and each server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy, proxied
from tests.faults.traffic import Traffic
from tests.scene import Scene

_CUT_S = 2.0
# Longer than any session, transaction, lock or TCP time-out of ours (10 s).
_STALLED_S = 20.0
_SLOW_S = 10.0

Links = dict[str, Proxy]


@pytest.fixture
def links(scene: Scene, tmp_path: Path) -> Iterator[Links]:
    """A worker and a relay, each with a proxy of its own before each server."""
    with ExitStack() as stack:
        found: Links = {}
        for process in ("worker", "relay"):
            env, kafka, postgres = stack.enter_context(proxied(scene.env))
            found |= {f"{process}-kafka": kafka, f"{process}-postgres": postgres}
            log = tmp_path / f"{process}.log"
            stack.enter_context(Scene(env, scene.extra).process(process, log=log))
        yield found


@pytest.mark.slow
def test_what_is_cut_is_taken_up_again(scene: Scene, links: Links) -> None:
    with Traffic(scene) as traffic:
        for name, link in links.items():
            link.cut()
            time.sleep(_CUT_S)
            link.mend()
            traffic.back(f"{name} cut for {_CUT_S:.0f} s", time.monotonic())
    traffic.check()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_what_is_stalled_past_every_time_out_is_taken_up_again(scene: Scene, links: Links) -> None:
    with Traffic(scene) as traffic:
        for name, link in links.items():
            link.stall()
            time.sleep(_STALLED_S)
            link.mend()
            traffic.back(f"{name} stalled for {_STALLED_S:.0f} s", time.monotonic())
    traffic.check()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_slow_connections_only_make_it_slow(scene: Scene, links: Links) -> None:
    with Traffic(scene) as traffic:
        for name, link in links.items():
            link.slow(0.2)
            since = time.monotonic()
            time.sleep(_SLOW_S)
            traffic.back(f"{name} slowed by 0.2 s each way", since)
            link.mend()
        traffic.back("all links as fast as ever", time.monotonic())
    traffic.check()
