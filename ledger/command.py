"""A command as the ledger takes it: decoded, with what was found wrong so far."""

from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from ledger.refusal import Refusal


class Source(Struct, frozen=True, gc=False):
    """The input record: its real topic (prefix included), partition and offset."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Profile:
    """What a client says of itself; it stays in `clients` and is neither journaled nor echoed."""

    name: str
    email: str | None
    phone: str | None


class Command(Struct, gc=False):
    """One record whose envelope could be read.

    `refusal` is what was found wrong beyond the envelope (invalid_request, unknown_currency,
    invalid_amount); fields that could not be read are None then. `currency` is the given one,
    else the default; None for a query that named none, or where the given one is no currency code
    at all. `amount_minor` is in the currency's minor units, None where the type has no amount or
    it may be left out. Where a command refers to an earlier one, that one's currency decides:
    `currency` is then the given one or None, and the amount waits in `amount_text` as it was
    written. `expires_at` is a hold's, `limit` and `before` are get_history's, `sent_at_ms` is the
    record's timestamp. `metadata` and `items` are their JSON texts, `headers` what an order's later
    records hand on of this one's, packed. `fingerprint` is the SHA-256 of the content
    (contract §2, Idempotency).
    """

    client_id: str
    command_id: str
    type: str
    fingerprint: bytes
    source: Source
    currency: str | None
    amount_minor: int | None = None
    refusal: Refusal | None = None
    reference: str | None = None
    description: str | None = None
    metadata: str | None = None
    occurred_at: datetime | None = None
    correlation_id: str = ""
    to_client_id: str | None = None
    profile: Profile | None = None
    merchant_id: str | None = None
    hold_id: str | None = None
    original_command_id: str | None = None
    amount_text: str | None = None
    expires_at: datetime | None = None
    limit: int | None = None
    before: str | None = None
    sent_at_ms: int = 0
    order_id: str | None = None
    items: str | None = None
    headers: bytes | None = None
