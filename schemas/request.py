"""The requests of `order-request`: one class each, and one row in the table at the end."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from schemas.envelope import Amount, CommandId, Envelope, Query, Reference

ITEMS_MAX: Final = 100

_ORDER_ID = "1 to 64 of A-Z a-z 0-9 . _ : -; the order"


class PlaceOrder(Envelope):
    """Wallet to escrow, and an order that goes to fulfillment."""

    type: Literal["place_order"]
    amount: Amount
    order_id: CommandId | None = Field(
        None,
        description="1 to 64 of A-Z a-z 0-9 . _ : -; unique per client. Default: made from the "
        "client and the command_id, the same each time",
    )
    items: Annotated[list[dict[str, Any]], Field(max_length=ITEMS_MAX)] | None = Field(
        None,
        description=f"an array of up to {ITEMS_MAX} objects; passed on unread to fulfillment",
    )


class CancelOrder(Reference):
    """Escrow to wallet: of an order not yet begun, or of a failed one that keeps its money."""

    type: Literal["cancel_order"]
    order_id: CommandId = Field(description=_ORDER_ID)


class RetryOrder(Reference):
    """A failed order goes to fulfillment again; money that was given back is taken again."""

    type: Literal["retry_order"]
    order_id: CommandId = Field(description=_ORDER_ID)


class GetOrder(Query):
    """The order as it stands."""

    type: Literal["get_order"]
    order_id: CommandId = Field(description=_ORDER_ID)


class GetWallet(Query):
    """The client's balances and last 10 transactions, of one currency or all."""

    type: Literal["get_wallet"]


REQUESTS: Final[Mapping[str, type[Envelope]]] = {
    "place_order": PlaceOrder,
    "cancel_order": CancelOrder,
    "retry_order": RetryOrder,
    "get_order": GetOrder,
    "get_wallet": GetWallet,
}
