"""`make proof` and `make soak`: the system under attack for minutes, then judged, then a page.

    python -m tests.faults.proof --minutes 60 --seed 1 --page docs/proof.md

Ends with 0 where every promise held, 1 where one did not, 130 at Ctrl-C, which writes no page. The
picture beside the page is drawn anew every minute.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from ops.fulfillment_stub.behaviour import Behaviour
from ops.fulfillment_stub.server import Stub, serving
from tests.faults.checker_evidence import System
from tests.faults.checker_load import Load
from tests.faults.proof_crew import NAMES, Crew
from tests.faults.proof_fault import FAULTS, OF_DISK, PROOF_ONLY
from tests.faults.proof_field import Done, Field
from tests.faults.proof_judge import count_answers, judge_all, try_removals
from tests.faults.proof_link import linked
from tests.faults.proof_plot import draw_samples
from tests.faults.proof_rate import measure_rate
from tests.faults.proof_record import Record, Recovery
from tests.faults.proof_sample import Sampler
from tests.faults.proof_schedule import Step, schedule
from tests.faults.proof_server import Servers, servers
from tests.faults.proof_traffic import Downstream, Upstream
from tests.faults.small_disk import NoMountError

_CLIENTS = 400
_OPENING_TIMEOUT_S = 60.0
_BACK_TIMEOUT_S = 90.0
_BACK_LIMIT_S = 15.0
_PROOF_PER_S = 100.0
# How often a soak draws what it has seen so far.
_PICTURE_S = 60.0
# A worker that is gone without a word keeps its partitions so long; so does one that Kafka forgot
# while it was away for longer.
_SESSION_TIMEOUT_S = 10.0
_WAIT_FOR_SESSION = ("worker killed", "worker frozen", "rebalance", "Kafka killed")
_GOES_WRONG = {
    "refuse_rate": 0.02, "limit_rate": 0.01, "error_rate": 0.02, "hang_rate": 0.003,
    "reset_rate": 0.01, "garbage_rate": 0.003,
}  # fmt: skip
_screen = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    root = Path(tempfile.mkdtemp(prefix="wallet-proof-"))
    try:
        record = _run(options, root)
    except KeyboardInterrupt:
        shutil.rmtree(root, ignore_errors=True)
        _screen.print("Interrupted: nothing is written.")
        return 130
    if record.findings:
        _screen.print(f"FAILED: {record.findings[0]}\nThe logs are in {root}.")
        return 1
    shutil.rmtree(root, ignore_errors=True)
    _screen.print(f"Every promise held; the page is {options.page}.")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.proof", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to attack")
    parser.add_argument("--seed", type=int, default=1, help="what draws the schedule")
    parser.add_argument(
        "--rate",
        type=float,
        help="commands per second: 100, or half of what a soak measures first",
    )
    parser.add_argument("--page", type=Path, required=True, help="the Markdown page to write")
    parser.add_argument("--soak", action="store_true", help="spare the first process of each kind")
    parser.add_argument("--no-table", action="store_true", help="leave out the seeded bugs")
    return parser.parse_args(arguments)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace, root: Path) -> Record:
    with ExitStack() as stack:
        ground = stack.enter_context(_ground(root, on_small_disk=not options.soak))
        environ = _environ(ground)
        record = Record(options.seed, options.minutes, options.rate or _PROOF_PER_S)
        for verb in (["migrate"], ["topics", "apply"]):
            subprocess.run(
                [sys.executable, "-m", "ops.cli", *verb],
                env={**os.environ, **environ}, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        stub = Stub(Behaviour(**_GOES_WRONG), options.seed)
        environ["FULFILLMENT_URL"] = stack.enter_context(serving(stub))
        environs, links = stack.enter_context(linked(environ, () if options.soak else NAMES))
        crew = stack.enter_context(Crew(environs, environ, root))
        upstream = Upstream(ground.bootstrap_servers, Load(options.seed, _CLIENTS, whole=True))
        downstream = Downstream(ground.bootstrap_servers)
        victims = (2,) if options.soak else (1, 2)
        field = Field(crew, ground, upstream, downstream, stub, links, victims)
        interval_s = max(1.0, options.minutes / 10)
        sampler = Sampler(
            crew, ground.database_url, interval_s, lambda: upstream.sent - downstream.count
        )
        picture = options.page.with_suffix(".svg")
        limit_s = 0.0 if options.soak else _BACK_LIMIT_S
        attack = _Attack(record, field, sampler, picture, limit_s)
        attack.open()
        if options.soak and not options.rate:
            say = _screen.print
            record.rate_per_s = measure_rate(upstream, downstream, ground.database_url, say) / 2
        attack.run(soak=options.soak)
        system = System(ground.bootstrap_servers, "", ground.database_url)
        if options.soak:
            count_answers(record, system, downstream)
        else:
            judge_all(record, system, field)
        record.growth = {n: g for n in NAMES if (g := sampler.growth(n)) is not None}
        record.findings += sampler.leaks(NAMES)
        downstream.end()
        crew.end(*NAMES)
        record.findings += crew.ended
        if not options.no_table and not options.soak:
            record.removed = try_removals(environ, root, _screen.print)
            record.findings += [
                f"nothing was noticed without {r.removal}"
                for r in record.removed
                if not r.is_caught
            ]
        _write(record, options, picture.name)
    return record


@dataclass(slots=True)
class _Attack:
    """The minutes of it. After a fault all must be back within `limit_s`, if any: at a high rate
    what had come meanwhile has to be worked off first.
    """

    record: Record
    field: Field
    sampler: Sampler
    picture: Path
    limit_s: float
    _drawn_at_s: float = 0.0

    def open(self) -> None:
        """Have every client get its first money."""
        upstream, downstream = self.field.upstream, self.field.downstream
        downstream.start()
        upstream.open()
        downstream.await_count(upstream.sent, _OPENING_TIMEOUT_S)

    def run(self, *, soak: bool) -> None:
        """Traffic, then fault after fault until the time is over; then all that is still sent."""
        upstream, downstream = self.field.upstream, self.field.downstream
        minutes = self.record.minutes
        upstream.start(self.record.rate_per_s)
        self.sampler.start()
        began_s = time.monotonic()
        spared = PROOF_ONLY if soak else set()
        spared = spared | (set() if self.field.servers.disk else OF_DISK)
        kinds = [kind for kind in FAULTS if kind not in spared]
        for number, step in enumerate(schedule(self.record.seed, kinds), 1):
            if time.monotonic() - began_s + step.pause_s > minutes * 60:
                break
            time.sleep(step.pause_s)
            self._strike(step)
            self._say(number, began_s)
            if time.monotonic() > self._drawn_at_s + _PICTURE_S:
                self._draw()
        upstream.end()
        self.sampler.end()
        self._draw()
        self.record.sent = upstream.sent
        self.record.kinds = downstream.kinds
        if upstream.failure:
            self.record.findings.append(upstream.failure)

    def _draw(self) -> None:
        self.picture.write_text(draw_samples(self.sampler), encoding="utf-8")
        self._drawn_at_s = time.monotonic()

    def _strike(self, step: Step) -> None:
        """Do a step, and wait until everything is back."""
        done: list[Done] = []

        def do(kind: str, seed: int) -> None:
            try:
                done.append(FAULTS[kind](self.field, random.Random(seed))._replace(kind=kind))
            except Exception as error:  # noqa: BLE001 - an hour must not be lost for it
                self.record.findings.append(f"the attack itself failed: {kind}: {error!r}")

        # Daemons, so that a Ctrl-C does not wait for one that sleeps.
        threads = [
            threading.Thread(target=do, args=each, daemon=True)
            for each in zip(step.kinds, step.seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.field.make_whole()
        self.record.done.update(each.kind for each in done)
        done = done or [Done("failed", time.monotonic(), step.kinds[0])]
        for name in self.field.crew.missed():
            _screen.print(f"{name} had ended by itself and is started again")
        kind = step.kinds[0] if len(step.kinds) == 1 else "two at once"
        what = " + ".join(f"{each.kind}: {each.what}" for each in done)
        self._await_recovery(kind, what, done)
        if not self.field.crew.await_group(self.field.new_admin()):
            self.record.findings.append(f"the group still misses or counts workers after {what}")

    def _await_recovery(self, kind: str, what: str, done: list[Done]) -> None:
        """Wait for the next answer, and until each partition has answered something sent since;
        where fulfillment was hit, until an order has ended, too.
        """
        back_at_s, seen = max(each.back_at_s for each in done), self.field.downstream
        marks = self.field.upstream.delivered.copy()  # a new partition's may come meanwhile
        next_at_s = 0.0
        while time.monotonic() < back_at_s + _BACK_TIMEOUT_S:
            if next_at_s < back_at_s:
                next_at_s = seen.last_at_s
            ended = "fulfillment" not in what or seen.last_end_at_s > back_at_s
            if ended and all(seen.answered.get(p, -1) > mark for p, mark in marks.items()):
                break
            time.sleep(0.005)
        else:
            self.record.findings.append(f"not back {_BACK_TIMEOUT_S:.0f} s after {what}")
        all_s = time.monotonic() - back_at_s
        allowed_s = self.limit_s + _SESSION_TIMEOUT_S * kind.startswith(_WAIT_FOR_SESSION)
        if self.limit_s and all_s > allowed_s and kind != "two at once":
            self.record.findings.append(f"back only {all_s:.1f} s after {what}")
        next_s = next_at_s - back_at_s if next_at_s > back_at_s else all_s
        self.record.recoveries.append(Recovery(kind, what, next_s, all_s))

    def _say(self, number: int, began_s: float) -> None:
        last, minutes = self.record.recoveries[-1], (time.monotonic() - began_s) / 60
        sent, answered = self.field.upstream.sent, self.field.downstream.count
        _screen.print(
            f"{minutes:5.1f} min  {number:4}. {last.what}: next answer {last.next_s:.2f} s, all"
            f" {last.all_s:.2f} s; sent {sent}, answered {answered}"
        )


@contextmanager
def _ground(root: Path, *, on_small_disk: bool) -> Iterator[Servers]:
    """The servers. A soak writes more than a disk in memory should hold."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(servers(root, _screen.print, on_small_disk=on_small_disk))
        except NoMountError as error:
            _screen.print(f"No disk can be made full here, so none will be: {error}")
            found = stack.enter_context(servers(root, _screen.print))
        yield found


def _environ(ground: Servers) -> dict[str, str]:
    """Where the system's processes find everything."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": ground.bootstrap_servers,
        "DATABASE_URL": ground.database_url,
    }


def _write(record: Record, options: argparse.Namespace, plot: str) -> None:
    title, verb = ("Soak", "make soak") if options.soak else ("Proof", "make proof")
    command = f"{verb} MINUTES={options.minutes:g} SEED={options.seed}"
    options.page.write_text(record.page(title, command, plot), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
