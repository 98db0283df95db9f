"""The requests of `order-request`: one class each, and one row in the table at the end."""

from collections.abc import Mapping
from typing import Final, Literal

from schemas.envelope import Envelope, Query


class GetWallet(Query):
    """The client's balances and last 10 transactions, of one currency or all."""

    type: Literal["get_wallet"]


REQUESTS: Final[Mapping[str, type[Envelope]]] = {
    "get_wallet": GetWallet,
}
