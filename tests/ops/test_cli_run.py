"""`wallet run`: how processes begin, wait, and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.ops.shell import WALLET, Shell, until

AWAY = "127.0.0.1:1"
_SESSIONS = """
    SELECT application_name, pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'wallet-%'
"""


def test_topics_must_be_there(shell: Shell) -> None:
    ran = shell.process("run", "worker")
    assert ran.returncode == 1
    assert "topics are missing" in ran.stderr
    assert "wallet topics apply" in ran.stderr


@pytest.mark.parametrize("role", ["worker", "all"])
def test_a_process_that_waits_for_kafka_says_so_and_ends_by_a_signal(
    role: str, shell: Shell
) -> None:
    with shell.started("run", role, KAFKA_BOOTSTRAP_SERVERS=AWAY) as running:
        running.says("Kafka is away, waiting for it")
        assert running.end(signal.SIGTERM) == 0


def test_postgres_is_waited_for_and_the_log_can_be_json(shell: Shell) -> None:
    away = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "WALLET_LOG_FORMAT": "json"}
    with shell.started("run", "relay", **away) as running:
        running.says("PostgreSQL is away, waiting for it")
        assert running.end(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in running.said.splitlines()]
    assert {line["process"] for line in lines} == {"relay"}
    assert lines[0]["level"] == "warning"


def test_ctrl_c_ends_a_working_process_in_order(shell: Shell) -> None:
    shell.fine("topics", "apply")
    with shell.started("run", "worker") as running:
        running.says("partitions assigned")
        assert running.end(signal.SIGINT) == 0
        assert "worker stopped" in running.said


def test_run_all_ends_with_a_failed_child_and_takes_the_other_along(shell: Shell) -> None:
    shell.fine("topics", "apply")
    with shell.started("run", "all") as running:
        running.says("the relay owns its part")
        children = _children(running.process.pid)
        children["worker"].kill()
        assert running.process.wait(30) == 1
        assert "a process ended" in running.said
        until(lambda: not any(child.is_running() for child in children.values()))


def test_run_alls_children_end_when_it_is_killed(shell: Shell) -> None:
    shell.fine("topics", "apply")
    with shell.started("run", "all") as running:
        running.says("the relay owns its part")
        running.says("partitions assigned")
        children = _children(running.process.pid)
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not any(child.is_running() for child in children.values()))
        running.says("the parent process is gone", times=2)
        running.says("worker stopped")  # in order, its partitions given back


def test_the_worker_and_its_session_get_their_nice_value_and_nobody_else(shell: Shell) -> None:
    shell.fine("topics", "apply")
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with (
        psycopg.connect(shell.environ["DATABASE_URL"], autocommit=True) as looking,
        shell.started("run", "all", WALLET_WORKER_NICE="5") as running,
    ):
        running.says("partitions assigned")
        running.says("the relay owns its part")
        children = _children(running.process.pid)
        session = {name: psutil.Process(pid) for name, pid in looking.execute(_SESSIONS)}
        assert looking.info.host.startswith("/")
        for raised in (children["worker"], session["wallet-worker"]):
            assert _nice_values(raised) == {5}
            assert _autogroup(raised) in {None, 5}
        for other in (children["relay"], session["wallet-relay-0"]):
            assert _nice_values(other) == {ours}
            assert _autogroup(other) in {None, 0}
        assert running.end(signal.SIGTERM) == 0


def test_a_nice_value_that_is_not_permitted_is_refused() -> None:
    code = (
        "import os\nfrom consumers.precedence import take_nice\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "take_nice(-5)"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "WALLET_WORKER_NICE=-5: Permission denied. Less than it is started with" in ran.stderr


def test_a_second_signal_ends_a_process_at_once() -> None:
    code = (
        "import time\nfrom ops.process import run_until_signalled\n"
        "run_until_signalled(lambda stop: (print('up', flush=True), time.sleep(60)))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        process.stdout.readline()  # the log says "stopping"
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_a_second_ctrl_c_ends_run_all_and_its_children_at_once(shell: Shell) -> None:
    shell.fine("topics", "apply")
    with shell.started("run", "all") as running:
        running.says("the relay owns its part")
        children = _children(running.process.pid)
        children["worker"].suspend()  # it will not end by itself
        running.process.send_signal(signal.SIGINT)
        running.says("stopping")
        assert running.end(signal.SIGINT) == -signal.SIGINT
        until(lambda: not any(child.is_running() for child in children.values()))


def test_a_folder_named_as_ours_beside_the_caller_does_no_harm(
    shell: Shell, tmp_path: os.PathLike[str]
) -> None:
    (tmp_path / "schemas").mkdir()  # type: ignore[operator]
    command = [WALLET[0], "-P", *WALLET[1:], "run", "all"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=shell.environ, capture_output=True, text=True, check=False
    )
    assert "topics are missing" in ran.stderr


def _children(pid: int) -> dict[str, psutil.Process]:
    """The processes that `run all` started, by role."""
    found = {child.cmdline()[-2]: child for child in psutil.Process(pid).children()}
    assert found.keys() == {"worker", "relay"}
    return found


def _nice_values(process: psutil.Process) -> set[int]:
    """Those of its threads."""
    return {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in process.threads()}


def _autogroup(process: psutil.Process) -> int | None:
    """The nice value of its session, None where the system has no such thing."""
    path = Path(f"/proc/{process.pid}/autogroup")
    return int(path.read_text().split()[-1]) if path.exists() else None
