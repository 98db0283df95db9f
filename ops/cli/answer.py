"""The answer to a command that was sent, for whoever waits for it."""

from typing import Any

import orjson
from rich.text import Text

from ops.cli.account import transaction_table, wallet_table
from ops.cli.line import STYLES, money
from ops.cli.screen import console, print_json, safe, safe_bytes, table
from ops.reading import Answer
from producers.publisher import Delivered
from schemas.header import SPRING

# What a person wants to know of a result, in this order; null fields are left out.
_FIELDS = (
    "detail",
    "command_id",
    "transaction_id",
    "counterparty",
    "hold_id",
    "merchant_id",
    "order_id",
    "original_command_id",
    "reference",
    "description",
    "occurred_at",
)


def print_answer(answer: Answer, source: Delivered, *, as_json: bool) -> bool:
    """Show a result or a dead letter; whether the command was applied or answered.

    As JSON: the result's value as it was published, or for a dead letter an object whose status
    is `dead`.
    """
    if answer.reason is not None:
        _print_dead(answer, source, as_json=as_json)
        return False
    value: dict[str, Any] = orjson.loads(answer.record.value or b"")
    if as_json:
        print_json(value)
    else:
        _print_result(value)
    return not (value.get("status") == "rejected" or value.get("event") == "request_rejected")


def _print_dead(answer: Answer, source: Delivered, *, as_json: bool) -> None:
    detail = answer.record.headers.get(f"{SPRING}exception-message")
    if as_json:
        print_json(
            {
                "status": "dead",
                "reason": answer.reason,
                "detail": None if detail is None else detail.decode("utf-8", "replace"),
                "source": source._asdict(),
                "dead_letter": {
                    "topic": answer.record.topic,
                    "partition": answer.record.partition,
                    "offset": answer.record.offset,
                },
            }
        )
        return
    screen = console()
    screen.print(Text(f"dead: {answer.reason}", STYLES["dead"]))
    rows = table("", "")
    rows.show_header = False
    rows.add_row("detail", safe_bytes(detail, 1000))
    record = answer.record
    rows.add_row("dead letter", f"{record.topic}/{record.partition}/{record.offset}")
    screen.print(rows)


def _print_result(value: dict[str, Any]) -> None:
    screen = console()
    screen.print(_headline(value))
    rows = table("", "")
    rows.show_header = False
    for field in _FIELDS:
        if value.get(field) is not None:
            rows.add_row(field.replace("_", " "), safe(str(value[field])))
    if value.get("balance_after") is not None and value.get("wallets") is None:
        before = money(value.get("balance_before"), None)
        after = money(value["balance_after"], value["currency"])
        rows.add_row("balance", f"{before} → {after}" if before else after)
    screen.print(rows)
    if value.get("wallets"):
        screen.print(wallet_table(value["wallets"]))
    if value.get("transactions"):
        screen.print(transaction_table(value["transactions"]))


def _headline(value: dict[str, Any]) -> Text:
    outcome = str(value.get("event") or value["status"])
    kind = "rejected" if outcome == "request_rejected" else outcome
    line = Text(outcome, f"bold {STYLES.get(kind, 'cyan')}")
    if value.get("reason") is not None:
        line.append(f": {value['reason']}", STYLES.get(kind, ""))
    if value.get("type") is not None:
        line.append(f"  {value['type']}")
    if value.get("amount") is not None:
        line.append(f"  {money(value['amount'], value['currency'])}")
    if value.get("duplicate"):
        line.append("  (repeated: the first outcome)", "yellow")
    return line
