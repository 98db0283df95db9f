"""The verbs that look after a wallet, with Kafka or PostgreSQL away: one sentence, code 3."""

from __future__ import annotations

import pytest

from consumers import topic_log
from ops import topic
from tests.ops.shell import Shell

_NO_KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
_NO_POSTGRES = {"DATABASE_URL": "postgresql://wallet:secret@127.0.0.1:1/x"}
_RESET = ["offsets", "reset", "wallet-command", "--to", "end", "--yes"]
_OF_POSTGRES = [["history", "anna"], ["currencies", "list"], ["outbox", "status"]]
_OF_BOTH = [["lag"], ["offsets", "show"], _RESET, ["dlt", "list"]]
_OF_BOTH += [["dlt", "show", "wallet-command-dlt/0/0"], ["dlt", "replay", "--all", "--yes"]]


@pytest.mark.parametrize("line", [*_OF_POSTGRES, *_OF_BOTH], ids=" ".join)
def test_without_postgres(line: list[str]) -> None:
    ran = Shell({**_NO_KAFKA, **_NO_POSTGRES}).wallet(*line)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "PostgreSQL can't be reached" in ran.stderr
    assert "secret" not in ran.stderr


# One that asks for the topics first, and one that reads.
@pytest.mark.parametrize("line", [["lag"], ["dlt", "list"]], ids=" ".join)
def test_without_kafka(line: list[str], shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic.partition_counts, "__defaults__", (0.5,))
    monkeypatch.setattr(topic_log, "_TIMEOUT_S", 0.5)
    ran = shell.wallet(*line, **_NO_KAFKA)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "Kafka at 127.0.0.1:1 can't be reached" in ran.stderr
