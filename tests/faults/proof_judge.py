"""What is decided once a proof's minutes are over: by the checker, the books, the seeded bugs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg

from ledger.database import connect
from ledger.verification import verify
from ops.stack.jar import KAFKA_VERSION
from tests.faults.checker import judge
from tests.faults.checker_evidence import INPUTS, Reader, System, gather, settle
from tests.faults.proof_field import Field
from tests.faults.proof_record import Record, Removed
from tests.faults.proof_traffic import Downstream

_SETTLE_TIMEOUT_S = 180.0
_READ_TIMEOUT_S = 60.0


def judge_all(record: Record, system: System, field: Field) -> None:
    """The checker's verdict over everything, and the books'."""
    evidence = gather(system, field.kept, settle_timeout_s=_SETTLE_TIMEOUT_S)
    evidence.fulfilled = dict(field.stub.record.ids)
    record.verdict = verdict = judge(evidence)
    record.findings += [f"{b} ({verdict.counts[b.rule]} of it)" for b in verdict.breaches]
    _check_books(record, system)


def count_answers(record: Record, system: System, downstream: Downstream) -> None:
    """For more records than a replay can hold: one answer to each, in order, and the books."""
    record.is_counted = True
    verdict = record.verdict
    offsets: dict[tuple[str, int], array[int]] = {}
    with Reader(system) as reader:
        for kind in INPUTS:
            for seen in reader.read(system.topic_prefix + kind, {}):
                offsets.setdefault(seen.place[:2], array("q")).append(seen.place.offset)
    last = {partition: found[-1] for partition, found in offsets.items()}
    if not settle(system, last, _SETTLE_TIMEOUT_S):
        record.findings.append("not everything was answered and published in the end")
    verdict.inputs = sum(map(len, offsets.values()))
    downstream.await_count(verdict.inputs, _READ_TIMEOUT_S)
    time.sleep(1.0)  # for one that comes twice
    downstream.end()
    for partition, found in offsets.items():
        times = downstream.times[partition]
        for offset in found:
            count = times[offset] if offset < len(times) else 0
            if count != 1:
                verdict.counts["doubled" if count else "lost"] += 1
                record.findings.append(f"{count} answers to {partition[0]}/{partition[1]}/{offset}")
    verdict.answers = downstream.count
    verdict.counts["order"] = downstream.out_of_order
    if downstream.out_of_order:
        record.findings.append(f"{downstream.out_of_order} answers out of order")
    _check_books(record, system)


def try_removals(
    environ: Mapping[str, str], root: Path, say: Callable[[str], None]
) -> list[Removed]:
    """Run the table of seeded bugs, on the same servers; a row for each."""
    say("Taking out one protection after the other…")
    table = root / "table.jsonl"
    command = [
        sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", "-n", "2",
        "tests/faults/test_seeded.py",
    ]  # fmt: skip
    ran = subprocess.run(
        command,
        env={**os.environ, **environ, "PROOF_TABLE": str(table)},
        stdout=sys.stderr,
        check=False,
    )
    rows = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    removed = [Removed(*json.loads(row)) for row in rows]
    if ran.returncode != 0:
        removed.append(
            Removed("any", "", "the table itself", "pytest failed, see its output", False)
        )
    return sorted(removed)


def _check_books(record: Record, system: System) -> None:
    with connect(system.database_url, application_name="proof", long_queries=True) as session:
        failed = [check for check in verify(session) if not check.holds]
    record.findings += [f"the books: {check}" for check in failed]
    with psycopg.connect(system.database_url) as session:
        row = session.execute("SHOW server_version").fetchone()
    record.server = f"PostgreSQL {row[0] if row else '?'}, Apache Kafka {KAFKA_VERSION}"
