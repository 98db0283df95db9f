"""One record as one line: readable for a person, or a JSON object for a program."""

import re
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.text import Text

from ops.cli.screen import safe, safe_bytes
from ops.reading import Record
from schemas.header import DLT_REASON, SPRING
from schemas.topic import (
    DEAD_LETTERS,
    INPUTS,
    ORDER_RESULT,
    WALLET_BALANCE,
    WALLET_RESULT,
    Topics,
)

STYLES = {
    "applied": "green",
    "answered": "cyan",
    "rejected": "red",
    "dead": "bold red",
    "completed": "green",
    "failed": "red",
}
_VALUE_LENGTH = 160
_LINE_BREAKS = re.compile(rb"[\r\n]+")


def as_text(record: Record, topics: Topics, *, with_topic: bool) -> Text:
    """Time, client, and what a record of this topic has to say; nothing in it can move a cursor."""
    line = Text()
    if record.timestamp_ms >= 0:
        moment = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        line.append(f"{moment:%H:%M:%S}.{record.timestamp_ms % 1000:03d}", "dim")
    logical = topics.logical(record.topic)
    if with_topic:
        line.append(f"  {logical or safe(record.topic):<18}", "dim")
    line.append(f"  {safe_bytes(record.key, 64):<12}  ", "bold")
    line.append_text(_content(record, logical))
    return line


def as_json(record: Record) -> bytes:
    r"""The record as a JSON object without line breaks.

    A value that is JSON stands in `value`, to the digit as it was sent; any other is null there
    and stands in `value_text`, with `\x..` for what is no UTF-8. So do key and headers.
    """
    shown: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": _escaped(record.key),
        "headers": {name: _escaped(value) for name, value in record.headers.items()},
        "value": None,
    }
    if record.value is not None and _parsed(record.value) is not None:
        # Line breaks stand between JSON's tokens only.
        shown["value"] = orjson.Fragment(_LINE_BREAKS.sub(b" ", record.value))
    elif record.value is not None:
        shown["value_text"] = _escaped(record.value)
    return orjson.dumps(shown)


def money(amount: object, currency: object) -> str:
    """An amount with its currency, as far as they are there: `100.50 USD`."""
    return " ".join(safe(str(part)) for part in (amount, currency) if part is not None)


def _content(record: Record, logical: str | None) -> Text:
    if logical in DEAD_LETTERS:
        return _dead_letter(record)
    value = _parsed(record.value)
    if isinstance(value, dict):
        if logical == WALLET_RESULT:
            return _result(value)
        if logical == ORDER_RESULT:
            return _order(value)
        if logical == WALLET_BALANCE:
            return _balance(value)
        if logical in INPUTS:
            return _command(value)
    return Text(safe_bytes(record.value, _VALUE_LENGTH))


def _result(value: dict[str, Any]) -> Text:
    status = str(value["status"])
    line = Text(f"{value['type']:<17} ")
    line.append(f"{status:<8}", STYLES.get(status, ""))
    if value["reason"] is not None:
        line.append(f" {value['reason']}", STYLES.get(status, ""))
    if value["amount"] is not None:
        line.append(f"  {money(value['amount'], value['currency'])}")
    if value["counterparty"] is not None:
        direction = "from" if value["type"] in {"transfer_received", "refund"} else "to"
        line.append(f" {direction} {value['counterparty']}")
    if value.get("wallets") is not None:
        line.append_text(_wallets(value["wallets"]))
    elif value["balance_after"] is not None:
        line.append(f"  balance {money(value['balance_after'], value['currency'])}")
    return _with_id(line, value)


def _order(value: dict[str, Any]) -> Text:
    rejected = value["event"] == "request_rejected"
    line = Text(f"{value['event']:<17} ", "red" if rejected else "")
    line = Text.assemble(line)
    if value["order_id"] is not None:
        line.append(f" {value['order_id']}")
    if value["status"] is not None:
        line.append(f" {value['status']}", STYLES.get(value["status"], ""))
    if value["reason"] is not None:
        line.append(f" {value['reason']}", "red")
    if value["amount"] is not None:
        line.append(f"  {money(value['amount'], value['currency'])}")
    if value.get("wallets") is not None:
        line.append_text(_wallets(value["wallets"]))
    elif value["balance_after"] is not None:
        line.append(f"  balance {money(value['balance_after'], value['currency'])}")
    return _with_id(line, value)


def _with_id(line: Text, value: dict[str, Any]) -> Text:
    if value["command_id"] is not None:
        line.append(f"  {value['command_id']}", "dim")
    if value["duplicate"]:
        line.append("  repeated", "yellow")
    return line


def _balance(value: dict[str, Any]) -> Text:
    return Text("balances").append_text(_wallets(value["wallets"]))


def _wallets(wallets: list[dict[str, Any]]) -> Text:
    line = Text()
    for wallet in wallets:
        line.append(f"  {money(wallet['balance'], wallet['currency'])}")
        if wallet["held"].strip("0.") != "":
            line.append(f" (held {wallet['held']})")
        if wallet["status"] != "open":
            line.append(f" {wallet['status']}", "yellow")
    return line


def _command(value: dict[str, Any]) -> Text:
    """Anybody may have written it: every field may be anything."""
    line = Text(f"{safe(str(value.get('type')), 40):<17} ")
    amount = money(value.get("amount"), value.get("currency"))
    if amount:
        line.append(f" {amount}")
    if value.get("to_client_id") is not None:
        line.append(f" to {safe(str(value['to_client_id']), 64)}")
    return line.append(f"  {safe(str(value.get('command_id')), 64)}", "dim")


def _dead_letter(record: Record) -> Text:
    reason = safe_bytes(record.headers.get(DLT_REASON), 64)
    message = safe_bytes(record.headers.get(f"{SPRING}exception-message"), _VALUE_LENGTH)
    line = Text.assemble(("dead ", STYLES["dead"]), (reason, STYLES["dead"]), f"  {message}")
    return line.append(f"  {safe_bytes(record.value, _VALUE_LENGTH)}", "dim")


def _parsed(value: bytes | None) -> Any:
    """What the bytes say as JSON; None where they are none."""
    try:
        return orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None


def _escaped(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", errors="backslashreplace")
