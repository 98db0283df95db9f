"""`wallet currencies`: units are added for good, and a running worker takes them."""

from __future__ import annotations

import secrets

import pytest

from tests.ops.shell import Shell


def test_a_unit_is_added_once_and_keeps_its_decimals(shell: Shell) -> None:
    assert shell.json("currencies", "list") == []
    added = shell.json("currencies", "add", "COIN", "0")
    assert (added["currency"], added["scale"], added["new"]) == ("COIN", 0, True)
    assert "is there already" in shell.wallet("currencies", "add", "COIN", "0").stderr
    ran = shell.wallet("currencies", "add", "COIN", "2")
    assert ran.returncode == 1
    assert "with 0 decimals: a scale never changes" in ran.stderr
    assert [unit["currency"] for unit in shell.json("currencies", "list")] == ["COIN"]
    known = {unit["currency"]: unit for unit in shell.json("currencies", "list", "--all")}
    assert (known["JPY"]["scale"], known["KWD"]["scale"], known["JPY"]["own"]) == (0, 3, False)
    assert "your own" in shell.fine("currencies", "list")


def test_a_running_worker_takes_a_new_unit(wallet: Shell) -> None:
    code = f"U{secrets.token_hex(3).upper()}"
    wallet.fine("currencies", "add", code, "3")
    client = f"client-{secrets.token_hex(4)}"
    result = wallet.json("send", "deposit", client, "1.5", "--currency", code, "--wait")
    assert (result["status"], result["balance_after"]) == ("applied", "1.500")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["add", "usd", "2"], "'usd' is no code"),
        (["add", "USD", "2"], "is a code of ISO 4217's"),
        (["add", "COIN", "9"], "a scale is 0 to 8 decimals"),
        (["add", "COIN", "many"], "Invalid value"),
        (["add", "COIN"], "Missing argument"),
    ],
)
def test_what_can_be_no_unit_is_code_2(line: list[str], sentence: str) -> None:
    ran = Shell({}).wallet("currencies", *line)
    assert ran.returncode == 2
    assert sentence in ran.stderr
