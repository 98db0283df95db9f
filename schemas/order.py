"""The values of `order-result`: written here alone, for answers and for an order's later life."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from schemas.moment import format_moment


class OrderFacts(Protocol):
    """What is told of an order; amounts in minor units. None where it does not apply."""

    @property
    def client_id(self) -> str: ...
    @property
    def order_id(self) -> str | None: ...
    @property
    def status(self) -> str | None: ...
    @property
    def amount(self) -> int | None: ...
    @property
    def currency(self) -> str | None: ...
    @property
    def fulfillment_id(self) -> str | None: ...
    @property
    def attempts(self) -> int | None: ...
    @property
    def refunded(self) -> int | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def detail(self) -> str | None: ...
    @property
    def balance_after(self) -> int | None: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def updated_at(self) -> datetime | None: ...


def order_value(
    event: str,
    facts: OrderFacts,
    write_amount: Callable[[int | None, str | None], str | None],
    *,
    command_id: str | None = None,
    source: dict[str, Any] | None = None,
    duplicate: bool = False,
) -> dict[str, Any]:
    """The value of one record, `event` one of contract §2's (`order_completed`, …).

    `write_amount` gives the text of minor units of a currency, None for None. `command_id` and
    `source` are those of the request that is answered, None on an order's later events.
    """
    return {
        "event": event,
        "command_id": command_id,
        "source": source,
        "order_id": facts.order_id,
        "client_id": facts.client_id,
        "status": facts.status,
        "amount": write_amount(facts.amount, facts.currency),
        "currency": facts.currency,
        "fulfillment_id": facts.fulfillment_id,
        "attempts": facts.attempts,
        "refunded": write_amount(facts.refunded, facts.currency),
        "reason": facts.reason,
        "detail": facts.detail,
        "duplicate": duplicate,
        "balance_after": write_amount(facts.balance_after, facts.currency),
        "created_at": _moment(facts.created_at),
        "updated_at": _moment(facts.updated_at),
    }


def event_type(event: str) -> str:
    """The `ce_type` of an event: `wallet.order.completed.v1` for `order_completed`."""
    return f"wallet.{event.replace('_', '.', 1)}.v1"


def later_event_id(client_id: str, order_id: str, status: str, round_number: int) -> str:
    """The `ce_id` of what became of an order: `<client>/<order>/completed/1`.

    The same however often it is made; a retried order's next end has the next number.
    """
    return f"{client_id}/{order_id}/{status}/{round_number}"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_moment(moment)
