"""The model's words on the wire: its commands as records, the results in its terms."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.ledger.bookkeeper import Record
from tests.ledger.term import Outcome, Sent, Shown, Told


class Wire(NamedTuple):
    """One example's own names in a database that many share."""

    number: int

    @property
    def prefix(self) -> str:
        return f"e{self.number}-"

    def name(self, client: str) -> str:
        """The client's id on the wire."""
        return self.prefix + client

    def own(self, client_id: str) -> str:
        """The client's name in the model."""
        return client_id.removeprefix(self.prefix)

    def record(self, sent: Sent) -> Record:
        value: dict[str, Any] = {"command_id": sent.id, "type": sent.type, "name": sent.name}
        if sent.type != "register_client":
            value["currency"] = sent.currency
        if sent.amount is not None:
            value["amount"] = f"{sent.amount // 100}.{sent.amount % 100:02}"
        if sent.to is not None:
            value["to_client_id"] = self.name(sent.to)
        value |= {"merchant_id": sent.merchant, "hold_id": sent.hold, "limit": sent.limit}
        value |= {"original_command_id": sent.original, "order_id": sent.order}
        value["expires_at"] = "2020-01-01T00:00:00Z" if sent.late else None
        value["email"] = sent.email and self.prefix + sent.email
        value["phone"] = sent.phone and f"{sent.phone}{self.number:05}"
        if sent.fault == "invalid_request":
            value["ammount"] = "1"
        elif sent.fault is not None:
            value["amount"] = "0" if sent.fault == "invalid_amount" else "1"
        return self.name(sent.client), value

    def outcome(self, result: dict[str, Any]) -> Outcome:
        """A result in the model's words."""
        if "event" in result:
            return _request_outcome(result)
        outcome = Outcome(
            result["status"], result["reason"], minor_or_none(result["balance_before"]),
            minor_or_none(result["balance_after"]), result["duplicate"],
            held=minor_or_none(result["held"]),
        )  # fmt: skip
        if result["status"] != "answered":
            return outcome
        wallets = tuple(
            (w["currency"], minor(w["balance"]), w["status"]) for w in result["wallets"]
        )
        recent = tuple(self._shown(t) for t in result["transactions"])
        has_more = result["next_before"] is not None
        return outcome._replace(wallets=wallets, recent=recent, has_more=has_more)

    def _shown(self, listed: dict[str, Any]) -> Shown:
        counterparty = listed["counterparty"]
        return Shown(
            listed["command_id"], listed["type"], listed["status"], listed["reason"],
            minor_or_none(listed["balance_before"]), minor_or_none(listed["balance_after"]),
            counterparty and self.own(counterparty),
        )  # fmt: skip


def _request_outcome(result: dict[str, Any]) -> Outcome:
    """The same of a record of order-result."""
    event, reason = result["event"], result["reason"]
    status = {"request_rejected": "rejected", "order_details": "answered"}.get(event, "applied")
    failure = reason if status != "rejected" else None
    told = None
    if result["status"] is not None:
        told = Told(
            result["status"], minor(result["amount"]), result["currency"],
            result["fulfillment_id"], result["attempts"], minor(result["refunded"]), failure,
        )  # fmt: skip
    return Outcome(
        status, None if failure else reason, None, minor_or_none(result["balance_after"]),
        result["duplicate"], order=told,
    )  # fmt: skip


def minor(text: str) -> int:
    """An amount of two decimals in minor units."""
    return int(text.replace(".", ""))


def minor_or_none(text: str | None) -> int | None:
    return None if text is None else minor(text)
