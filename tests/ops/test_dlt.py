"""`wallet dlt`: letters are listed, repaired and sent again, and never in circles."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.dead_letter import Letter, LetterPlace, as_input
from ops.reading import Record
from producers.publisher import Input
from schemas.header import DLT_REPLAYS, DeadLetter, dead_letter_headers
from schemas.topic import WALLET_COMMAND
from tests.ops.shell import Shell
from tests.scene import Scene, command

_MISSPELT = b'{"command_id": "d-1", "type": "depositt", "amount": "5"}'
_HEADERS = [("correlation-id", b"corr-7"), ("mine", None), ("mine", b"\xff")]


def test_a_letter_repaired_by_hand_is_answered(desk: Shell, scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "value.json"
    with scene.running():
        scene.publish(Input(WALLET_COMMAND, b"anna", _MISSPELT, _HEADERS))
        scene.answered(1)
        [letter] = desk.json("dlt", "list")["letters"]
        assert (letter["reason"], letter["replays"], letter["replayed"]) == (
            "unknown_type",
            0,
            False,
        )
        at = letter["letter"]
        desk.fine("dlt", "show", at, "--save", str(file))
        assert file.read_bytes() == _MISSPELT
        file.write_bytes(_MISSPELT.replace(b"depositt", b"deposit"))
        [sent] = desk.json("dlt", "replay", at, "--value", str(file), "--yes")["due"]
        found = scene.answered(2)
        source = sent["input"]
        [result] = found.results[source["topic"], source["partition"], source["offset"]]
        assert (result["status"], result["balance_after"]) == ("applied", "5.00")
    assert scene.balance("anna") == 500
    read = scene.read(WALLET_COMMAND)[-1]
    assert read.headers() == [*_HEADERS, (DLT_REPLAYS, b"1")]
    assert desk.json("dlt", "list", "--open")["count"] == 0
    assert "sent again before" in desk.wallet("dlt", "replay", at, "--yes").stderr
    assert desk.json("verify")["clean"]


def test_what_comes_back_too_often_is_refused(desk: Shell, scene: Scene) -> None:
    with scene.running():
        scene.publish(Input(WALLET_COMMAND, b"anna", _MISSPELT))
        for replays in range(3):
            scene.answered(replays + 1)
            ran = desk.json("dlt", "replay", "--reason", "unknown_type", "--yes")
            assert [letter["replays"] for letter in ran["due"]] == [replays]
            assert len(ran["left_out"]) == replays
        scene.answered(4)
        refused = desk.json("dlt", "replay", "--all", "--yes", code=1)
        assert ([m["replays"] for m in refused["refused"]], refused["due"]) == ([3], [])
        assert scene.answered(4).count == 4
        forced = desk.wallet("dlt", "replay", "--all", "--yes", "--force")
        assert forced.returncode == 0
        assert "Sent 1 again" in forced.stderr
        scene.answered(5)


def test_letters_are_chosen_by_reason_partition_and_offset(desk: Shell, scene: Scene) -> None:
    with scene.running():
        scene.publish(
            command("anna", type_="nonsense", command_id="a"),
            command("bo", type_="nonsense", command_id="b"),
            command("bo", type_="deposit", amount="1"),
            Input(WALLET_COMMAND, b"anna", b"\x1b[2J{"),
        )
        scene.answered(4)
    listed = desk.json("dlt", "list")
    assert listed["reasons"] == {"unknown_type": 2, "not_json": 1, "missing_command_id": 1}
    first = next(m for m in listed["letters"] if m["reason"] == "missing_command_id")
    by_place = {"partition": str(first["partition"]), "offset": str(first["offset"])}
    line = ("--partition", by_place["partition"], "--offset", by_place["offset"])
    plan = desk.json("dlt", "replay", "--topic", "wallet-command-dlt", *line, "--dry-run")
    assert [letter["letter"] for letter in plan["due"]] == [first["letter"]]
    assert len(desk.json("dlt", "replay", "--reason", "unknown_type", "--dry-run")["due"]) == 2
    assert desk.json("dlt", "list", "--reason", "poison")["letters"] == []
    said = desk.wallet("dlt", "list")
    assert "\x1b" not in said.stdout
    assert "4 dead letters: 2 unknown_type" in said.stderr
    odd = next(m for m in listed["letters"] if m["reason"] == "not_json")
    shown = desk.json("dlt", "show", odd["letter"])
    assert shown["value_text"] == "\x1b[2J{"
    assert "\\x1b[2J{" in desk.fine("dlt", "show", odd["letter"])
    assert desk.json("dlt", "list", "--open")["count"] == 4


def test_a_letter_that_is_not_there_is_code_1(desk: Shell, shell: Shell) -> None:
    for verb in (["show"], ["replay", "--yes"]):
        ran = desk.wallet("dlt", *verb, "wallet-command-dlt/0/99")
        assert ran.returncode == 1
        assert "there is no dead letter at" in ran.stderr
    assert desk.json("dlt", "list") == {"count": 0, "reasons": {}, "letters": []}
    away = {"WALLET_TOPIC_PREFIX": f"{shell.env['WALLET_TOPIC_PREFIX']}none-"}
    ran = desk.wallet("dlt", "list", **away)
    assert ran.returncode == 1
    assert "wallet topics apply" in ran.stderr


def test_only_what_the_dead_letter_added_is_taken_away() -> None:
    own = [("kafka_dlt-original-topic", b"theirs"), (DLT_REPLAYS, b"1"), ("x", b"\x00")]
    headers = dead_letter_headers(DeadLetter("t", 0, 5, -1, "not_json", "No JSON."), own)
    record = Record("t-dlt", 0, 0, -1, None, None, dict(headers), tuple(headers))
    letter = Letter(record, LetterPlace("t-dlt", 0, 0), "not_json", "", None, 1, 1, False)
    again = as_input(letter, WALLET_COMMAND, b"k", None)
    assert list(again.headers) == [own[0], own[2], (DLT_REPLAYS, b"2")]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["show", "wallet-command-dlt"], "PLACE is TOPIC/PARTITION/OFFSET"),
        (["show", "wallet-result/0/1"], "--topic is one of wallet-command-dlt"),
        (["list", "--topic", "x"], "--topic is one of wallet-command-dlt"),
        (["list", "--limit", "0"], "Invalid value"),
        (["replay"], "say which: PLACE"),
        (["replay", "--all", "--json"], "add --yes or --dry-run"),
        (["replay", "--all", "--key", "anna"], "name it as PLACE"),
        (["replay", "wallet-command-dlt/0/1", "--all"], "a PLACE says all"),
        (["replay", "wallet-command-dlt/0/1", "--value", "no-such-file"], "does not exist"),
    ],
)
def test_a_line_that_makes_no_sense_is_code_2(line: list[str], sentence: str) -> None:
    given = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    ran = Shell(given).wallet("dlt", *line)
    assert ran.returncode == 2, ran.stderr
    assert sentence in " ".join(ran.stderr.replace("│", " ").split())
