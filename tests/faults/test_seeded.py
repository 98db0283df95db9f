"""The checker is proven: with a protection taken out it says so, with all of them nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from textwrap import shorten

import pytest
from confluent_kafka.admin import AdminClient

from tests.conftest import WalletEnv
from tests.faults.checker import Verdict, judge
from tests.faults.checker_evidence import System, gather
from tests.faults.checker_order import Breach
from tests.faults.seeded import REMOVALS
from tests.faults.seeded_case import PROVOCATIONS, SEEDED, Seeded, Stage
from tests.scene import Scene

_MARKS = {True: [], False: [pytest.mark.long]}


def verdict_on(
    scene: Scene, folder: Path, provoke: Callable[[Stage], None], *without: str, settle_s: float
) -> Verdict:
    """Let the provocation run its course, and judge what is to be seen."""
    env = scene.env
    with ExitStack() as stack:
        provoke(Stage(scene, folder, stack, without))
        system = System(env.kafka_bootstrap_servers, env.topic_prefix, env.database_url)
        evidence = gather(system, settle_timeout_s=settle_s)
    verdict = judge(evidence)
    print(verdict)  # noqa: T201 - make proof shows it, and pytest with a failure
    return verdict


@pytest.fixture
def scene(wallet_env: WalletEnv, admin_client: AdminClient) -> Scene:
    made = Scene(wallet_env, {"WALLET_PARTITIONS": "4", "WALLET_SESSION_TIMEOUT_MS": "2000"})
    made.make_topics(admin_client)
    return made


@pytest.mark.parametrize(
    "seeded", [pytest.param(s, id=s.removal, marks=_MARKS[s.is_quick]) for s in SEEDED]
)
def test_the_checker_says_what_breaks_without(seeded: Seeded, scene: Scene, tmp_path: Path) -> None:
    verdict = verdict_on(scene, tmp_path, seeded.provoke, seeded.removal, settle_s=40)
    assert verdict.answers > 0  # a system that never ran would be caught, too
    caught = [breach for breach in verdict.breaches if breach.rule in seeded.rules]
    _tell(seeded, caught or verdict.breaches, is_caught=bool(caught))
    assert caught


def _tell(seeded: Seeded, breaches: list[Breach], *, is_caught: bool) -> None:
    """Write a line for the page that `make proof` makes."""
    path = os.environ.get("PROOF_TABLE")
    if path:
        said = "; ".join(shorten(f"{b.rule}: {b.what}", 130) for b in breaches[:2]) or "nothing"
        without = (REMOVALS[seeded.removal].__doc__ or "").splitlines()[0]
        with Path(path).open("a", encoding="utf-8") as table:
            row = [seeded.removal, without, seeded.promise, said, is_caught]
            table.write(json.dumps(row) + "\n")


@pytest.mark.long
@pytest.mark.parametrize("provoke", PROVOCATIONS, ids=lambda provoke: provoke.__name__)
def test_the_checker_finds_nothing_with_all_protections_and(
    provoke: Callable[[Stage], None], scene: Scene, tmp_path: Path
) -> None:
    verdict = verdict_on(scene, tmp_path, provoke, settle_s=60)
    assert verdict.breaches == []


def test_each_protection_that_can_be_removed_is_tried() -> None:
    assert REMOVALS.keys() - {"first-confirmation"} == {seeded.removal for seeded in SEEDED}
