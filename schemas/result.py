"""The records that go out: `wallet-result`, `order-result` and `wallet-balance`.

The worker writes them as plain JSON, for speed; these models are what the published schemas are
made from, and what the tests hold everything that is sent against.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.envelope import CLIENT_ID_PATTERN, COMMAND_ID_PATTERN, CURRENCY_PATTERN

OutAmount = Annotated[
    str,
    Field(
        pattern=r"^(0|[1-9][0-9]*)(\.[0-9]+)?$",
        description="with the currency's full scale, never negative",
    ),
]
OutMoment = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
OutClientId = Annotated[str, Field(pattern=CLIENT_ID_PATTERN)]
OutCommandId = Annotated[str, Field(pattern=COMMAND_ID_PATTERN)]
OutCurrency = Annotated[str, Field(pattern=CURRENCY_PATTERN)]
TransactionId = Annotated[str, Field(pattern=r"^[0-9]+$")]


class _Out(BaseModel):
    # Every field is always there: a reader can tell "null" from "not sent by this version".
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputPlace(_Out):
    """The input record that is answered."""

    topic: str = Field(description="the real name, prefix included")
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class WalletDetails(_Out):
    """One wallet as it stands."""

    currency: OutCurrency
    balance: OutAmount
    held: OutAmount
    status: Literal["open", "frozen", "closed"]
    version: int = Field(ge=0)
    updated_at: OutMoment | None


class TransactionDetails(_Out):
    """One transaction of a client, refused ones too, seen from that client's side."""

    transaction_id: TransactionId
    command_id: str | None
    type: str
    status: Literal["applied", "rejected"]
    reason: str | None
    currency: OutCurrency | None
    amount: OutAmount | None
    balance_before: OutAmount | None
    balance_after: OutAmount | None
    reference: str | None
    description: str | None
    counterparty: OutClientId | None
    occurred_at: OutMoment = Field(description="when it was applied or refused")


class _Answer(_Out):
    command_id: OutCommandId | None
    type: str
    client_id: OutClientId
    reason: str | None = Field(description="a reason code, null unless rejected")
    detail: str | None = Field(description="one sentence for a person, null unless rejected")
    duplicate: bool = Field(description="whether an earlier outcome is repeated")
    transaction_id: TransactionId | None = Field(description="null where nothing was kept")
    currency: OutCurrency | None
    amount: OutAmount | None
    balance_before: OutAmount | None
    balance_after: OutAmount | None
    held: OutAmount | None
    counterparty: OutClientId | None = Field(description="the other client of a transfer")
    hold_id: OutCommandId | None
    merchant_id: OutCommandId | None
    original_command_id: OutCommandId | None
    reference: str | None
    description: str | None
    occurred_at: OutMoment = Field(description="when it was applied or refused")
    source: InputPlace | None = Field(description="null on records that answer no input")


class CommandResult(_Answer):
    """The outcome of one command, or a change that reached a wallet from elsewhere."""

    status: Literal["applied", "rejected"]


class QueryResult(_Answer):
    """The answer to a query that was not refused."""

    status: Literal["answered"]
    wallets: list[WalletDetails]
    transactions: list[TransactionDetails] = Field(description="newest first")
    next_before: TransactionId | None = Field(
        description="what `before` must be for the next page; null where there is none"
    )


class _OrderAnswer(_Out):
    command_id: OutCommandId | None = Field(description="null on an order's later changes")
    source: InputPlace | None = Field(description="null on an order's later changes")
    order_id: OutCommandId | None
    client_id: OutClientId
    status: Literal["pending", "completed", "failed", "cancelled"] | None = Field(
        description="the order's, null without an order"
    )
    amount: OutAmount | None
    currency: OutCurrency | None
    fulfillment_id: str | None = Field(description="the fulfillment API's id, once completed")
    attempts: int | None = Field(description="calls to the fulfillment API so far, of all rounds")
    refunded: OutAmount | None = Field(
        description="what of the amount is back in the wallet: after a failure, a cancellation or "
        "refunds of a completed order"
    )
    reason: str | None = Field(
        description="a reason code: why the request was refused, else why the order failed"
    )
    detail: str | None = Field(description="one sentence for a person, null without a reason")
    duplicate: bool = Field(description="whether an earlier outcome is repeated")
    balance_after: OutAmount | None
    created_at: OutMoment | None = Field(description="the order's")
    updated_at: OutMoment | None = Field(description="the order's last change of status")


class OrderAnswer(_OrderAnswer):
    """An order as a request, or its fulfillment, left it; or as a get_order found it."""

    event: Literal[
        "order_placed", "order_completed", "order_failed", "order_cancelled", "order_retried",
        "order_details",
    ]  # fmt: skip


class RequestRejected(_OrderAnswer):
    """A request that was refused."""

    event: Literal["request_rejected"]


class WalletDetailsAnswer(_OrderAnswer):
    """The answer to a get_wallet request."""

    event: Literal["wallet_details"]
    wallets: list[WalletDetails]
    transactions: list[TransactionDetails] = Field(description="newest first")


class WalletBalance(_Out):
    """The newest balances of one client; the topic is compacted."""

    client_id: OutClientId
    wallets: list[WalletDetails]
    updated_at: OutMoment


WalletResult = Annotated[CommandResult | QueryResult, Field(discriminator="status")]
OrderResult = Annotated[
    OrderAnswer | RequestRejected | WalletDetailsAnswer, Field(discriminator="event")
]

# One per output topic whose records are JSON: the shape its values have.
WALLET_RESULT_SHAPE: TypeAdapter[CommandResult | QueryResult] = TypeAdapter(WalletResult)
ORDER_RESULT_SHAPE: TypeAdapter[OrderAnswer | RequestRejected | WalletDetailsAnswer] = TypeAdapter(
    OrderResult
)
WALLET_BALANCE_SHAPE = TypeAdapter(WalletBalance)
