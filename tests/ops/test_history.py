"""`wallet history`: pages, CSV, and what it says of clients that are not there."""

from __future__ import annotations

import csv
import io
import secrets

import pytest

from tests.ops.shell import Shell


@pytest.fixture(scope="module")
def client(wallet: Shell) -> str:
    """A client with three deposits, a refused debit and a transfer to another one."""
    name = f"client-{secrets.token_hex(4)}"
    for number in range(3):
        reference = "=1+1" if number == 0 else f"r-{number}"
        wallet.fine("send", "deposit", name, "10", "--reference", reference)
    wallet.fine("send", "open_wallet", f"{name}-2")
    wallet.fine("send", "register_client", f"{name}-2", "--name", "Bo", "--wait")
    wallet.fine("send", "transfer", name, "5", "--to", f"{name}-2", "--wait")
    wallet.wallet("send", "debit", name, "999", "--wait")
    return name


def test_pages_follow_one_another_without_a_gap(wallet: Shell, client: str) -> None:
    whole = wallet.json("history", client)
    assert whole["next_before"] is None
    types = [entry["type"] for entry in whole["transactions"]]
    assert types == ["debit", "transfer", "deposit", "deposit", "deposit"]
    first = wallet.json("history", client, "--limit", "2")
    assert first["transactions"] == whole["transactions"][:2]
    rest = wallet.json("history", client, "--before", first["next_before"])
    assert rest["transactions"] == whole["transactions"][2:]
    assert (
        wallet.json("send", "get_wallet", client, "--wait")["transactions"]
        == (whole["transactions"])
    )


def test_a_table_says_how_to_get_older_ones(wallet: Shell, client: str) -> None:
    ran = wallet.wallet("history", client, "--limit", "1")
    assert ran.returncode == 0
    assert "insufficient_funds" in ran.stdout
    assert "There are older ones: --before" in ran.stderr


def test_csv_has_all_of_them_and_no_formula(wallet: Shell, client: str) -> None:
    rows = list(csv.DictReader(io.StringIO(wallet.fine("history", client, "--csv"))))
    assert [row["type"] for row in rows][:2] == ["debit", "transfer"]
    assert rows[0]["reason"] == "insufficient_funds"
    assert rows[1]["counterparty"] == f"{client}-2"
    assert (rows[-1]["amount"], rows[-1]["reference"]) == ("10.00", "'=1+1")
    assert rows[0].keys() == rows[-1].keys()


def test_one_currency_alone_may_be_asked_for(wallet: Shell, client: str) -> None:
    assert len(wallet.json("history", client, "--currency", "USD")["transactions"]) == 5
    ran = wallet.wallet("history", client, "--currency", "EUR")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "No transactions" in ran.stderr


def test_an_unknown_client_is_code_1(wallet: Shell) -> None:
    ran = wallet.wallet("history", "nobody-at-all")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no client 'nobody-at-all'" in ran.stderr


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["--csv", "--json"], "exclude each other"),
        (["--currency", "usd"], "'usd' is no code"),
        (["--limit", "0"], "Invalid value"),
        (["--before", "x"], "Invalid value"),
    ],
)
def test_a_line_that_makes_no_sense_is_code_2(line: list[str], sentence: str) -> None:
    ran = Shell({}).wallet("history", "alice", *line)
    assert ran.returncode == 2
    assert sentence in ran.stderr
