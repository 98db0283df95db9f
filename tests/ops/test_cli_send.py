"""`wallet send`, `tail`, `show` and `verify` beside a running worker and relay."""

from __future__ import annotations

import json
import secrets
import signal

import pytest
from confluent_kafka import Producer

from schemas.result import WALLET_RESULT_SHAPE
from schemas.settings import load_settings
from tests.ops.shell import Shell


@pytest.fixture
def client() -> str:
    """A client that no other test knows."""
    return f"client-{secrets.token_hex(4)}"


def test_an_applied_command_is_code_0_and_shows_its_balances(wallet: Shell, client: str) -> None:
    said = wallet.fine("send", "deposit", client, "100.50", "--reference", "[bold]till", "--wait")
    assert "applied  deposit  100.50 USD" in said
    assert "0.00 → 100.50 USD" in said
    assert "[bold]till" in said  # no markup of ours


def test_the_answer_is_the_very_records_own(wallet: Shell, client: str) -> None:
    first = wallet.json("send", "deposit", client, "7", "--id", "d-1", "--wait")
    WALLET_RESULT_SHAPE.validate_python(first)
    assert (first["status"], first["duplicate"]) == ("applied", False)
    again = wallet.json("send", "deposit", client, "7", "--id", "d-1", "--wait")
    assert (again["transaction_id"], again["duplicate"]) == (first["transaction_id"], True)
    assert again["source"]["offset"] == first["source"]["offset"] + 1
    other = wallet.json("send", "deposit", client, "8", "--id", "d-1", "--wait", code=1)
    assert other["reason"] == "idempotency_conflict"


def test_a_refusal_is_code_1_with_its_reason(wallet: Shell, client: str) -> None:
    wallet.fine("send", "deposit", client, "5", "--wait")
    ran = wallet.wallet("send", "debit", client, "5.01", "--wait")
    assert ran.returncode == 1
    assert "rejected: insufficient_funds" in ran.stdout
    wrong = wallet.json("send", "deposit", client, "1e3", "--wait", code=1)
    assert wrong["reason"] == "invalid_amount"  # judged by the worker, not by us


def test_a_dead_letter_is_code_1_with_its_reason(wallet: Shell) -> None:
    dead = wallet.json("send", "deposit", "no client", "5", "--wait", code=1)
    assert (dead["status"], dead["reason"]) == ("dead", "invalid_key")
    assert dead["source"]["topic"].endswith("wallet-command")
    assert dead["dead_letter"]["partition"] == dead["source"]["partition"]
    ran = wallet.wallet("send", "deposit", "no client", "5", "--wait")
    assert ran.returncode == 1
    assert "dead: invalid_key" in ran.stdout


def test_a_query_is_answered_on_either_topic(wallet: Shell, client: str) -> None:
    wallet.fine("send", "register_client", client, "--name", "Ann", "--wait")
    wallet.fine("send", "open_wallet", client, "--currency", "EUR", "--wait")
    said = wallet.fine("send", "get_wallet", client, "--wait")
    assert "answered  get_wallet" in said
    assert "EUR" in said
    request = ["send", "get_wallet", client, "--topic", "order-request", "--wait"]
    assert wallet.json(*request)["event"] == "wallet_details"
    request[2] = f"{client}-unknown"
    assert wallet.json(*request, code=1)["reason"] == "client_not_found"


def test_no_answer_in_time_is_code_1_and_says_what_to_start(shell: Shell) -> None:
    shell.fine("topics", "apply")
    ran = shell.wallet("send", "deposit", "alice", "5", "--wait", "--timeout", "0.5")
    assert ran.returncode == 1
    assert "within 0.5 s" in ran.stderr
    assert "wallet run all" in ran.stderr
    placed = shell.json("send", "deposit", "alice", "5", "--id", "d-2")
    assert placed["topic"] == f"{shell.env['WALLET_TOPIC_PREFIX']}wallet-command"
    assert (placed["command_id"], placed["offset"]) == ("d-2", 1)


def test_a_missing_topic_is_told_by_send_and_tail(shell: Shell) -> None:
    for line in (["send", "deposit", "alice", "5"], ["tail"]):
        ran = shell.wallet(*line)
        assert ran.returncode == 1
        assert "wallet topics apply" in ran.stderr


