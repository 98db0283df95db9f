"""The demo's story: what is sent, and what must come back."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.topic import ORDER_REQUEST, WALLET_COMMAND


class Expected(NamedTuple):
    """What the answer must say; `balance` is the client's afterwards, None where none is told.

    `status` is a result's, or `dead`. `wallets` are what a query shows: currency -> balance.
    """

    status: str
    reason: str | None = None
    balance: str | None = None
    duplicate: bool = False
    wallets: Mapping[str, str] | None = None


class Step(NamedTuple):
    """One record to `wallet-command`: a command, or bytes that are none; or to `order-request`.

    `received` is who else is told of it, with that client's balance afterwards. `end` is what
    becomes of an order after its fulfillment: the event's id, and the client's balance then.
    `is_down` says how the fulfillment service is meanwhile.
    """

    client: str
    value: Mapping[str, Any] | bytes
    expected: Expected
    received: tuple[str, str] | None = None
    end: tuple[str, str] | None = None
    is_down: bool = False

    @property
    def topic(self) -> str:
        """Where it is published."""
        kind = "" if isinstance(self.value, bytes) else str(self.value["type"])
        return ORDER_REQUEST if kind.endswith("_order") else WALLET_COMMAND


class Chapter(NamedTuple):
    """Steps that show one thing."""

    title: str
    steps: tuple[Step, ...]


_DEPOSIT = {"command_id": "a-2", "type": "deposit", "amount": "100.00", "reference": "salary"}

STORY = (
    Chapter(
        "Two clients register, and money comes in",
        (
            Step(
                "alice",
                {"command_id": "a-1", "type": "register_client", "name": "Alice"},
                Expected("applied"),
            ),
            Step(
                "bob",
                {"command_id": "b-1", "type": "register_client", "name": "Bob"},
                Expected("applied"),
            ),
            Step("alice", _DEPOSIT, Expected("applied", balance="100.00")),
            Step(
                "bob",
                {"command_id": "b-2", "type": "credit", "amount": "0.75"},
                Expected("applied", balance="0.75"),
            ),
        ),
    ),
    Chapter(
        "A deposit makes an unknown client; yen have no decimals",
        (
            Step(
                "carol",
                {"command_id": "c-1", "type": "deposit", "amount": 5000, "currency": "JPY"},
                Expected("applied", balance="5000"),
            ),
        ),
    ),
    Chapter(
        "Money moves",
        (
            Step(
                "alice",
                {"command_id": "a-3", "type": "transfer", "amount": "30.25", "to_client_id": "bob"},
                Expected("applied", balance="69.75"),
                received=("bob", "31.00"),
            ),
            Step(
                "bob",
                {"command_id": "b-3", "type": "withdraw", "amount": "11"},
                Expected("applied", balance="20.00"),
            ),
            Step(
                "bob",
                {"command_id": "b-4", "type": "transfer", "amount": "5", "to_client_id": "carol"},
                Expected("applied", balance="15.00"),
                received=("carol", "5.00"),
            ),
        ),
    ),
    Chapter(
        "There is no more than there is, and nobody to send it to",
        (
            Step(
                "bob",
                {"command_id": "b-5", "type": "debit", "amount": "1000.00"},
                Expected("rejected", "insufficient_funds", balance="15.00"),
            ),
            Step(
                "alice",
                {"command_id": "a-4", "type": "transfer", "amount": "1", "to_client_id": "zoe"},
                Expected("rejected", "recipient_not_found", balance="69.75"),
            ),
        ),
    ),
    Chapter(
        "A command sent twice: the first outcome is repeated, and nothing moves",
        (Step("alice", _DEPOSIT, Expected("applied", balance="100.00", duplicate=True)),),
    ),
    Chapter(
        "The same id with other content",
        (
            Step(
                "alice",
                {**_DEPOSIT, "amount": "900.00"},
                Expected("rejected", "idempotency_conflict", balance="69.75"),
            ),
        ),
    ),
    Chapter(
        "What can't be read is refused, or buried with its reason; the next record goes on",
        (
            Step(
                "alice",
                {"command_id": "a-5", "type": "deposit", "amount": "12.345"},
                Expected("rejected", "invalid_amount", balance="69.75"),
            ),
            Step(
                "bob",
                b'{"command_id": "b-6", "type": "deposit", "amo',
                Expected("dead", "not_json"),
            ),
            Step(
                "bob",
                {"command_id": "b-7", "type": "deposit", "amount": "4.50"},
                Expected("applied", balance="19.50"),
            ),
        ),
    ),
    Chapter(
        "An order: its money waits in escrow until the fulfillment service has answered",
        (
            Step(
                "alice",
                {
                    "command_id": "a-6",
                    "type": "place_order",
                    "order_id": "book-1",
                    "amount": "10.00",
                    "items": [{"sku": "book", "count": 1}],
                },
                Expected("pending", balance="59.75"),
                end=("alice/book-1/completed/1", "59.75"),
            ),
        ),
    ),
    Chapter(
        "The service is down: after three attempts the order has failed, and its money is back",
        (
            Step(
                "alice",
                {
                    "command_id": "a-7",
                    "type": "place_order",
                    "order_id": "lamp-1",
                    "amount": "12.50",
                },
                Expected("pending", balance="47.25"),
                end=("alice/lamp-1/failed/1", "59.75"),
                is_down=True,
            ),
        ),
    ),
    Chapter(
        "It is up again: the failed order is tried once more, with the same idempotency key",
        (
            Step(
                "alice",
                {"command_id": "a-8", "type": "retry_order", "order_id": "lamp-1"},
                Expected("pending", balance="47.25"),
                end=("alice/lamp-1/completed/2", "47.25"),
            ),
        ),
    ),
    Chapter(
        "A question",
        (
            Step(
                "carol",
                {"command_id": "c-2", "type": "get_wallet"},
                Expected("answered", wallets={"JPY": "5000", "USD": "5.00"}),
            ),
        ),
    ),
)

# client -> currency -> balance at the end, as `wallet-balance` must show it.
BALANCES: Mapping[str, Mapping[str, str]] = {
    "alice": {"USD": "47.25"},
    "bob": {"USD": "19.50"},
    "carol": {"JPY": "5000", "USD": "5.00"},
}
