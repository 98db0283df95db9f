"""`wallet show --at`: the balances of a moment, by the journal."""

from __future__ import annotations

import secrets

from tests.ops.shell import Shell


def test_the_balances_of_a_moment_are_shown_and_those_of_none_are_missed(wallet: Shell) -> None:
    name = f"client-{secrets.token_hex(4)}"
    wallet.fine("send", "top_up", name, "10", "--wait")
    first = wallet.json("send", "hold", name, "4", "--hold", "room-7", "--wait")
    wallet.json("send", "capture", name, "3", "--hold", "room-7", "--wait")
    wallet.fine("send", "freeze_wallet", name, "--wait")
    [then] = wallet.json("show", name, "--at", first["occurred_at"])["wallets"]
    assert (then["balance"], then["held"], then["status"]) == ("6.00", "4.00", "open")
    [now] = wallet.json("show", name)["wallets"]
    assert (now["balance"], now["held"], now["status"]) == ("7.00", "0.00", "frozen")
    assert "6.00" in wallet.fine("show", name, "--at", first["occurred_at"])
    early = wallet.wallet("show", name, "--at", "2020-01-01T00:00:00Z")
    assert (early.returncode, "there was no client" in early.stderr) == (1, True)
    assert wallet.wallet("show", name, "--at", "yesterday").returncode == 2
