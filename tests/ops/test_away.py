"""Every verb with a wrong argument, and with Kafka or PostgreSQL away: a sentence and its code."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from consumers import topic_log
from ops import reading, topic
from ops.cli.main import VERBS
from tests.ops.shell import Ran, Shell

_NO_KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
_NO_POSTGRES = {"DATABASE_URL": "postgresql://wallet:secret@127.0.0.1:1/x"}
_KAFKA, _POSTGRES = "Kafka at 127.0.0.1:1 can't be reached", "PostgreSQL can't be reached"


class Line(NamedTuple):
    """How a verb is typed right and wrong, what the wrong one is told, and whom the verb asks."""

    right: str = ""
    wrong: str = "--nonsense"
    told: str = "No such option: --nonsense"
    needs: tuple[str, ...] = ()


_BOTH = (_KAFKA, _POSTGRES)
# `wallet run` waits for its servers, see test_cli_run.py; `wallet stack` and `wallet demo` have
# their own.
TABLE = {
    "demo": Line(),
    "stack start": Line(),
    "stack stop": Line(),
    "stack status": Line(),
    "stack env": Line(),
    "stack console": Line("kafka-topics", "", "Missing argument 'TOOL'"),
    "migrate": Line(needs=(_POSTGRES,)),
    "topics apply": Line(needs=(_KAFKA,)),
    "topics list": Line(needs=(_KAFKA,)),
    "topics diff": Line(needs=(_KAFKA,)),
    "run worker": Line(),
    "run relay": Line(),
    "run fulfillment": Line(),
    "run all": Line(),
    "fulfillment-stub": Line("", "--error-rate 2", "Invalid value"),
    "send": Line("deposit anna 1", "deposti anna 1", "there is no type 'deposti'", (_KAFKA,)),
    "tail": Line("--count 1", "--count none", "Invalid value", (_KAFKA,)),
    "show": Line("anna", "anna --at noon", "noon", (_POSTGRES,)),
    "history": Line("anna", "anna --limit none", "Invalid value", (_POSTGRES,)),
    "order": Line("ORD-1", "", "Missing argument 'ORDER'", (_POSTGRES,)),
    "orders": Line("", "--older-than soon", "soon", (_POSTGRES,)),
    "currencies list": Line(needs=(_POSTGRES,)),
    "currencies add": Line("COIN 0", "coin 0", "coin", (_POSTGRES,)),
    "verify": Line(needs=(_POSTGRES,)),
    "bench": Line("--seconds 1", "--seconds none", "Invalid value", _BOTH),
    "lag": Line("", "--max none", "Invalid value", _BOTH),
    "offsets show": Line(needs=_BOTH),
    "offsets reset": Line(
        "wallet-command --to end --yes", "wallet-command --to noon", "noon", _BOTH
    ),
    "outbox status": Line(needs=(_POSTGRES,)),
    "dlt list": Line("", "--limit none", "Invalid value", _BOTH),
    "dlt show": Line("wallet-command-dlt/0/0", "letter", "letter", _BOTH),
    "dlt replay": Line("--all --yes", "", "say which", _BOTH),
    "doctor": Line(needs=_BOTH),
}


def _leaves() -> Iterator[str]:
    for name, verb in VERBS.items():
        made = typer.main.get_command(importlib.import_module(verb.module).application)
        commands = getattr(made, "commands", None)
        yield from [name] if commands is None else [f"{name} {each}" for each in commands]


def _complaint(ran: Ran) -> str:
    """What a person is told; a box's frame and its line ends are no part of it."""
    assert "Traceback" not in ran.stderr
    assert "secret" not in ran.stdout + ran.stderr
    return " ".join(word for word in ran.stderr.split() if word.strip("│╭╮╰╯─"))


def test_no_verb_is_missing_from_the_table() -> None:
    assert sorted(TABLE) == sorted(_leaves())


def test_a_wrong_argument_is_code_2_and_changes_nothing(tmp_path: Path) -> None:
    """Without any server: what is wrong is told before anybody is asked."""
    shell = Shell({"WALLET_DATA_DIR": str(tmp_path), **_NO_KAFKA, **_NO_POSTGRES})
    for verb, line in TABLE.items():
        ran = shell.wallet(*verb.split(), *line.wrong.split())
        assert (ran.returncode, ran.stdout) == (2, ""), verb
        assert line.told in _complaint(ran), verb


def test_without_a_stack_and_without_addresses_a_verb_says_how_to_get_one(tmp_path: Path) -> None:
    shell = Shell({"WALLET_DATA_DIR": str(tmp_path)})
    for verb, line in TABLE.items():
        if line.needs:
            ran = shell.wallet(*verb.split(), *line.right.split())
            assert (ran.returncode, ran.stdout) == (3, ""), verb
            assert "Start it with `wallet stack start`" in _complaint(ran), verb


def test_without_postgres(shell: Shell) -> None:
    shell.fine("topics", "apply")
    _away(shell, _POSTGRES, _NO_POSTGRES)


def test_without_kafka(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic.partition_counts, "__defaults__", (0.5,))
    monkeypatch.setattr(reading, "ASK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(topic, "ASK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(topic_log, "_TIMEOUT_S", 0.5)
    _away(shell, _KAFKA, _NO_KAFKA)


def _away(shell: Shell, sentence: str, env: dict[str, str]) -> None:
    """Every verb that needs the server ends with code 3 and says so."""
    for verb, line in TABLE.items():
        if sentence in line.needs:
            ran = shell.wallet(*verb.split(), *line.right.split(), **env)
            assert ran.returncode == 3, (verb, ran)
            assert sentence in (ran.stdout if verb == "doctor" else _complaint(ran)), verb
