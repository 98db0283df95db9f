"""`wallet send`: publish one command, and show what became of it."""

import secrets
from typing import Annotated, Any, NamedTuple

import orjson
import typer

from ops.cli import place
from ops.cli.answer import print_answer
from ops.cli.failure import UsageError, VerbError
from ops.cli.screen import print_json, say
from ops.cli.verb import Json, examples, single
from ops.reading import Answer, AnswerSearch, Reader, UnknownTopicError
from producers.publisher import Delivered, Input, Publisher
from schemas.command import COMMANDS
from schemas.request import REQUESTS
from schemas.settings import Settings
from schemas.topic import INPUTS, ORDER_REQUEST, WALLET_COMMAND, Topics

_TYPES = {WALLET_COMMAND: COMMANDS, ORDER_REQUEST: REQUESTS}
_ALL_TYPES = sorted({*COMMANDS, *REQUESTS})

_EPILOG = examples(
    "wallet send deposit alice 100.50 --wait",
    "wallet send transfer alice 10 --to bob --reference lunch --wait",
    "wallet send debit alice 5 --id refund-17 --wait --json",
    'wallet send register_client bob --name "Bob" --email bob@example.org',
    "wallet send open_wallet bob --currency EUR --wait",
    "wallet send hold alice 20 --hold room-7 --expires-at 2026-03-01T12:00:00Z --wait",
    "wallet send capture alice 15 --hold room-7 --wait",
    "wallet send refund alice --original cli-5f0c1a2b3d4e --wait",
    "wallet send get_wallet alice --wait",
    "wallet send get_history alice --limit 20 --wait",
)


class _Sent(NamedTuple):
    """A published command: its value, where it stands, and its answer if one was waited for."""

    value: dict[str, Any]
    place: Delivered
    answer: Answer | None


def _option(metavar: str, help_text: str, *names: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help_text, show_default=False)


_Type = Annotated[str, typer.Argument(metavar="TYPE", help=f"One of {', '.join(_ALL_TYPES)}.")]
_Client = Annotated[
    str, typer.Argument(metavar="CLIENT", help="The client's id: the record's key.")
]
_Amount = Annotated[
    str | None,
    typer.Argument(metavar="AMOUNT", help="Such as 100.50, where the type moves money."),
]
_Currency = Annotated[
    str | None,
    _option("CODE", "Default: WALLET_DEFAULT_CURRENCY, or that of what is referred to."),
]
_Id = Annotated[
    str | None,
    _option(
        "ID",
        "The command_id; a new one by default. The same again is not applied again,"
        " its first outcome is repeated.",
        "--id",
    ),
]
_To = Annotated[str | None, _option("CLIENT", "transfer: who receives.", "--to")]
_Merchant = Annotated[str | None, _option("ID", "payment: who is paid.", "--merchant")]
_Original = Annotated[str | None, _option("ID", "refund: the command_id refunded.", "--original")]
_Hold = Annotated[
    str | None,
    _option("ID", "hold, capture, release: the hold; of a new one, default the --id.", "--hold"),
]
_Expires = Annotated[
    str | None, _option("TIME", "hold: when it releases itself: 2026-03-01T12:00:00Z.")
]
_Limit = Annotated[
    int | None, _option("COUNT", "get_history: transactions on a page, 1 to 100; default 50.")
]
_Before = Annotated[
    str | None, _option("ID", "get_history: the transaction_id that the page ends before.")
]
_Name = Annotated[str | None, _option("NAME", "register_client: the client's name.")]
_Email = Annotated[str | None, _option("EMAIL", "register_client: nobody else's.")]
_Phone = Annotated[
    str | None, _option("PHONE", "register_client: such as +4915112345678; nobody else's.")
]
_Text = Annotated[str | None, _option("TEXT", "Up to 255 characters.")]
_Metadata = Annotated[
    list[str] | None, _option("KEY=VALUE", "Your own; may be given several times.")
]
_Occurred = Annotated[
    str | None, _option("TIME", "When it happened upstream: 2026-03-01T12:00:00Z.")
]
_Topic = Annotated[
    str | None,
    _option("TOPIC", f"{' or '.join(INPUTS)}; by default the first that knows the type."),
]
_Wait = Annotated[bool, typer.Option("--wait", help="Wait for the result and show it.")]
_Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long --wait waits.")]


