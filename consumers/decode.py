"""The edge: a record's bytes into a command, a refused command, or a dead record."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import orjson
from pydantic import ValidationError

from consumers.fingerprint import fingerprint
from consumers.strict_json import number_text, parse_json, write_json
from ledger.command import Command, Profile, Source
from ledger.currency import Currencies, CurrencyError, is_code
from ledger.money import AMOUNT_MINOR_MAX, parse_number_text, parse_text, shortest_text
from ledger.refusal import Refusal
from schemas.command import COMMANDS
from schemas.envelope import Envelope, Query, Reference
from schemas.header import correlation, pack_headers, trace_headers
from schemas.moment import parse_moment
from schemas.request import REQUESTS
from schemas.topic import ORDER_REQUEST, WALLET_COMMAND

VALUE_BYTES_MAX: Final = 64 * 1024

_CLIENT_ID = re.compile(rb"[A-Za-z0-9._:@-]{1,64}")
_COMMAND_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# Only a name like this is repeated to the sender; another may be anything, an address for one.
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_FAULTS_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A record that can't be answered: the first reason that holds, and a safe sentence."""

    reason: str
    detail: str


# In the order in which they are looked for (contract §3).
_DEAD = {
    "missing_key": "The record has no key: the client's id is the key.",
    "invalid_key": "The key is no client id: 1 to 64 of A-Z a-z 0-9 . _ : @ - in UTF-8.",
    "empty_value": "The record has no value: a JSON object is expected.",
    "too_large": f"The value is larger than {VALUE_BYTES_MAX} bytes.",
    "not_json": "The value is no strict JSON text in UTF-8",
    "not_an_object": "The value is JSON, but no object.",
    "key_mismatch": "client_id is not the record's key.",
    "missing_command_id": "command_id is missing.",
    "invalid_command_id": "command_id is not 1 to 64 of A-Z a-z 0-9 . _ : -",
    "unknown_type": "type is missing, or none of this topic's: ",
}
# `poison` is what the worker finds out by trying (its own code, or the database, fails on it).
DEAD_REASONS: Final = (*_DEAD, "poison")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the decoder asks of one type's model, looked up once."""

    type: str
    validate: Callable[[object], Envelope]
    rules: Mapping[str, str]  # field -> the noun phrase with which its description begins
    moves_money: bool
    needs_amount: bool
    is_query: bool
    is_reference: bool
    rare_ids: tuple[str, ...]  # of Command's, those that this type has
    rare_values: tuple[str, ...]  # likewise; they are of no use to a command that is refused
    default_id: tuple[str, Callable[[str, str], str]] | None  # field, made from client and command


def _shape(name: str, model: type[Envelope]) -> _Shape:
    fields = model.model_fields
    return _Shape(
        name,
        model.__pydantic_validator__.validate_python,
        {field: (info.description or "").partition(";")[0] for field, info in fields.items()},
        "amount" in fields,
        "amount" in fields and fields["amount"].is_required(),
        issubclass(model, Query),
        issubclass(model, Reference),
        tuple(f for f in _RARE_IDS if f in fields),
        tuple(f for f in ("expires_at", "limit", "before") if f in fields),
        _DEFAULT_IDS.get(name),
    )


def default_order_id(client_id: str, command_id: str) -> str:
    """The id of an order that names none: the same for the same command, whoever computes it."""
    digest = sha256(f"{client_id}/{command_id}".encode()).hexdigest()
    return f"ORD-{digest[:20]}"


_RARE_IDS = ("merchant_id", "hold_id", "original_command_id", "order_id")
_DEFAULT_IDS: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "hold": ("hold_id", lambda _client_id, command_id: command_id),
    "place_order": ("order_id", default_order_id),
}


_SHAPES: Final = {
    kind: {name: _shape(name, model) for name, model in models.items()}
    for kind, models in ((WALLET_COMMAND, COMMANDS), (ORDER_REQUEST, REQUESTS))
}


