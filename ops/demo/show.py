"""How the demo looks: each command beside its result, or above it where the terminal is narrow."""

from collections.abc import Mapping
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from ops.cli.line import STYLES, money
from ops.cli.screen import safe, safe_bytes, table
from ops.demo.story import Step
from ops.reading import Record
from schemas.header import DLT_REASON, SPRING

_COMMAND_WIDTH = 44
_BESIDE_WIDTH_MIN = 96
_INDENT = "      "


def show_step(screen: Console, step: Step, answer: Record) -> None:
    """One step: what was sent, and what came of it."""
    command, result = _command(step), _answer(answer)
    if screen.width < _BESIDE_WIDTH_MIN:
        _print_wrapped(screen, command, "  ")
        _print_wrapped(screen, Text("→ ").append_text(result), _INDENT)
    else:
        command.truncate(_COMMAND_WIDTH, overflow="ellipsis", pad=True)
        lines = result.wrap(screen, screen.width - _COMMAND_WIDTH - 6)
        for number, line in enumerate(lines):
            left = command if number == 0 else Text(" " * _COMMAND_WIDTH)
            arrow = " → " if number == 0 else "   "
            screen.print(Text("  ").append_text(left).append(arrow).append_text(line))


def show_received(screen: Console, value: Mapping[str, Any]) -> None:
    """What the other side of a transfer was told."""
    text = Text(f"{value['client_id']} is told: ", "dim")
    text.append(f"{money(value['amount'], value['currency'])} from {value['counterparty']}", "dim")
    text.append(f", balance {money(value['balance_after'], value['currency'])}", "dim")
    _print_under(screen, text)


def show_end(screen: Console, value: Mapping[str, Any]) -> None:
    """What became of an order after its fulfillment."""
    text = Text(f"{value['order_id']} is ", "dim")
    text.append(value["status"], STYLES[value["status"]])
    attempts = "1 attempt" if value["attempts"] == 1 else f"{value['attempts']} attempts"
    text.append(f" after {attempts}", "dim")
    if value["fulfillment_id"] is not None:
        text.append(f" as {safe(value['fulfillment_id'])}", "dim")
    if value["reason"] is not None:
        text.append(f" {value['reason']}", STYLES["rejected"])
    text.append(f", balance {money(value['balance_after'], value['currency'])}", "dim")
    _print_under(screen, text)


def show_balances(screen: Console, balances: Mapping[str, Mapping[str, str]]) -> None:
    """The clients' balances as `wallet-balance` has them."""
    rows = table("client", "currency", "balance", right=("balance",))
    for client in sorted(balances):
        for currency, balance in sorted(balances[client].items()):
            rows.add_row(safe(client), currency, balance)
    screen.print(rows)


def _print_under(screen: Console, text: Text) -> None:
    """Where results stand, beside the commands or below them."""
    wide = screen.width >= _BESIDE_WIDTH_MIN
    _print_wrapped(screen, text, " " * (_COMMAND_WIDTH + 5) if wide else f"{_INDENT}  ")


def _print_wrapped(screen: Console, text: Text, indent: str) -> None:
    for number, line in enumerate(text.wrap(screen, max(20, screen.width - len(indent) - 2))):
        screen.print(Text(indent if number == 0 else f"{indent}  ").append_text(line))


def _command(step: Step) -> Text:
    line = Text(f"{step.client:<6} ", "bold")
    if isinstance(step.value, bytes):
        return line.append(safe_bytes(step.value))
    value = step.value
    line.append(str(value["type"]))
    amount = money(value.get("amount"), value.get("currency"))
    if amount:
        line.append(f" {amount}")
    if "order_id" in value:
        line.append(f" {value['order_id']}")
    if "to_client_id" in value:
        line.append(f" to {value['to_client_id']}")
    return line.append(f"  {value['command_id']}", "dim")


def _answer(record: Record) -> Text:
    reason = record.headers.get(DLT_REASON)
    if reason is not None:
        detail = safe_bytes(record.headers.get(f"{SPRING}exception-message"))
        return Text.assemble((f"dead {reason.decode()}", STYLES["dead"]), (f"  {detail}", "dim"))
    value: dict[str, Any] = orjson.loads(record.value or b"{}")
    line = Text(str(value["status"]), STYLES.get(value["status"], ""))
    if value["reason"] is not None:
        line.append(f" {value['reason']}", STYLES["rejected"])
    if value["duplicate"]:
        line.append(" (repeated)", "yellow")
    for wallet in value.get("wallets", ()):
        line.append(f"  {money(wallet['balance'], wallet['currency'])}")
    if value["balance_after"] is not None and "wallets" not in value:
        line.append(f"  balance {money(value['balance_after'], value['currency'])}")
    if value["detail"] is not None:
        line.append(f"  {safe(value['detail'])}", "dim")
    return line
