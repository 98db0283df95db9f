"""`wallet offsets`: positions set by hand move no money, and the books still add up."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from schemas.topic import WALLET_COMMAND
from tests.ops.shell import Shell
from tests.scene import Scene, command

_COMMANDS = 200
_CLIENTS = 5
_TO_BEGINNING = ("offsets", "reset", WALLET_COMMAND, "--to", "beginning")


@pytest.fixture
def worked(scene: Scene) -> Scene:
    """A scene in which a worker has answered commands, a dead letter among them, and is gone."""
    scene.publish(
        *(
            command(f"c-{i % _CLIENTS}", type_="deposit", command_id=f"d-{i}", amount="1")
            for i in range(_COMMANDS - 1)
        ),
        command("c-0", type_="nonsense", command_id="n"),
    )
    with scene.running():
        scene.answered(_COMMANDS)
    return scene


def test_back_to_the_beginning_moves_no_money(desk: Shell, worked: Scene) -> None:
    before = [worked.balance(f"c-{i}") for i in range(_CLIENTS)]
    plan = desk.json(*_TO_BEGINNING, "--dry-run")
    assert sum(r["from_offset"] - r["to_offset"] for r in plan["resets"]) == _COMMANDS
    assert desk.json("lag", "--max", "0")
    assert desk.json(*_TO_BEGINNING, "--yes")["resets"] == plan["resets"]
    topic = worked.topics.real(WALLET_COMMAND)
    assert desk.json("lag")["lag"][topic] == _COMMANDS
    assert desk.json("verify")["clean"]
    copied = {p["kafka_offset"] for p in desk.json("offsets", "show")["partitions"]}
    assert copied <= {None, 0}
    with worked.running():
        again = worked.answered(2 * _COMMANDS)
    assert [worked.balance(f"c-{i}") for i in range(_CLIENTS)] == before
    for results in again.results.values():
        first, second = results
        assert (first["duplicate"], second["duplicate"]) == (False, True)
        assert first["transaction_id"] == second["transaction_id"]
    assert desk.json("verify")["clean"]
    shown = desk.json("offsets", "show")
    assert sum(kept["from_offset"] for kept in shown["resets"]) == _COMMANDS
    assert "Reset" in desk.fine("offsets", "show")


def test_what_is_left_out_is_kept_and_the_books_count_with_it(desk: Shell, scene: Scene) -> None:
    for number in range(3):
        scene.command("anna", type_="deposit", command_id=f"d-{number}", amount="1")
    [partition] = [p["partition"] for p in desk.json("offsets", "show")["partitions"] if p["lag"]]
    line = ("offsets", "reset", WALLET_COMMAND, "--to", "2", "--partition", str(partition))
    said = desk.fine(*line, "--yes")
    assert "2 never read" in said
    with scene.running():
        scene.answered(1)
    assert scene.balance("anna") == 100
    assert desk.json("verify")["clean"]
    assert "there already" in desk.wallet(*line[:3], "--to", "end", "--yes").stderr


def test_a_topic_made_anew_is_settled(
    desk: Shell, worked: Scene, admin_client: AdminClient
) -> None:
    topic = worked.topics.real(WALLET_COMMAND)
    [gone] = admin_client.delete_topics([topic]).values()
    gone.result(10)
    worked.make_topic_again(admin_client, topic)
    assert any(p["trouble"] for p in desk.json("offsets", "show", code=1)["partitions"])
    assert all(r["topic_made_anew"] for r in desk.json(*_TO_BEGINNING, "--yes")["resets"])
    assert desk.json("verify")["clean"]
    with worked.running():
        worked.command("c-0", type_="deposit", command_id="new", amount="1")
        worked.answered(_COMMANDS + 1)
    assert desk.json("verify")["clean"]
    assert desk.json("lag", "--max", "0")


def test_while_a_worker_runs_nothing_is_set(desk: Shell, scene: Scene) -> None:
    with scene.running():
        scene.command("anna", type_="deposit", command_id="d", amount="1")
        scene.answered(1)
        ran = desk.wallet(*_TO_BEGINNING, "--yes")
        assert ran.returncode == 1
        assert "stop every worker first" in ran.stderr
    assert desk.json("offsets", "show")["resets"] == []


def test_without_a_yes_nothing_is_set(desk: Shell, scene: Scene) -> None:
    scene.command("anna", type_="deposit", command_id="d", amount="1")
    ran = desk.process("offsets", "reset", WALLET_COMMAND, "--to", "end")  # nobody answers it
    assert ran.returncode == 1
    assert "Set these positions?" in ran.stderr
    assert desk.json("lag")["lag"][scene.topics.real(WALLET_COMMAND)] == 1


def test_an_offset_outside_the_log_is_refused(desk: Shell) -> None:
    line = ("offsets", "reset", WALLET_COMMAND, "--partition")
    ran = desk.wallet(*line, "0", "--to", "7", "--yes")
    assert ran.returncode == 1
    assert "goes from 0 to 0: 7 is outside" in ran.stderr
    ran = desk.wallet(*line, "9", "--to", "end", "--yes")
    assert ran.returncode == 1
    assert "has no partition 9; it has 4" in ran.stderr


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["wallet-result", "--to", "end"], "TOPIC is one of wallet-command, order-request"),
        (["wallet-command"], "Missing option"),
        (["wallet-command", "--to", "yesterday"], "--to is beginning, end or an offset"),
        (["wallet-command", "--to", "5"], "name it by --partition"),
        (["wallet-command", "--to", "end", "--json"], "add --yes or --dry-run"),
        (["wallet-command", "--to", "end", "--partition", "-1"], "Invalid value"),
    ],
)
def test_a_line_that_makes_no_sense_is_code_2(line: list[str], sentence: str) -> None:
    ran = Shell({}).wallet("offsets", "reset", *line)
    assert ran.returncode == 2
    assert sentence in ran.stderr
