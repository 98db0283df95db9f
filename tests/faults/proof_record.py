"""What a proof has seen, as its page tells it."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import confluent_kafka
import psutil

from tests.faults.checker import Verdict
from tests.faults.proof_list import LISTED
from tests.faults.proof_sample import Growth

# What a rule of the checker's is counted under.
_COUNTED = {
    "lost": ("lost", "waiting"),
    "doubled": ("doubled", "invented"),
    "out of order": ("order", "journal order"),
    "not as the sequential model answers": ("sequential", "idempotency", "dead letters"),
    "state off": ("state", "positions", "wallet-balance", "fulfillment", "deadlock"),
}


class Recovery(NamedTuple):
    """A fault, and how long after its part's return the next answer came; the other time is when
    every partition had answered something that was sent after the return.
    """

    kind: str
    what: str
    next_s: float
    all_s: float


class Removed(NamedTuple):
    """A protection that was taken out, and what the checker said; `is_caught` as it must be."""

    removal: str
    without: str
    promise: str
    said: str
    is_caught: bool


@dataclass(slots=True)
class Record:
    """One run. `findings` is all that was wrong; without any the proof holds."""

    seed: int
    minutes: float
    rate_per_s: float
    # Whether the answers were only counted, and not compared with the model's.
    is_counted: bool = False
    recoveries: list[Recovery] = field(default_factory=list)
    # How often each kind was done, alone or with another.
    done: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)
    kinds: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    growth: dict[str, Growth] = field(default_factory=dict)
    removed: list[Removed] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    server: str = ""
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def page(self, title: str, command: str, plot: str | None) -> str:
        """The page, as Markdown."""
        parts = [
            f"# {title}\n\nWritten by `{command}` from its own run; no figure is typed by hand.",
            self._outcome(),
            self._counts(),
            self._faults(),
            self._listed(),
            self._growth(plot),
            self._table(),
            self._conditions(),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _outcome(self) -> str:
        if not self.findings:
            return f"**All promises held**, for {self.minutes:g} minutes under attack."
        lines = "\n".join(f"- {finding}" for finding in self.findings[:50])
        return f"**{len(self.findings)} findings:**\n\n{lines}"

    def _counts(self) -> str:
        rows: list[tuple[str, Any]] = [
            ("records in (committed)", self.verdict.inputs),
            ("answers out", self.verdict.answers),
            *((f"records on `{topic}`", count) for topic, count in sorted(self.kinds.items())),
        ]
        rows += [
            (what, sum(self.verdict.counts[rule] for rule in rules))
            for what, rules in list(_COUNTED.items())[: 3 if self.is_counted else None]
        ]
        rows += [(f"money off by, {name}", off) for name, off in sorted(self.verdict.off.items())]
        judged = "The answers were counted, and the books checked; `make proof` judges each answer."
        note = f"{judged}\n\n" if self.is_counted else ""
        return f"## Counts\n\n{note}{_markdown(('', 'count'), rows)}"

    def _faults(self) -> str:
        by_kind: dict[str, list[Recovery]] = {}
        for recovery in self.recoveries:
            by_kind.setdefault(recovery.kind, []).append(recovery)
        rows = []
        for kind, found in sorted(by_kind.items()):
            first, whole = [r.next_s for r in found], [r.all_s for r in found]
            rows.append((
                kind, len(found), f"{statistics.median(first):.2f}", f"{max(first):.2f}",
                f"{statistics.median(whole):.2f}", f"{max(whole):.2f}",
            ))  # fmt: skip
        head = (
            "fault", "times", "next answer: median s", "worst s",
            "all partitions answer: median s", "worst s",
        )  # fmt: skip
        text = _FAULTS + (_WORKED_OFF if self.is_counted else _LIMIT)
        return f"{text}\n\n{_markdown(head, rows)}"

    def _listed(self) -> str:
        if self.is_counted:
            return ""
        rows = []
        for fault, kinds, tests, note in LISTED:
            shown = ["this run's schedule"] if kinds else []
            shown += [f"`{test}`" for test in tests]
            shown += [note] if note else []
            times = sum(self.done[kind] for kind in kinds) if kinds else "–"
            rows.append((fault, times, "<br>".join(shown)))
        return f"{_LISTED}\n\n{_markdown(('fault', 'times', 'shown by'), rows)}"

    def _growth(self, plot: str | None) -> str:
        if plot is None:
            return ""
        rows = [
            (name, *(f"{u:.1f}" for pair in zip(early[2:], late[2:], strict=True) for u in pair))
            for name, (early, late) in sorted(self.growth.items())
        ]
        head = ["process"]
        for what in ("memory, MB", "handles", "connections"):
            head += [f"{what}: third quarter", "last quarter"]
        table = _markdown(head, rows)
        shown = f"\n\nThose that lived all along:\n\n{table}" if rows else ""
        return f"## What they used\n\n![memory, handles, connections, outbox]({plot}){shown}"

    def _table(self) -> str:
        if not self.removed:
            return ""
        rows = [
            (
                f"`{r.removal}`: {r.without}",
                r.promise,
                r.said if r.is_caught else f"**not caught:** {r.said}",
            )
            for r in self.removed
        ]
        head = ("protection taken out", "promise", "what the checker said")
        return f"{_TABLE}\n\n{_markdown(head, rows)}"

    def _conditions(self) -> str:
        rows = [
            ("begun", self.began_at.isoformat(timespec="seconds")),
            ("seed", self.seed),
            ("minutes", f"{self.minutes:g}"),
            ("commands per second", f"{self.rate_per_s:g}"),
            ("processor", f"{_processor()}, {psutil.cpu_count()} cores"),
            ("load average in the end", " ".join(f"{load:.1f}" for load in os.getloadavg())),
            ("memory", f"{psutil.virtual_memory().total / 2**30:.0f} GB"),
            ("system", f"{platform.system()} {platform.release()}"),
            ("Python", platform.python_version()),
            ("librdkafka", confluent_kafka.libversion()[0]),
            ("psycopg", version("psycopg")),
            ("servers", self.server),
        ]
        return "## Conditions\n\n" + _markdown(("", ""), rows)


_FAULTS = """## Faults

One every few seconds, now and then two at a time; all along, producers send records again, reuse
ids for other content, and send broken records. Times count from the moment the part is back: until
the next answer to anything, and until every partition of both input topics has answered a record
that was sent after it (where fulfillment was hit, until an order has ended, too).

A killed worker's partitions are given away when the group's session time-out of 10 s is over, and
workers that Kafka was away from for longer wait for the end of their old sessions. A relay's lock
is free when PostgreSQL has ended its session; so are the accounts that a frozen process has locked,
for which batches wait. What follows an upstream transaction that is left open can be read when
Kafka has aborted it (here after 3 s).

"""
_LIMIT = "More than 15 s is a finding, the named stops aside: a killed worker, Kafka away."
_WORKED_OFF = """At half of what is sustained, what had come in meanwhile takes as long again to be
worked off, so here the second time has no limit; `make proof` holds it to 15 s at a lower rate."""
_LISTED = """## Where each fault is shown

How often this run did it, alone or with another; and which test shows it alone, or why no schedule
may draw it. `make test-all` runs these tests."""
_TABLE = """## The checker is proven, too

For each protection a run without it, in which what it protects from is made to happen. With all
protections the same runs find nothing."""


def _markdown(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(lines)


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()