class Decoder:
    """Decodes the records of both input topics; `default_currency` is that of commands which name
    none. CurrencyError where it is no known currency.
    """

    __slots__ = ("_currencies", "_default_currency", "_default_scale")

    def __init__(self, currencies: Currencies, default_currency: str) -> None:
        scale = currencies.scale(default_currency)
        if scale is None:
            raise CurrencyError(f"the default currency {default_currency!r} is not known")
        self._currencies = currencies
        self._default_scale = scale
        self._default_currency = default_currency

    # A consumed message's parts as they come: an object made for each would be felt.
    def decode(  # noqa: PLR0913, PLR0917
        self,
        kind: str,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None,
    ) -> Command | DeadRecord:
        """One record of `topic`, whose name without the prefix is `kind`.

        Never raises for any key, value or headers. A Command with a refusal still has every field
        that could be read, for the answer's echo; no text in it is unfit for the database.
        """
        envelope = _open(kind, key, value)
        if isinstance(envelope, DeadRecord):
            return envelope
        client_id, content, shape = envelope
        try:
            valid, refusal = shape.validate(content).__dict__, None
        except ValidationError as error:
            valid, refusal = _salvage(content, shape, error)
        currency, scale, unknown = self._currency(content, valid, shape)
        amount_minor, amount_text, invalid = _amount(content, shape, currency, scale)
        command_id, metadata = content["command_id"], valid.get("metadata")
        refusal = refusal or unknown or invalid
        if shape.default_id is not None:
            field, make = shape.default_id
            if field not in content:
                content[field] = valid[field] = make(client_id, command_id)
        command = Command(
            client_id,
            command_id,
            shape.type,
            fingerprint(kind, content, currency=currency, amount=amount_text),
            Source(topic, partition, offset),
            currency,
            amount_minor,
            refusal,
            valid.get("reference"),
            valid.get("description"),
            None if metadata is None else orjson.dumps(metadata).decode(),
            valid.get("occurred_at"),
            correlation(headers, command_id) if headers else command_id,
            valid.get("to_client_id"),
            _profile(shape, valid) if refusal is None else None,
        )
        if shape.rare_ids or shape.rare_values or shape.is_reference:
            _add_rare(command, content, valid, shape)
            if kind == ORDER_REQUEST and headers:
                trace = trace_headers(headers)
                command.headers = pack_headers(trace) if trace else None
        return command

    def _currency(
        self, content: dict[str, Any], valid: dict[str, Any], shape: _Shape
    ) -> tuple[str | None, int | None, Refusal | None]:
        """The command's currency, its scale where it is known, and what is wrong with it."""
        given: str | None = valid.get("currency")
        if given is None:
            if shape.is_query or shape.is_reference or "currency" in content:
                return None, None, None
            return self._default_currency, self._default_scale, None
        scale = self._currencies.scale(given)
        if scale is not None:
            # An amount is judged by the currency of what is referred to, whatever is given here.
            return given, None if shape.is_reference else scale, None
        if is_code(given):
            return given, None, Refusal("unknown_currency", f"{given} is no known currency.")
        return None, None, Refusal("unknown_currency", "currency must be a known code, as USD is.")


def _amount(
    content: dict[str, Any], shape: _Shape, currency: str | None, scale: int | None
) -> tuple[int | None, str | None, Refusal | None]:
    """The amount in minor units, its shortest text, and what is wrong with it.

    Without a known scale it is read with the decimals it has: its text is the same then as when
    the currency will be known, and the minor units stay None.
    """
    if not shape.moves_money:
        return None, None, None
    raw = content.get("amount")
    if raw is None:
        missing = Refusal("invalid_amount", "amount is missing.") if shape.needs_amount else None
        return None, None, missing
    text = raw if type(raw) is str else number_text(raw)
    if text is None:
        return None, None, Refusal("invalid_amount", "amount must be a string or a number.")
    parse = parse_text if text is raw else parse_number_text
    if scale is None:
        if parse(text, len(text.partition(".")[2])) is not None:
            return None, shortest_text(text), None
        return None, None, _UNREADABLE if shape.is_reference else None
    minor = parse(text, scale)
    if minor is None:
        return None, None, Refusal("invalid_amount", _amount_rule(scale, currency))
    return minor, shortest_text(text), None


_UNREADABLE = Refusal(
    "invalid_amount", "amount must be plain digits above zero, without an exponent."
)