def test_tail_follows_from_now_on_in_readable_lines(wallet: Shell, client: str) -> None:
    other = f"{client}-2"
    wallet.fine("send", "deposit", client, "30", "--wait")
    wallet.fine("send", "register_client", other, "--name", "Bo", "--wait")
    with wallet.started("tail") as tail:
        tail.says("Waiting for records")
        wallet.fine("send", "transfer", client, "10", "--to", other, "--id", "t-1", "--wait")
        wallet.wallet("send", "debit", client, "1000", "--wait")
        _publish(wallet, b"odd\x1b[2J", b'{"command_id": \xff')
        tail.says(f"transfer          applied   10.00 USD to {other}  balance 20.00 USD  t-1")
        tail.says(f"transfer_received applied   10.00 USD from {client}  balance 10.00 USD  t-1")
        tail.says("debit             rejected insufficient_funds  1000.00 USD  balance 20.00 USD")
        tail.says("dead invalid_key")
        tail.says('{"command_id": \\xff')
        assert "\x1b" not in tail.said
        assert tail.end(signal.SIGINT) == 130
        assert "30.00" not in tail.said


def test_tail_prints_one_json_object_a_line(wallet: Shell, client: str) -> None:
    sent = wallet.json("send", "deposit", client, "30", "--wait")
    amount = '{"command_id": "n-1",\n "type": "deposit", "amount": 12345678901234567.890}'
    _publish(wallet, client.encode(), amount.encode())
    prefix = wallet.env["WALLET_TOPIC_PREFIX"]
    with wallet.started("tail", f"{prefix}wallet-command", "--from-beginning", "--json") as tail:
        tail.says('"amount": 12345678901234567.890')  # as it was sent, to the digit
    with wallet.started("tail", "wallet-result", "--from-beginning", "--json") as tail:
        tail.says(sent["transaction_id"])
    results = [json.loads(line) for line in tail.said.splitlines() if client in line]
    assert results[0]["value"] == sent
    assert results[0]["key"] == client
    assert results[0]["headers"]["ce_id"] == "{topic}/{partition}/{offset}".format_map(
        sent["source"]
    )


def test_tail_ends_after_a_count(wallet: Shell, client: str) -> None:
    wallet.fine("send", "deposit", client, "30", "--wait")
    said = wallet.fine("tail", "wallet-balance", "--from-beginning", "--count", "1")
    assert len(said.splitlines()) == 1
    assert "balances" in said


def test_show_tells_what_the_ledger_has(wallet: Shell, client: str) -> None:
    other = f"{client}-2"
    wallet.fine("send", "deposit", client, "30", "--wait")
    wallet.fine(
        "send", "register_client", other, "--name", "Bo", "--email", f"{other}@x.org", "--wait"
    )
    wallet.fine("send", "transfer", client, "10", "--to", other, "--wait")
    assert wallet.wallet("send", "debit", client, "99", "--wait").returncode == 1
    answer = wallet.json("send", "get_wallet", other, "--wait")
    shown = wallet.json("show", other)
    assert (shown["name"], shown["email"]) == ("Bo", f"{other}@x.org")
    assert shown["wallets"] == answer["wallets"]
    assert shown["transactions"] == answer["transactions"]
    table = wallet.fine("show", client)
    assert "not registered" in table
    assert "insufficient_funds" in table
    assert wallet.fine("verify").strip().endswith("The books are right.")


def test_show_of_an_unknown_client_is_code_1(wallet: Shell, client: str) -> None:
    ran = wallet.wallet("show", client)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"there is no client '{client}'" in ran.stderr
    wallet.wallet("send", "debit", client, "1", "--wait")
    ran = wallet.wallet("show", client)
    assert ran.returncode == 1
    assert "client_not_found" in ran.stdout
    assert "makes no client" in ran.stderr


def _publish(shell: Shell, key: bytes, value: bytes) -> None:
    settings = load_settings(shell.env)
    producer = Producer({**settings.kafka_client(), "partitioner": "murmur2_random"})
    producer.produce(f"{settings.topic_prefix}wallet-command", value, key)
    assert producer.flush(10) == 0
