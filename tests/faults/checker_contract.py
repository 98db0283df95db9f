"""Records as the public contract reads them: commands, dead letters' reasons, amounts.

Written from the contract alone. It knows the four currencies that the fault tests send.
"""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from typing import Any, NamedTuple

from tests.faults.checker_evidence import Place, Seen
from tests.ledger.term import GIVING, LIMIT, QUERIES, STATUSES, TAKING, Sent

SCALES = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
DEFAULT_CURRENCY = "USD"
REFERRING = ("capture", "release", "refund", "cancel_order", "retry_order", "get_order")

_CLIENT_ID = re.compile(rb"[A-Za-z0-9._:@-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
_MOVING = (*GIVING, *TAKING, "transfer", "refund", "hold", "place_order")
_TYPES = {
    "wallet-command": {
        *_MOVING, *STATUSES, *QUERIES, "release", "register_client", "open_wallet",
    } - {"place_order"},
    "order-request": {"place_order", "cancel_order", "retry_order", "get_order", "get_wallet"},
}  # fmt: skip
_EVERYWHERE = {
    "command_id", "type", "client_id", "currency", "reference", "description", "metadata",
    "occurred_at",
}  # fmt: skip
_MORE = {
    "payment": {"merchant_id"}, "transfer": {"to_client_id"}, "refund": {"original_command_id"},
    "hold": {"hold_id", "expires_at"}, "capture": {"hold_id"}, "release": {"hold_id"},
    "register_client": {"name", "email", "phone"}, "get_history": {"limit", "before"},
    "place_order": {"order_id", "items"}, "cancel_order": {"order_id"},
    "retry_order": {"order_id"}, "get_order": {"order_id"},
}  # fmt: skip
_REQUIRED = {
    "payment": {"merchant_id"}, "transfer": {"to_client_id"}, "refund": {"original_command_id"},
    "capture": {"hold_id"}, "release": {"hold_id"}, "register_client": {"name"},
    "cancel_order": {"order_id"}, "retry_order": {"order_id"}, "get_order": {"order_id"},
}  # fmt: skip


class Command(NamedTuple):
    """A record whose envelope can be read. `content` is equal where two contents are the same;
    `amount` waits for its currency where the command refers to an earlier one.
    """

    sent: Sent
    content: str
    amount: str | None
    expires_at: str | None
    is_query: bool


def read(seen: Seen, kind: str) -> Command | str:
    """The command, or the reason for which the record is dead."""
    key, value = seen.key or b"", seen.value or b""
    if not key:
        return "missing_key"
    if not _CLIENT_ID.fullmatch(key):
        return "invalid_key"
    if not value:
        return "empty_value"
    if len(value) > 64 * 1024:
        return "too_large"
    try:
        fields = json.loads(value, parse_float=Decimal, object_pairs_hook=_once)
    except ValueError:
        return "not_json"
    if not isinstance(fields, dict):
        return "not_an_object"
    fields = {name: given for name, given in fields.items() if given is not None}
    if fields.get("client_id", key.decode()) != key.decode():
        return "key_mismatch"
    if "command_id" not in fields:
        return "missing_command_id"
    if not (isinstance(fields["command_id"], str) and _ID.fullmatch(fields["command_id"])):
        return "invalid_command_id"
    if fields.get("type") not in _TYPES[kind]:
        return "unknown_type"
    return _command(key.decode(), fields, kind)


def minor(amount: str, currency: str) -> int | None:
    """An amount in minor units; None where the currency can't have it."""
    if not _AMOUNT.fullmatch(amount):
        return None
    shifted = Decimal(amount).scaleb(SCALES[currency])
    return int(shifted) if shifted == int(shifted) and 0 < shifted <= LIMIT else None


def told(amount: str | None, currency: str | None) -> int | None:
    """A balance or amount as results tell it, with the currency's full scale, in minor units."""
    if amount is None or currency is None:
        return None
    digits = amount.partition(".")[2]
    if len(digits) != SCALES[currency]:
        raise ValueError(f"{amount} {currency} does not have the currency's scale")
    return int(amount.replace(".", ""))


def source_of(result: dict[str, Any]) -> Place | None:
    """The record that a result answers; None where it answers none."""
    source = result["source"]
    return source and Place(source["topic"], source["partition"], source["offset"])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _command(client: str, fields: dict[str, Any], kind: str) -> Command:
    type_, referring = fields["type"], fields["type"] in REFERRING
    if type_ == "place_order":
        fields.setdefault("order_id", _order_id(client, fields["command_id"]))
    currency = fields.get("currency")
    if currency is None and not referring and type_ not in QUERIES:
        currency = DEFAULT_CURRENCY
    amount = fields.get("amount")
    text = None if amount is None else str(amount)
    sent = Sent(
        client, fields["command_id"], type_, currency, None, fields.get("to_client_id"),
        fields.get("name"), fields.get("email"), fields.get("phone"), _fault(fields, currency),
        fields.get("merchant_id"), fields.get("hold_id"), fields.get("original_command_id"),
        limit=fields.get("limit"), order=fields.get("order_id"),
    )  # fmt: skip
    if text is not None and not referring and sent.fault is None:
        sent = sent._replace(amount=minor(text, str(currency)))
    return Command(
        sent, _content(fields, kind, currency, text, sent.amount), text if referring else None,
        fields.get("expires_at"), type_ in (*QUERIES, "get_order"),
    )  # fmt: skip


def _order_id(client: str, command_id: str) -> str:
    """The id of an order whose request names none."""
    return f"ORD-{hashlib.sha256(f'{client}/{command_id}'.encode()).hexdigest()[:20]}"


def _fault(fields: dict[str, Any], currency: str | None) -> str | None:
    type_ = fields["type"]
    allowed = _EVERYWHERE | _MORE.get(type_, set()) | ({"amount"} if type_ in _MOVING else set())
    if not fields.keys() <= allowed or not _REQUIRED.get(type_, set()) <= fields.keys():
        return "invalid_request"
    if currency is not None and currency not in SCALES:
        return "unknown_currency"
    may_lack = type_ in REFERRING or type_ not in _MOVING
    if "amount" not in fields:
        return None if may_lack else "invalid_amount"
    scale_of = currency or DEFAULT_CURRENCY
    if type_ not in REFERRING and minor(str(fields["amount"]), scale_of) is None:
        return "invalid_amount"
    return None


def _content(
    fields: dict[str, Any], kind: str, currency: str | None, text: str | None, amount: int | None
) -> str:
    """The content as text, for comparison: sorted, defaults filled in, amounts in minor units."""
    left = {
        name: given
        for name, given in fields.items()
        if name not in ("client_id", "occurred_at", "metadata")
    }
    left["currency"] = currency
    if amount is not None:
        left["amount"] = amount
    elif text is not None:
        left["amount"] = [str(Decimal(text).normalize()) if _AMOUNT.fullmatch(text) else text]
    return kind + json.dumps(left, sort_keys=True, default=str)