def _send(
    type_: _Type,
    client: _Client,
    amount: _Amount = None,
    *,
    currency: _Currency = None,
    id_: _Id = None,
    to: _To = None,
    merchant: _Merchant = None,
    original: _Original = None,
    hold: _Hold = None,
    expires_at: _Expires = None,
    limit: _Limit = None,
    before: _Before = None,
    name: _Name = None,
    email: _Email = None,
    phone: _Phone = None,
    reference: _Text = None,
    description: _Text = None,
    metadata: _Metadata = None,
    occurred_at: _Occurred = None,
    topic: _Topic = None,
    wait: _Wait = False,
    timeout: _Timeout = 30.0,
    as_json: Json = False,
) -> None:
    """Publish one command. With --wait: 0 applied or answered, 1 rejected, dead, or no answer.

    Amounts and texts are not judged here but by the worker, whose refusal is a result, too.
    """
    input_topic = _input_topic(type_, topic)
    value = {
        "command_id": id_ or f"cli-{secrets.token_hex(6)}",
        "type": type_,
        "amount": amount,
        "currency": currency,
        "to_client_id": to,
        "merchant_id": merchant,
        "original_command_id": original,
        "hold_id": hold,
        "expires_at": expires_at,
        "limit": limit,
        "before": before,
        "name": name,
        "email": email,
        "phone": phone,
        "reference": reference,
        "description": description,
        "metadata": _metadata(metadata or []),
        "occurred_at": occurred_at,
    }
    value = {field: given for field, given in value.items() if given is not None}
    _check_fields(type_, input_topic, value)
    record = Input(input_topic, client.encode(), orjson.dumps(value))
    try:
        sent = _publish(place.kafka(), record, value, timeout if wait else None)
    except UnknownTopicError as error:
        raise VerbError(f"{error}: run `wallet topics apply`") from error
    if wait:
        _show_answer(sent, timeout, as_json=as_json)
    else:
        _show_place(sent, client, as_json=as_json)


def _input_topic(type_: str, given: str | None) -> str:
    if given is not None and given not in INPUTS:
        raise UsageError(f"--topic is one of {', '.join(INPUTS)}, not {given!r}")
    for topic in [given] if given else INPUTS:
        if type_ in _TYPES[topic]:
            return topic
    known = sorted(_TYPES[given]) if given else _ALL_TYPES
    raise UsageError(f"there is no type {type_!r}; there are {', '.join(known)}")


def _metadata(pairs: list[str]) -> dict[str, str] | None:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UsageError(f"--metadata takes KEY=VALUE, not {wrong[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs) or None


def _check_fields(type_: str, input_topic: str, value: dict[str, Any]) -> None:
    """UsageError for what the type does not take, or can't do without: a slip, not a command."""
    fields = _TYPES[input_topic][type_].model_fields
    option = {
        "amount": "AMOUNT",
        "to_client_id": "--to",
        "merchant_id": "--merchant",
        "original_command_id": "--original",
        "hold_id": "--hold",
    }
    wrong = [option.get(f, f"--{f.replace('_', '-')}") for f in value if f not in fields]
    if wrong:
        raise UsageError(f"{type_} takes no {' and no '.join(wrong)}")
    missing = [f for f, field in fields.items() if field.is_required() and f not in value]
    if missing:
        named = " and ".join(option.get(f, f"--{f.replace('_', '-')}") for f in missing)
        raise UsageError(f"{type_} needs {named}")


def _publish(
    settings: Settings, record: Input, value: dict[str, Any], timeout_s: float | None
) -> _Sent:
    publisher = Publisher(settings)  # first: it takes half a second to introduce itself
    with Reader(settings) as reader:
        real = Topics(settings.topic_prefix).real(record.topic)
        if timeout_s is None:
            reader.bounds([real])  # an unknown topic or an absent broker is told at once
            return _Sent(value, publisher.publish(record), None)
        search = AnswerSearch(reader, settings, real)
        delivered = publisher.publish(record)
        return _Sent(value, delivered, search.find(delivered, record.key or b"", timeout_s))


def _show_place(sent: _Sent, client: str, *, as_json: bool) -> None:
    value, at = sent.value, sent.place
    if as_json:
        names = {"command_id": value["command_id"], "type": value["type"], "client_id": client}
        print_json(names | at._asdict())
    else:
        say(f"Published {value['command_id']} to {at.topic}/{at.partition}/{at.offset}.")


def _show_answer(sent: _Sent, timeout_s: float, *, as_json: bool) -> None:
    if sent.answer is None:
        at = sent.place
        raise VerbError(
            f"no answer to {sent.value['command_id']} ({at.topic}/{at.partition}/{at.offset}) "
            f"within {timeout_s:g} s. It stays in the topic and is answered when a worker and a "
            "relay run: `wallet run all`"
        )
    if not print_answer(sent.answer, sent.place, as_json=as_json):
        raise typer.Exit(1)


application = single(_send, _EPILOG, "send")
