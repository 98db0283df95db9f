"""`wallet order`, `wallet orders` and the stub: what somebody sees who looks after orders."""

from __future__ import annotations

import re
import signal
from typing import Any

import httpx

from tests.conftest import WalletEnv
from tests.ops.shell import Shell
from tests.producers.shop import opened, stubbed
from tests.producers.world import eventually


def test_an_orders_life_shows_each_event_with_attempt_status_and_money(
    wallet_env: WalletEnv, shell: Shell, log_apart: None
) -> None:
    with opened(wallet_env) as shop, stubbed(error_rate=1) as (stub, url), shop.fulfillment(url):
        shop.place("o-1")
        shop.ended()
        [unknown] = shell.json("orders", "--unknown")["orders"]
        assert (unknown["order_id"], unknown["reason"]) == ("o-1", "fulfillment_unknown")
        stub.behaviour = stub.behaviour.changed({"error_rate": 0})
        shop.request("anna", "retry_order", "r-1", order_id="o-1")
        shop.ended()
    order = shell.json("order", "o-1", "--client", "anna")
    assert (order["status"], order["fulfillment_id"]) == ("completed", stub.record.ids["anna/o-1"])
    told = [
        (e["event"], e["outcome"], e["attempt"], e["http_status"], e.get("from"), e.get("to"))
        for e in order["life"]
    ]
    assert told == [
        ("place_order", "applied", None, None, "available", "escrow"),
        *(("fulfillment", "unclear", n, 503, None, None) for n in (1, 2, 3)),
        ("order_failed", "applied", None, None, "escrow", "available"),
        ("retry_order", "applied", None, None, "available", "escrow"),
        ("fulfillment", "fulfilled", 4, 200, None, None),
        ("order_completed", "applied", None, None, "escrow", "revenue"),
    ]
    assert "10.00 USD" in shell.fine("order", "o-1")
    assert shell.wallet("order", "o-2").returncode == 1


def test_an_id_that_several_clients_have_needs_the_client(
    wallet_env: WalletEnv, shell: Shell
) -> None:
    with opened(wallet_env) as shop:
        shop.place("o-1", client="anna")
        shop.place("o-1", client="bert")
    asked = shell.wallet("order", "o-1")
    assert (asked.returncode, "--client (anna, bert)" in asked.stderr) == (2, True)
    assert shell.json("order", "o-1", "--client", "bert")["client_id"] == "bert"


def test_orders_that_hang_are_found_and_the_breaker_is_told_of(
    wallet_env: WalletEnv, shell: Shell, log_apart: None
) -> None:
    def listed(*line: str) -> dict[str, Any]:
        found: dict[str, Any] = shell.json("orders", *line)
        return found

    with opened(wallet_env) as shop, stubbed(down=True) as (_, url):
        orders = [f"o-{number}" for number in range(12)]  # none has three attempts before it opens
        shop.place(*orders)
        assert listed()["breaker"]["state"] == "closed"
        with shop.fulfillment(url):
            eventually(lambda: listed()["breaker"]["state"] == "open")
        hanging = listed("--status", "pending")
    assert hanging["counts"] == {"pending": 12}
    assert {order["order_id"] for order in hanging["orders"]} == set(orders)
    assert listed("--status", "pending", "--older-than", "10m")["orders"] == []
    assert "breaker is open" in shell.fine("orders")
    assert shell.wallet("orders", "--unknown", "--status", "pending").returncode == 2


def test_the_stub_serves_is_switched_and_remembers(shell: Shell) -> None:
    def ask(method: str, path: str, **given: Any) -> Any:
        headers = {"Idempotency-Key": "a/1"}
        return httpx.request(method, base + path, headers=headers, timeout=10, **given).json()

    with shell.started("fulfillment-stub", "--port", "0") as running:
        running.says("/orders")
        [base] = re.findall(r"FULFILLMENT_URL=(http://127\.0\.0\.1:\d+)/orders", running.said)
        first = ask("POST", "/orders", json={})
        assert ask("POST", "/orders", json={}) == first
        switched = ask("PUT", "/admin", json={"down": True, "delay_ms": 5})
        assert (switched["behaviour"]["down"], switched["calls"], switched["fulfilled"]) == (
            *(True, 2, 1),
        )
        assert ask("GET", "/admin/orders") == {"a/1": {"calls": 2, "id": first["id"]}}
        assert running.end(signal.SIGTERM) == 0
