"""What an HTTP answer, or its absence, says of a fulfillment: contract §5, without any I/O."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, NamedTuple

import jiter

# An answer larger than that is none.
BODY_BYTES_MAX: Final = 64 * 1024
RETRY_AFTER_S_MAX: Final = 60.0
_ID_CHARACTERS_MAX: Final = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# Answers that ask to be tried again, beside every 5xx.
_TRANSIENT: Final = frozenset({408, 425, 429})
# Of those, and of the 5xx, these say by themselves that nothing was done.
_NOT_DELIVERED: Final = frozenset({425, 429})


class Outcome(StrEnum):
    """What a call came to. `UNAVAILABLE` and `UNCLEAR` are tried again; of the latter nobody knows
    whether it was delivered.
    """

    FULFILLED = "fulfilled"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    UNCLEAR = "unclear"


class Reply(NamedTuple):
    """One call's end. `http_status` is None where no answer began; `error` says in a few words what
    was wrong. `retry_after_s` is what the answer asks for, at most RETRY_AFTER_S_MAX.
    """

    outcome: Outcome
    http_status: int | None = None
    fulfillment_id: str | None = None
    error: str | None = None
    retry_after_s: float = 0.0

    @property
    def is_transient(self) -> bool:
        """Whether the call is to be made again."""
        return self.outcome in (Outcome.UNAVAILABLE, Outcome.UNCLEAR)

    @property
    def code(self) -> str:
        """The metric's label: the status, or what stood in its place."""
        return str(self.http_status or self.error)

    @property
    def told(self) -> str:
        """The call's end in words."""
        status = None if self.http_status is None else f"HTTP status {self.http_status}"
        return ", ".join(text for text in (status, self.error) if text is not None)


def is_success(status: int) -> bool:
    """Whether the body is needed."""
    return 200 <= status < 300


def read_reply(status: int, body: bytes | None, retry_after: str | None, now: datetime) -> Reply:
    """The reply of an answer that has begun; `body` None where it did not end within its bounds.

    `retry_after` is the header's text, `now` an aware time.
    """
    if is_success(status):
        found = None if body is None else _id_in(body)
        if found is not None:
            return Reply(Outcome.FULFILLED, status, fulfillment_id=found)
        error = "endless body" if body is None else "no id"
        return Reply(Outcome.UNCLEAR, status, error=error)
    if status in _TRANSIENT or 500 <= status < 600:
        outcome = Outcome.UNAVAILABLE if status in _NOT_DELIVERED else Outcome.UNCLEAR
        wait_s = _retry_after_s(retry_after, now)
        return Reply(outcome, status, retry_after_s=wait_s)
    return Reply(Outcome.REFUSED, status, error="redirect" if 300 <= status < 400 else None)


def read_date(text: str | None) -> datetime | None:
    """RFC 9110 §5.6.7: the aware time that a header tells; None where it tells none."""
    if text is None:
        return None
    try:
        told = parsedate_to_datetime(text)
    except ValueError:
        return None
    return told if told.tzinfo is not None else told.replace(tzinfo=UTC)


def _id_in(body: bytes) -> str | None:
    """The `id` of a JSON object as text, whole numbers too; None where there is none to rely on."""
    try:
        value = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return None
    found = value.get("id") if isinstance(value, dict) else None
    if isinstance(found, int) and not isinstance(found, bool):
        found = _digits(found)
    if not isinstance(found, str) or not 0 < len(found) <= _ID_CHARACTERS_MAX:
        return None
    return None if _CONTROL.search(found) else found


def _digits(number: int) -> str | None:
    try:
        return str(number)
    except ValueError:  # more digits than Python writes
        return None


def _retry_after_s(value: str | None, now: datetime) -> float:
    """RFC 9110 §10.2.3: seconds, or a date; 0 where it is neither."""
    if value is None:
        return 0.0
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), RETRY_AFTER_S_MAX)
    until = read_date(text)
    if until is None:
        return 0.0
    return min(max(0.0, (until - now).total_seconds()), RETRY_AFTER_S_MAX)
