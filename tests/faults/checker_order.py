"""Orders in the replay: what they are told to be, and how fulfillment ends them.

How often the fulfillment API was called, and when the first call began, is in no record of the
journal; of both the checker asks only that they never go back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.faults.checker_contract import told
from tests.ledger.model import Model
from tests.ledger.term import Order, Outcome, Sent, Told

Row = dict[str, Any]
ENDS = ("order_completed", "order_failed")
_STATUS = {"request_rejected": "rejected", "order_details": "answered"}


class Breach(NamedTuple):
    """A rule that is broken: by which record, and how."""

    rule: str
    record: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.record}: {self.what}"


class Orders:
    """The orders of a model; `events` are the records that tell how they ended, by `ce_id`."""

    def __init__(self, model: Model, events: dict[str, Row]) -> None:
        self._model = model
        self._events = events
        # As they stood from a row of the journal on, without the calls.
        self._stands: dict[tuple[str, str], list[tuple[int, Told]]] = defaultdict(list)
        self._placed: dict[tuple[str, str], tuple[str, str]] = {}

    def meet(self, sent: Sent, answer: Row, where: str) -> Iterator[Breach]:
        """Take from the answer to a request what only its moment decides."""
        order = self._model.orders.get((sent.client, sent.order or ""))
        if order is None or order.status != "pending" or answer.get("attempts") is None:
            return
        yield from self._call(order, answer["attempts"], where)
        order.begun = answer["reason"] == "order_not_cancellable"

    def end(self, row: Row) -> Iterator[Breach]:
        """Fulfillment ended an order, by this row of the journal."""
        client, name, where = row["client_id"], row["order_id"], f"journal {row['id']}"
        order = self._model.orders.get((client, name))
        event = self._events.get(f"{client}/{row['command_id']}")
        if order is None or order.status != "pending":
            status = order.status if order else "unknown"
            yield Breach("sequential", where, f"ends {client} {name}, which is {status}")
            return
        state = row["order_state"]
        yield from self._call(order, state["attempts"], where)
        order.calls = state["attempts"] - 1
        end = row["type"].removeprefix("order_")
        if end == "failed" and row["credit_kind"] is None:
            end = "kept"
        self._model.end(client, name, end)
        order.fulfillment, order.failure = state["fulfillment_id"], state["reason"]
        after = self._model.wallets[client, order.currency].balance
        expected = self._told(client, name), after
        if event is not None:  # one that is missing is found elsewhere
            found = told_of(event), told(event["balance_after"], event["currency"])
            if found != expected:
                yield Breach("sequential", where, f"is told as {found}; it must be {expected}")

    def note(self, row: Row) -> None:
        """Keep how the row's order stands after it."""
        client = row["client_id"]
        if row["type"] == "place_order" and row["status"] == "applied":
            self._placed[client, row["command_id"]] = client, row["order_id"]
        key = self._placed.get((client, row["original_command_id"] or ""))
        if key is None and row["order_id"] is not None:
            key = client, row["order_id"]
        if key is not None and key in self._model.orders:
            self._stands[key].append((row["id"], self._told(*key)._replace(attempts=0)))

    def shown(
        self, place: str, sent: Sent, answer: Row, since: int, until: int
    ) -> Iterator[Breach]:
        """What a get_order was told must be how the order once stood between two rows."""
        stands = [s for s in self._stands[sent.client, sent.order or ""] if s[0] < until]
        before = [s for s in stands if s[0] <= since][-1:]
        possible = [s[1] for s in before + [s for s in stands if s[0] > since]]
        if answer["status"] == "rejected":
            if before or answer["reason"] not in ("order_not_found", "client_not_found"):
                yield Breach("sequential", place, f"{answer['reason']}, and there was an order")
            return
        found = told_of(answer)
        if found is None or found._replace(attempts=0) not in possible:
            yield Breach("sequential", place, f"shows {found}, as it never was")

    def stored(self, rows: Iterable[Row]) -> Iterator[Breach]:
        """The table of orders is what the model is left with."""
        left = dict(self._model.orders)
        for row in rows:
            order = left.pop((row["client_id"], row["order_id"]), None)
            where = f"order {row['client_id']} {row['order_id']}"
            found = row["status"], row["money"], row["amount"], row["fulfillment_id"]
            expected = order and (order.status, _money(order), order.amount, order.fulfillment)
            if found != expected:
                yield Breach("state", where, f"is {found}; it must be {expected}")
        for client, name in left:
            yield Breach("state", f"order {client} {name}", "is not stored")

    def _call(self, order: Order, calls: int, where: str) -> Iterator[Breach]:
        if calls < order.calls:
            what = f"{calls} attempts are told, and {order.calls} before"
            yield Breach("sequential", where, what)
        order.calls = calls

    def _told(self, client: str, name: str) -> Told:
        found = self._model.told(Sent(client, "", "get_order", order=name))
        if found is None:
            raise KeyError(f"the model has no order {client} {name}")
        return found


def outcome_of(answer: Row) -> Outcome:
    """An answer on order-result in the model's words."""
    status, reason = _STATUS.get(answer["event"], "applied"), answer["reason"]
    return Outcome(
        status, reason if status == "rejected" else None, None,
        told(answer["balance_after"], answer["currency"]), answer["duplicate"],
        order=told_of(answer),
    )  # fmt: skip


def told_of(answer: Row) -> Told | None:
    """What a record of order-result tells of its order; None where it has none."""
    if answer["order_status"] is None:
        return None
    currency = answer["currency"]
    rejected = answer["event"] == "request_rejected"
    return Told(
        answer["order_status"], told(answer["amount"], currency) or 0, currency,
        answer["fulfillment_id"], answer["attempts"], told(answer["refunded"], currency) or 0,
        None if rejected else answer["reason"],
    )  # fmt: skip


def _money(order: Order) -> str:
    if order.holds_escrow:
        return "escrow"
    return "revenue" if order.status == "completed" else "wallet"
