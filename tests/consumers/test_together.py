"""Clients, partitions, workers and the clock meet: through Kafka, on a real broker and database."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from schemas.header import CE_ID, CORRELATION_ID
from schemas.topic import WALLET_BALANCE, WALLET_RESULT
from tests.producers.world import PARTITIONS, eventually
from tests.scene import Scene, command, text_headers


def test_an_email_and_a_phone_are_one_clients_whoever_registers_at_the_same_moment(
    scene: Scene,
) -> None:
    records = [
        command(
            f"client-{number}", command_id=kind, type_="register_client", name="N",
            **{kind: f"{'+491' if kind == 'phone' else 'a@b.org'}{turn}"},
        )
        for turn in range(5)
        for kind in ("email", "phone")
        for number in range(turn * 8, turn * 8 + 8)
    ]  # fmt: skip
    with scene.running() as first, scene.worker() as second:
        eventually(lambda: first.assignment.positions and second.assignment.positions)
        scene.publish(*records)
        answers = scene.answered(len(records))
    outcomes = Counter(
        (r["command_id"], r["reason"] or r["status"]) for [r] in answers.results.values()
    )
    # A client that won the email has a profile, so its phone is refused: at most one each.
    assert outcomes["email", "applied"] == 5
    assert outcomes["email", "email_taken"] == 35
    assert outcomes["phone", "applied"] == 5
    assert outcomes["phone", "phone_taken"] + outcomes["phone", "client_exists"] == 35


@pytest.mark.contract
def test_a_hold_that_nobody_touches_releases_itself_and_says_so(scene: Scene) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    with scene.running():
        scene.command("alice", command_id="1", type_="credit", amount="10")
        made = scene.command(
            "alice", command_id="2", type_="hold", amount="4", hold_id="h", expires_at=soon
        )
        scene.answered(2)
        eventually(lambda: scene.answers().others)
        late = scene.command("alice", command_id="3", type_="capture", hold_id="h")
        answers = scene.answered(3)
    [told] = answers.others
    assert (told["type"], told["command_id"], told["hold_id"]) == ("hold_released", None, "h")
    assert (told["amount"], told["balance_before"], told["balance_after"]) == (
        "4.00", "6.00", "10.00",
    )  # fmt: skip
    assert answers.only(late)["reason"] == "hold_expired"
    [headers] = [
        text_headers(message)
        for message in scene.read(WALLET_RESULT)
        if json.loads(message.value() or b"")["type"] == "hold_released"
    ]
    assert headers[CE_ID] == "alice/h/expired"
    assert headers[CORRELATION_ID] == "2"
    assert headers["causation-id"] == f"{made.topic}/{made.partition}/{made.offset}"


@pytest.mark.contract
def test_all_balances_can_be_rebuilt_from_the_compacted_topic_alone(scene: Scene) -> None:
    """Of one client, two currencies change in two partitions at once: two workers apply them."""
    random = Random(3)
    clients = [f"client-{number}" for number in range(5)]
    records = list[tuple[int, str, bytes]]()
    for number in range(600):
        client, currency = random.choice(clients), ("USD", "EUR")[number % 2]
        given: dict[str, Any] = {"command_id": f"{number}", "currency": currency}
        given |= random.choice(
            (
                {"type": "credit", "amount": "3"},
                {"type": "spend", "amount": "1"},
                {"type": "hold", "amount": "1"},
                {"type": "transfer", "amount": "1", "to_client_id": random.choice(clients)},
                {"type": "freeze_wallet"},
                {"type": "unfreeze_wallet"},
            )
        )
        partition = number % 2 * (PARTITIONS // 2)
        records.append((partition, client, json.dumps(given).encode()))
    with scene.running() as first, scene.worker() as second:
        eventually(lambda: first.assignment.positions and second.assignment.positions)
        for start in range(0, len(records), 20):  # in many small batches
            scene.publish_to(*records[start : start + 20])
        scene.answered(len(records))
        eventually(lambda: scene.waiting() == 0)
    newest: dict[str, dict[str, Any]] = {}
    for message in scene.read(WALLET_BALANCE):
        value = json.loads(message.value() or b"")
        newest[value["client_id"]] = value
    rebuilt = {
        (client, wallet["currency"]): (wallet["balance"], wallet["held"], wallet["status"])
        for client, value in newest.items()
        for wallet in value["wallets"]
    }
    with scene.connect() as session:
        rows = session.execute(
            "SELECT a.client_id, a.currency, a.balance, coalesce(h.balance, 0), a.status"
            " FROM accounts AS a LEFT JOIN accounts AS h"
            " ON h.client_id = a.client_id AND h.currency = a.currency AND h.kind = 'held'"
            " WHERE a.kind = 'available'"
        ).fetchall()
    assert rebuilt == {
        (client, currency): (_text(balance), _text(held), status)
        for client, currency, balance, held, status in rows
    }
    assert len(rows) == 2 * len(clients)


def _text(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"
