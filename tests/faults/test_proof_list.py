"""The list of faults is whole, and what it names is there."""

from __future__ import annotations

from pathlib import Path

from tests.faults.proof_fault import FAULTS, PARTS
from tests.faults.proof_list import LISTED

ROOT = Path(__file__).parents[2]


def test_each_fault_that_the_schedule_draws_is_listed_and_no_other() -> None:
    assert {kind for listed in LISTED for kind in listed.kinds} == FAULTS.keys() == PARTS.keys()


def test_each_listed_fault_is_shown_somewhere_by_what_there_is() -> None:
    assert all(listed.kinds or listed.tests for listed in LISTED)
    for named in (test for listed in LISTED for test in listed.tests):
        path, _, name = named.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")
