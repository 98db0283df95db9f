"""What every command and request has in common, and the rules of their fields.

A field's description begins with its rule, a noun phrase up to the semicolon: a rejection says
"`field` must be `rule`", and the JSON Schemas show the whole.
"""

from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from schemas.moment import parse_moment

COMMAND_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"
CLIENT_ID_PATTERN = r"^[A-Za-z0-9._:@-]{1,64}$"
CURRENCY_PATTERN = r"^[A-Z][A-Z0-9]{2,11}$"
# Unicode's category Cc, spelt out for readers of the JSON Schemas whose dialect has no \p{Cc}.
TEXT_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
METADATA_BYTES_MAX = 4 * 1024


def _moment(value: object) -> datetime:
    moment = parse_moment(value) if isinstance(value, str) else None
    if moment is None:
        raise ValueError("no RFC 3339 date-time")
    return moment


def _storable(metadata: dict[str, str]) -> dict[str, str]:
    if len(orjson.dumps(metadata)) > METADATA_BYTES_MAX:
        raise ValueError("too long")
    # PostgreSQL's text can't hold it, so nobody could ever look into such a value again.
    if any("\0" in key or "\0" in value for key, value in metadata.items()):
        raise ValueError("NUL")
    return metadata


CommandId = Annotated[str, Field(pattern=COMMAND_ID_PATTERN)]
ClientId = Annotated[str, Field(pattern=CLIENT_ID_PATTERN)]
Text = Annotated[str, Field(pattern=TEXT_PATTERN, max_length=255)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Metadata = Annotated[dict[str, str], AfterValidator(_storable)]
# Judged by its own rule after everything else, since it has a reason code of its own.
Currency = Annotated[str, Field(json_schema_extra={"pattern": CURRENCY_PATTERN})]
Amount = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]+)?$", "maxLength": 32},
                {"type": "number", "exclusiveMinimum": 0},
            ]
        }
    ),
    Field(
        description="an amount above zero with at most the currency's decimals, as a string "
        '("1000.50") or a plain number of at most 15 digits; at most 9,000,000,000,000,000 minor '
        "units"
    ),
]


class Envelope(BaseModel):
    """The fields of every command and request. Unknown fields are refused, null equals absent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    command_id: CommandId = Field(
        description="1 to 64 of A-Z a-z 0-9 . _ : -; the idempotency key, one namespace per client"
    )
    client_id: ClientId | None = Field(None, description="the record's key; it may be left out")
    currency: Currency | None = Field(
        None,
        description="a string; a code of ISO 4217's or one of the operator's own units. "
        "Default: WALLET_DEFAULT_CURRENCY, for queries all currencies",
    )
    reference: Text | None = Field(
        None, description="text of up to 255 characters, none of them a control character"
    )
    description: Text | None = Field(
        None, description="text of up to 255 characters, none of them a control character"
    )
    metadata: Metadata | None = Field(
        None,
        description="an object of strings without NUL, up to 4 KiB of JSON; the producer's own",
    )
    occurred_at: Moment | None = Field(
        None,
        description="an RFC 3339 time such as 2026-03-01T12:00:00Z; when it happened upstream",
    )


class Query(Envelope):
    """A command that only asks: it is answered, not remembered, and its id stays free."""


class Reference(Envelope):
    """A command about an earlier one, whose currency is its own."""

    currency: Currency | None = Field(
        None,
        description="a string; that of the command it refers to. It may be left out",
    )
