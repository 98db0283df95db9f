"""A million inputs against the edge: `make fuzz RUNS=1000000 SEED=1`.

Coverage-guided by atheris where it is installed (`pip install -e '.[fuzz]'`), else by mutations
of what is known. An input that breaks the contract, or takes more than a few seconds, ends it: it
is kept in the work folder, and belongs into tests/fuzz/corpus once it is understood.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.fuzz.mutation import mutate, mutations
from tests.fuzz.seed import seeds, words

_INPUT_TIMEOUT_S = 5
_TOLD_EVERY_S = 5.0
_INPUT_BYTES_MAX = 8_192


class TooSlowError(Exception):
    """One input took longer than any may."""


class Tally:
    """Counts inputs by what became of them, and says so every few seconds."""

    def __init__(self, runs: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._runs = runs
        self._began_at = self._told_at = time.monotonic()

    def add(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY_S:
            self._told_at = now
            self.tell()

    def tell(self) -> None:
        done = self.outcomes.total()
        rate = done / max(0.001, time.monotonic() - self._began_at)
        _say(f"{done:,} of {self._runs:,} inputs, {rate:,.0f}/s, {len(self.outcomes)} outcomes")


def main() -> int:
    """Run so many inputs; 0 where all of them came out as the contract says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="its work folder")
    parser.add_argument("--engine", choices=("atheris", "mutation"), help="default: what is there")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    has_atheris = importlib.util.find_spec("atheris") is not None
    engine = options.engine or ("atheris" if has_atheris else "mutation")
    _say(f"{options.runs:,} inputs by {engine}, seed {options.seed}; work in {options.folder}")
    tally = Tally(options.runs)
    if engine == "atheris":
        return _by_coverage(options, tally)
    signal.signal(signal.SIGPROF, _too_slow)
    try_one = _trial(tally, options.folder)
    for data in mutations(options.seed, options.runs):
        # Of the processor's time: on a busy machine every input takes long by the clock.
        signal.setitimer(signal.ITIMER_PROF, _INPUT_TIMEOUT_S)
        try_one(data)
        signal.setitimer(signal.ITIMER_PROF, 0)
    return _end(tally)


def _by_coverage(options: argparse.Namespace, tally: Tally) -> int:
    # Only here: it is no part of the development environment.
    import atheris

    with atheris.instrument_imports(include=["consumers", "ledger", "schemas"]):
        try_one = _trial(tally, options.folder)
    corpus = options.folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds()):
        (corpus / f"seed-{number:04}").write_bytes(data)
    dictionary = options.folder / "words"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words()), encoding="ascii")

    def bounded(data: bytes) -> None:
        try_one(data)
        if tally.outcomes.total() >= options.runs:
            code = _end(tally)
            sys.stderr.flush()
            os._exit(code)  # any other end is a crash to libFuzzer

    def mutated(data: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, size_max))
        return mutate(chance, data)[:size_max]

    settings = [f"-seed={options.seed}", f"-max_len={_INPUT_BYTES_MAX}", "-verbosity=0"]
    settings += [f"-timeout={20 * _INPUT_TIMEOUT_S}", f"-artifact_prefix={options.folder}/"]
    settings += [f"-dict={dictionary}", str(corpus)]
    atheris.Setup([sys.argv[0], *settings], bounded, custom_mutator=mutated)
    atheris.Fuzz()
    return 0


def _trial(tally: Tally, folder: Path) -> Callable[[bytes], None]:
    """What tries one input. The edge is imported here, so that an engine may instrument it."""
    from tests.fuzz.edge import check, record_of

    def try_one(data: bytes) -> None:
        try:
            outcome = check(*record_of(data))
        except BaseException:
            kept = folder / "found.bin"
            kept.write_bytes(data)
            _say(f"after {tally.outcomes.total():,} inputs, this one is at fault: {kept}")
            raise
        tally.add(outcome)

    return try_one


def _end(tally: Tally) -> int:
    tally.tell()
    for outcome, count in tally.outcomes.most_common():
        _say(f"{count:>12,}  {outcome}")
    _say("No crash, no hang, no outcome outside the contract.")
    return 0


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooSlowError(f"one input took more than {_INPUT_TIMEOUT_S} s")


def _escaped(word: bytes) -> str:
    return "".join(chr(b) if 32 < b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
