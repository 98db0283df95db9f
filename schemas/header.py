"""Record headers: CloudEvents going out, the dead letters' families, and what an input hands on."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

# What Kafka clients hand over: names may repeat, a value may be null.
InputHeaders = Sequence[tuple[str, bytes | None]]
OutputHeaders = list[tuple[str, bytes]]
EventHeaders = list[tuple[str, str | bytes | None]]

CONTENT_TYPE: Final = "content-type"
CE_SPECVERSION: Final = "ce_specversion"
CE_ID: Final = "ce_id"
CE_TYPE: Final = "ce_type"
CE_SOURCE: Final = "ce_source"
CE_TIME: Final = "ce_time"
CE_SUBJECT: Final = "ce_subject"
CORRELATION_ID: Final = "correlation-id"
CAUSATION_ID: Final = "causation-id"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

DLT_REASON: Final = "wallet-dlt-reason"
DLT_ATTEMPTS: Final = "wallet-dlt-attempts"
DLT_REPLAYS: Final = "wallet-dlt-replays"
SPRING: Final = "kafka_dlt-"
CONNECT: Final = "__connect.errors."

_JSON_CONTENT = (CONTENT_TYPE, b"application/json")
_SPECVERSION = (CE_SPECVERSION, b"1.0")
_SOURCE = (CE_SOURCE, b"/wallet")
_TRACE = frozenset((TRACEPARENT, TRACESTATE))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CORRELATION_ID_MAX = 255
_MESSAGE_CHARACTERS_MAX = 1_000


# One argument a header: an object made for each record would be felt at 10,000 a second.
def event_headers(  # noqa: PLR0913, PLR0917
    event_id: str,
    event_type: str,
    client_id: str | bytes,
    time: str,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    further: Iterable[tuple[str, bytes | None]] = (),
) -> EventHeaders:
    """The headers of one output record: CloudEvents 1.0, Kafka binding, binary mode.

    `time` is a moment as `format_moment` writes it; `further` (traceparent, tracestate) goes to the
    end as it is. Texts stay texts, which confluent-kafka encodes in half the time: as UTF-8, and up
    to the first NUL, which none of these has.
    """
    headers: EventHeaders = [
        _JSON_CONTENT,
        _SPECVERSION,
        (CE_ID, event_id),
        (CE_TYPE, event_type),
        _SOURCE,
        (CE_TIME, time),
        (CE_SUBJECT, client_id),
    ]
    if correlation_id:
        headers.append((CORRELATION_ID, correlation_id))
    if causation_id:
        headers.append((CAUSATION_ID, causation_id))
    headers.extend(further)
    return headers


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What a dead letter's headers say. `topic` is the real one, `timestamp_ms` the input's own
    (-1 where it has none), `attempts` how often it was tried.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    detail: str
    attempts: int = 1


def dead_letter_headers(
    letter: DeadLetter, inputs: InputHeaders | None
) -> list[tuple[str, bytes | None]]:
    """The input's own headers, all kept, then Spring's family, Connect's and ours.

    What is added stays under 4 KiB. A name that the input bears already stands twice then, and
    the last one is the newest, which is what Kafka's `lastHeader` returns.
    """
    own = list(inputs or ())
    message = _CONTROL.sub(" ", letter.detail)[:_MESSAGE_CHARACTERS_MAX]
    name = f"wallet.{letter.reason}"
    added = {
        f"{SPRING}original-topic": letter.topic,
        f"{SPRING}original-partition": letter.partition,
        f"{SPRING}original-offset": letter.offset,
        f"{SPRING}original-timestamp": letter.timestamp_ms,
        f"{SPRING}exception-fqcn": name,
        f"{SPRING}exception-message": message,
        f"{CONNECT}topic": letter.topic,
        f"{CONNECT}partition": letter.partition,
        f"{CONNECT}offset": letter.offset,
        f"{CONNECT}stage": _stage(letter.reason),
        f"{CONNECT}exception.class.name": name,
        f"{CONNECT}exception.message": message,
        DLT_REASON: letter.reason,
        DLT_ATTEMPTS: letter.attempts,
        DLT_REPLAYS: replay_count(own),
    }
    return [*own, *((header, str(value).encode()) for header, value in added.items())]


def letter_place(headers: InputHeaders) -> str | None:
    """The place of the input that a dead letter stands for, `topic/partition/offset`, by its own
    headers; None where they are no dead letter's.
    """
    parts = [_last(headers, f"{SPRING}original-{part}") for part in _PLACE]
    if _last(headers, DLT_REASON) is None or None in parts:
        return None
    return "/".join(part.decode("utf-8", "replace") for part in parts if part is not None)


_PLACE = ("topic", "partition", "offset")


def _stage(reason: str) -> str:
    """Connect's name for the step that failed (org.apache.kafka.connect…errors.Stage)."""
    if reason == "poison":
        return "TASK_PUT"
    return "KEY_CONVERTER" if reason in ("missing_key", "invalid_key") else "VALUE_CONVERTER"


def replay_count(inputs: InputHeaders | None) -> int:
    """How often the record has come back from a dead letter topic: 0 where nothing says so."""
    value = _last(inputs, DLT_REPLAYS)
    return int(value) if value is not None and re.fullmatch(rb"[0-9]{1,9}", value) else 0


def correlation(inputs: InputHeaders | None, command_id: str) -> str:
    """The input's correlation-id where it is text fit to be stored and sent on (UTF-8, no control
    characters, 1 to 255 characters), else its `command_id`.
    """
    value = _last(inputs, CORRELATION_ID) if inputs else None
    if not value:
        return command_id
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return command_id
    fit = len(text) <= _CORRELATION_ID_MAX and _CONTROL.search(text) is None
    return text if fit else command_id


def trace_headers(inputs: InputHeaders | None) -> OutputHeaders:
    """The input's traceparent and tracestate (W3C Trace Context), byte for byte, where given."""
    if not inputs:
        return []
    return [(name, value) for name, value in inputs if name in _TRACE and value is not None]


def _last(inputs: InputHeaders | None, name: str) -> bytes | None:
    return next((v for n, v in reversed(inputs or ()) if n == name), None)


def pack_headers(headers: Iterable[tuple[str, bytes | None]]) -> bytes:
    """Headers as one column of the outbox: a JSON list of [name, latin-1 text or null]."""
    return orjson.dumps([(n, None if v is None else v.decode("latin-1")) for n, v in headers])


def unpack_headers(packed: bytes) -> list[tuple[str, bytes | None]]:
    """What `pack_headers` packed, byte for byte."""
    return [(n, None if v is None else v.encode("latin-1")) for n, v in orjson.loads(packed)]
