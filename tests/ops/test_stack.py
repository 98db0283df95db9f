"""The embedded stack: what it keeps, what it says, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ops.stack import Stack, StackAddress, StackError

START = """
import sys
from pathlib import Path
from ops.stack import Stack
print(Stack(Path(sys.argv[1]), progress=lambda text: print(text, file=sys.stderr)).start())
"""
BOUND = """
import sys, time
from pathlib import Path
from ops.stack import Stack
with Stack(Path(sys.argv[1])).bound(throwaway=sys.argv[2] == "throwaway"):
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder whose stack, if any is left, is stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix="wallet-stack-", ignore_cleanup_errors=True) as name:
        yield Path(name)
        Stack(Path(name)).stop()


@pytest.fixture(scope="module")
def two_starts() -> Iterator[tuple[Path, list[subprocess.CompletedProcess[str]]]]:
    """A stack that two processes started at the same time, and what they said."""
    with tempfile.TemporaryDirectory(prefix="wallet-stack-", ignore_cleanup_errors=True) as name:
        starts = [_run(START, name) for _ in range(2)]
        try:
            yield (
                Path(name),
                [
                    subprocess.CompletedProcess(start.args, start.wait(), *start.communicate())
                    for start in starts
                ],
            )
        finally:
            Stack(Path(name)).stop()


@pytest.fixture
def running(two_starts: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> Stack:
    """A running stack shared by the tests that leave it as it is."""
    return Stack(two_starts[0])


def test_two_starts_at_once_make_one_stack(
    two_starts: tuple[Path, list[subprocess.CompletedProcess[str]]], running: Stack
) -> None:
    first, second = two_starts[1]
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout == f"{running.address()}\n"
    assert (first.stderr + second.stderr).count("already runs") == 1


def test_a_second_start_says_that_it_already_runs(running: Stack) -> None:
    said: list[str] = []
    again = Stack(running.status().data_dir, progress=said.append)
    assert again.start() == running.address()
    assert said == [f"The stack in {running.status().data_dir} already runs."]
    with pytest.raises(StackError, match="already runs"), again.bound():
        pass


def test_kafkas_own_console_tools_work(running: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    address = running.address()
    _create_topic(address, "console")
    produce = running.console_command(
        "kafka-console-producer", ["--topic", "console", "--reader-property", "parse.key=true"]
    )
    subprocess.run(produce, input=b'alice\t{"a": 1}\n', check=True, timeout=30)
    consume = ["--topic", "console", "--from-beginning", "--max-messages", "1"]
    consume += ["--formatter-property", "print.key=true", "--isolation-level", "read_committed"]
    assert running.console("kafka-console-consumer", consume) == 0
    assert capfd.readouterr().out == 'alice\t{"a": 1}\n'
    with pytest.raises(StackError, match=r"no tool 'kafka-nothing'.*kafka-topics"):
        running.console_command("kafka-nothing", [])


def test_the_settings_are_the_durable_ones(running: Stack) -> None:
    with psycopg.connect(running.address().database_url) as session:
        rows = session.execute("SELECT name, setting FROM pg_settings").fetchall()
        settings: dict[str, str] = dict(rows)
        session.execute("CREATE EXTENSION pg_stat_statements")
    assert (settings["fsync"], settings["synchronous_commit"]) == ("on", "on")
    assert settings["server_version"].startswith("18.")


def test_a_row_and_a_record_survive_a_stop_and_a_start_in_a_deep_folder(folder: Path) -> None:
    # Deeper than a socket's path may be, with what shells and property files stumble over.
    stack = Stack(folder / ("a deep, böse folder " * 4).strip() / ("x" * 60))
    first = stack.start()
    with psycopg.connect(first.database_url) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    _create_topic(first, "kept")
    producer = Producer({"bootstrap.servers": first.kafka_bootstrap_servers})
    producer.produce("kept", b"still here")
    assert producer.flush(10) == 0
    assert stack.stop()
    assert stack.status().state == "stopped"
    assert not stack.stop()
    with pytest.raises(StackError, match="is not running"):
        stack.address()

    second = stack.start()
    assert second == first  # the ports were still free
    with psycopg.connect(second.database_url) as session:
        assert session.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert _first_value(second, "kept") == b"still here"
    stack.stop()


def test_a_crash_of_either_is_reported_and_a_start_recovers(folder: Path) -> None:
    stack = Stack(folder)
    stack.start()
    for name, log_line in (("kafka", "Kafka Server started"), ("postgres", "ready to accept")):
        os.kill(_pid(stack, name), signal.SIGKILL)
        _wait_for(lambda: stack.status().state == "crashed")
        sentence = stack.status().sentence()
        assert f"{name} was ended by SIGKILL" in sentence
        assert log_line in sentence or name == "kafka"
        assert len(sentence.splitlines()) > 5  # the log's end
        with pytest.raises(StackError, match="has crashed"):
            stack.address()
        address = stack.start()
        with psycopg.connect(address.database_url) as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
        assert stack.status().state == "running"
    stack.stop()


def test_a_killed_supervisor_takes_its_servers_with_it_and_a_start_recovers(folder: Path) -> None:
    stack = Stack(folder)
    stack.start()
    pids = [_pid(stack, name) for name in ("kafka", "postgres")]
    os.kill(psutil.Process(pids[0]).ppid(), signal.SIGKILL)
    _wait_for(lambda: not _processes_in(folder))
    assert "ended with its killed supervisor" in stack.status().sentence()
    # The process id in this file belongs to somebody else now.
    (folder / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}/postgres\n1\n")
    stack.start()
    stack.stop()


@pytest.mark.parametrize(
    ("number", "mode"),
    [(signal.SIGKILL, "throwaway"), (signal.SIGINT, "kept"), (signal.SIGTERM, "throwaway")],
)
def test_nothing_is_left_when_a_bound_stacks_parent_is_ended(
    running: Stack, folder: Path, number: signal.Signals, mode: str
) -> None:
    parent = _run(BOUND, str(folder), mode)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n", parent.communicate()
    beside = Stack(folder)
    assert beside.status().state == running.status().state == "running"  # side by side
    assert beside.address() != running.address()
    assert _processes_in(folder)

    parent.send_signal(number)
    parent.communicate(timeout=60)
    _wait_for(lambda: not _processes_in(folder))
    _wait_for(lambda: folder.exists() == (mode == "kept"))
    assert beside.status().state == "stopped"
    assert running.status().state == "running"


def _run(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _pid(stack: Stack, name: str) -> int:
    [pid] = [part.pid for part in stack.status().parts if part.name == name]
    assert pid is not None
    return pid


def _processes_in(folder: Path) -> list[psutil.Process]:
    """The processes that work in the folder or below it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def _create_topic(address: StackAddress, name: str) -> None:
    client = AdminClient({"bootstrap.servers": address.kafka_bootstrap_servers})
    client.create_topics([NewTopic(name, num_partitions=1)])[name].result(10)


def _first_value(address: StackAddress, topic: str) -> bytes | None:
    consumer = Consumer(
        {
            "bootstrap.servers": address.kafka_bootstrap_servers,
            "group.id": "test",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topic])
        message = consumer.poll(20)
        assert message is not None
        return message.value()
    finally:
        consumer.close()