def _add_rare(
    command: Command, content: dict[str, Any], valid: dict[str, Any], shape: _Shape
) -> None:
    """Add the fields that few types have, so that the others' commands cost nothing for them."""
    for field in shape.rare_ids:
        setattr(command, field, valid.get(field))
    if command.refusal is not None:
        return
    for field in shape.rare_values:
        setattr(command, field, valid.get(field))
    if "items" in content:
        command.items = write_json(content["items"]).decode()
    amount = content.get("amount")
    if shape.is_reference and shape.moves_money and amount is not None:
        command.amount_text = amount if type(amount) is str else number_text(amount)


def _open(
    kind: str, key: bytes | None, value: bytes | None
) -> DeadRecord | tuple[str, dict[str, Any], _Shape]:
    """The client, the value without its nulls and its type's shape; or why the record is dead."""
    if not key:
        return _dead("missing_key")
    client_id = _client_id(key)
    if client_id is None:
        return _dead("invalid_key")
    if not value:
        return _dead("empty_value")
    if len(value) > VALUE_BYTES_MAX:
        return _dead("too_large")
    try:
        parsed = parse_json(value)
    except ValueError as error:
        return _dead("not_json", _place(error))
    if not isinstance(parsed, dict):
        return _dead("not_an_object")
    if None in parsed.values():  # null equals absent
        parsed = {field: item for field, item in parsed.items() if item is not None}
    return _identify(kind, client_id, parsed)


@lru_cache(maxsize=50_000)  # a client's one text, too: what is looked up by it is found sooner
def _client_id(key: bytes) -> str | None:
    return key.decode() if _CLIENT_ID.fullmatch(key) is not None else None


def _identify(
    kind: str, client_id: str, content: dict[str, Any]
) -> DeadRecord | tuple[str, dict[str, Any], _Shape]:
    if content.get("client_id", client_id) != client_id:
        return _dead("key_mismatch")
    command_id = content.get("command_id")
    if command_id is None:
        return _dead("missing_command_id")
    if type(command_id) is not str or _COMMAND_ID.fullmatch(command_id) is None:
        return _dead("invalid_command_id")
    shapes, name = _SHAPES[kind], content.get("type")
    shape = shapes.get(name) if type(name) is str else None
    if shape is None:
        return _dead("unknown_type", ", ".join(shapes) + ".")
    return client_id, content, shape


def _dead(reason: str, more: str = "") -> DeadRecord:
    return DeadRecord(reason, _DEAD[reason] + more)


def _place(error: ValueError) -> str:
    # The parser's own sentence may repeat a key of the sender's.
    found = re.search(r"line ([0-9]+) column ([0-9]+)", str(error))
    return "." if found is None else f": see line {found[1]}, column {found[2]}."


def _salvage(
    content: dict[str, Any], shape: _Shape, error: ValidationError
) -> tuple[dict[str, Any], Refusal | None]:
    """The fields that are in order, and the refusal, None where only the amount is at fault."""
    faults: dict[str, str] = {}
    for e in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(e["loc"][0])
        if field != "amount" or not shape.moves_money:
            faults.setdefault(field, _fault(field, e["type"], shape))
    valid = {f: v for f, v in content.items() if f in shape.rules and f not in faults}
    if "occurred_at" in valid:
        valid["occurred_at"] = parse_moment(valid["occurred_at"])
    if not faults:
        return valid, None
    named = list(faults.values())[:_FAULTS_NAMED_MAX]
    more = len(faults) - len(named)
    detail = "; ".join(named) + (f"; and {more} more." if more else ".")
    return valid, Refusal("invalid_request", detail)


def _fault(field: str, error_type: str, shape: _Shape) -> str:
    if error_type == "missing":
        return f"{field} is missing"
    if field in shape.rules:
        return f"{field} must be {shape.rules[field]}"
    named = field if _FIELD_NAME.fullmatch(field) else "a name that is not repeated here"
    return f"{named} is no field of {shape.type}"


def _amount_rule(scale: int, currency: str | None) -> str:
    decimals = f"at most {scale} decimals" if scale else "no decimals"
    return (
        f"amount must be plain digits above zero, with {decimals} for {currency} and no exponent; "
        f"as a number at most 15 digits; at most {AMOUNT_MINOR_MAX} minor units."
    )


def _profile(shape: _Shape, valid: dict[str, Any]) -> Profile | None:
    if shape.type != "register_client":
        return None
    return Profile(valid["name"], valid.get("email"), valid.get("phone"))
