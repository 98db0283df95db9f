"""`wallet demo` as a person runs it: the whole story, and a Ctrl-C in the middle of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from ops.demo.play import _differences
from ops.demo.story import STORY, Expected, Step
from ops.reading import Record

_DEMO = [sys.executable, "-P", "-m", "ops.cli", "demo"]
_GONE_TIMEOUT_S = 15.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its temporary files; the server's account must get in, too."""
    made = Path(tempfile.mkdtemp(prefix="wallet-d-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def _start(folder: Path, **more: str) -> subprocess.Popen[str]:
    # It needs none of the settings that there may be, and is not to be misled by them.
    environ = {**os.environ, "TMPDIR": str(folder), "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    return subprocess.Popen(
        _DEMO,
        env={**environ, "WALLET_TOPIC_PREFIX": "others-", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _left(folder: Path) -> list[str]:
    """Processes and files that still are what the demo has made."""
    found = [str(path) for path in folder.iterdir()]
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(folder) in text for text in told):
            found.append(str(process))
    return found


def _assert_nothing_left(folder: Path) -> None:
    deadline = time.monotonic() + _GONE_TIMEOUT_S
    while _left(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _left(folder) == []


@pytest.mark.slow
def test_the_story_comes_out_as_it_is_told_and_nothing_is_left(folder: Path) -> None:
    with _start(folder, COLUMNS="130") as demo:
        shown, _ = demo.communicate(timeout=110)
    assert demo.returncode == 0, shown
    for chapter in STORY:
        assert chapter.title in shown
    lines = [line.split() for line in shown.splitlines()]
    assert [
        "alice",
        "deposit",
        "100.00",
        "a-2",
        "→",
        "applied",
        "balance",
        "100.00",
        "USD",
    ] in lines
    for words in (
        "rejected insufficient_funds",
        "applied (repeated)",
        "rejected idempotency_conflict",
    ):
        assert words in shown
    assert "dead not_json" in shown
    for end in ("book-1 is completed after 1 attempt", "lamp-1 is failed after 3 attempts"):
        assert end in shown
    assert "The books are right." in shown
    assert "Everything came as expected: 19 records, each answered once." in shown
    _assert_nothing_left(folder)


@pytest.mark.slow
def test_nothing_is_left_of_a_demo_that_is_interrupted(folder: Path) -> None:
    with _start(folder) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "→" in line:
                break
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    _assert_nothing_left(folder)


def test_an_answer_other_than_the_story_tells_is_noticed() -> None:
    value = {
        "status": "rejected",
        "reason": "insufficient_funds",
        "balance_after": "1.00",
        "duplicate": False,
    }
    answer = Record("wallet-result", 0, 0, 0, b"bob", orjson.dumps(value), {})
    told = Expected("rejected", "insufficient_funds", "1.00")
    assert list(_differences(Step("bob", b"", told), answer)) == []
    other = Expected("applied", None, "2.00", duplicate=True)
    assert list(_differences(Step("bob", b"", other), answer)) == [
        "status should be applied, and is rejected",
        "reason should be None, and is insufficient_funds",
        "balance should be 2.00, and is 1.00",
        "duplicate should be True, and is False",
    ]
    dead = Record("dlt", 0, 0, 0, b"bob", b"{", {"wallet-dlt-reason": b"not_json"})
    assert list(_differences(Step("bob", b"{", Expected("dead", "not_json")), dead)) == []
    assert list(_differences(Step("bob", b"{", Expected("dead", "empty_value")), dead))
