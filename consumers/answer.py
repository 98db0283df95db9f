"""From decisions to records: what a command's sender, its counterparty and the readers are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType, json
from msgspec.structs import asdict, replace

from ledger.book import Hold, Transaction
from ledger.command import Source
from ledger.currency import Currencies
from ledger.money import format_amount
from ledger.order_state import OrderState, unpack_state
from ledger.outcome import Decision, WalletState
from ledger.parcel import OutboxRecord
from ledger.posting import PEER
from schemas.header import DeadLetter, dead_letter_headers, pack_headers, trace_headers
from schemas.moment import format_moment
from schemas.order import event_type, order_value
from schemas.topic import ORDER_RESULT, WALLET_COMMAND, WALLET_RESULT

InputHeaders = Sequence[tuple[str, bytes | None]] | None

_encode = json.Encoder().encode


class _Result(Struct, gc=False):
    """A value of `wallet-result` (schemas.result), which is encoded in half of a dict's time. The
    last three are of an answered query.
    """

    command_id: str | None
    type: str
    client_id: str
    status: str
    reason: str | None
    detail: str | None
    duplicate: bool
    transaction_id: str | None
    currency: str | None
    amount: str | None
    balance_before: str | None
    balance_after: str | None
    held: str | None
    counterparty: str | None
    hold_id: str | None
    merchant_id: str | None
    original_command_id: str | None
    reference: str | None
    description: str | None
    occurred_at: str
    source: Source | None = None
    wallets: list[dict[str, Any]] | UnsetType = UNSET
    transactions: list[dict[str, Any]] | UnsetType = UNSET
    next_before: str | UnsetType | None = UNSET


@dataclass(frozen=True, slots=True)
class Answerer:
    """Makes the outbox records of a batch; `now` is the moment at which the batch was decided."""

    currencies: Currencies
    now: datetime

    def answer(self, kind: str, decision: Decision, headers: InputHeaders) -> list[OutboxRecord]:
        """The records that tell of one decision, its own answer first. `kind` is the input's topic
        without the prefix, `headers` the input's.
        """
        command = decision.command
        source = command.source
        event_id = f"{source.topic}/{source.partition}/{source.offset}"
        trace = trace_headers(headers)
        packed = pack_headers(trace) if trace else None
        if kind == WALLET_COMMAND:
            topic, result = WALLET_RESULT, self._wallet_result(decision)
            ce_type, value = f"wallet.command.{result.status}.v1", _encode(result)
        else:
            topic, (ce_type, value) = ORDER_RESULT, self._order_result(decision)
        transaction = decision.transaction
        moved = (
            transaction is not None and transaction.status == "applied" and not decision.duplicate
        )
        correlation_id = command.correlation_id
        rows = [
            OutboxRecord(
                topic, None, command.client_id.encode(), value, event_id, ce_type,
                correlation_id, None, packed, moved,
            )
        ]  # fmt: skip
        if transaction is not None and decision.peer_held is not None:
            seen = self._kept(seen_by_peer(transaction, decision.peer_held))
            rows.append(
                OutboxRecord(
                    WALLET_RESULT, None, str(transaction.counterparty).encode(),
                    _encode(seen), f"{event_id}/{seen.type}",
                    f"wallet.{seen.type.replace('_', '.')}.v1",
                    correlation_id, event_id, packed, True,
                )
            )  # fmt: skip
        return rows

    def tell_expiry(self, hold: Hold, transaction: Transaction) -> OutboxRecord:
        """The record that tells of a hold whose time was over: it answers no input."""
        return OutboxRecord(
            WALLET_RESULT, None, hold.client_id.encode(), _encode(self._kept(transaction)),
            f"{hold.client_id}/{hold.hold_id}/expired", "wallet.hold.released.v1",
            hold.correlation_id or hold.command_id, hold.event_id, None, True,
        )  # fmt: skip

    def bury(
        self,
        kind: str,
        letter: DeadLetter,
        key: bytes | None,
        value: bytes | None,
        headers: InputHeaders,
    ) -> OutboxRecord:
        """The dead letter of a record nobody could answer: its bytes as they came, and why."""
        packed = pack_headers(dead_letter_headers(letter, headers))
        event_id = f"{letter.topic}/{letter.partition}/{letter.offset}"
        return OutboxRecord(
            f"{kind}-dlt", letter.partition, key, value, event_id, "wallet.dead_letter.v1",
            None, None, packed, False,
        )  # fmt: skip

    def _wallet_result(self, decision: Decision) -> _Result:
        command, transaction, refusal = decision.command, decision.transaction, decision.refusal
        if transaction is not None:
            result = self._kept(transaction)
            result.duplicate = decision.duplicate
            if decision.rest is not None:
                rest = decision.rest
                result.balance_before = self._amount(rest.balance_before, rest.currency)
        else:
            status = "answered" if refusal is None else "rejected"
            result = self._not_kept(decision, status)
        result.source = command.source
        if decision.wallets is not None:
            result.wallets, result.transactions = self._query(decision)
            before = decision.next_before
            result.next_before = None if before is None else str(before)
        return result

    def _kept(self, t: Transaction) -> _Result:
        """A kept outcome, told from its row alone: a duplicate repeats it field by field."""
        currency, amount = t.currency, self._amount
        return _Result(
            t.caused_by, t.type, t.client_id, t.status, t.reason, t.detail, False, str(t.id),
            currency, amount(t.amount, currency), amount(t.balance_before, currency),
            amount(t.balance_after, currency), amount(t.held_after, currency), t.counterparty,
            t.hold_id, t.merchant_id, t.original_command_id, t.reference, t.description,
            format_moment(t.created_at),
        )  # fmt: skip

    def _not_kept(self, decision: Decision, status: str) -> _Result:
        """The answer to a query, or a refusal that is not remembered: the row it would have had."""
        command, refusal = decision.command, decision.refusal
        row = Transaction(
            command.client_id, command.command_id, 0, command.type, status,
            None if refusal is None else refusal.reason,
            None if refusal is None else refusal.detail,
            None, command.currency, command.amount_minor, None, None, command.to_client_id,
            command.merchant_id, command.hold_id, command.order_id, command.original_command_id,
            decision.balance, decision.balance, decision.held, None, None, command.reference,
            command.description, None, None, None, None, None, None, self.now,
        )  # fmt: skip
        result = self._kept(row)
        result.transaction_id = None
        return result

    def _query(self, decision: Decision) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The wallets and the transactions that a query asked for."""
        client_id = decision.command.client_id
        return [self._wallet(wallet) for wallet in decision.wallets or ()], [
            self._listed(t if t.client_id == client_id else seen_by_peer(t))
            for t in decision.recent or ()
        ]

    def _order_result(self, decision: Decision) -> tuple[str, bytes]:
        command = decision.command
        event, state = _order_event(decision)
        value = order_value(
            event, state, self._amount, command_id=command.command_id,
            source=asdict(command.source), duplicate=decision.duplicate,
        )  # fmt: skip
        if decision.wallets is not None:
            value["wallets"], value["transactions"] = self._query(decision)
        return event_type(event), _encode(value)

    def _wallet(self, wallet: WalletState) -> dict[str, Any]:
        return {
            "currency": wallet.currency,
            "balance": self._amount(wallet.balance, wallet.currency),
            "held": self._amount(wallet.held, wallet.currency),
            "status": wallet.status,
            "version": wallet.version,
            "updated_at": None if wallet.updated_at is None else format_moment(wallet.updated_at),
        }

    def _listed(self, t: Transaction) -> dict[str, Any]:
        return {
            "transaction_id": str(t.id),
            "command_id": t.caused_by,
            "type": t.type,
            "status": t.status,
            "reason": t.reason,
            "currency": t.currency,
            "amount": self._amount(t.amount, t.currency),
            "balance_before": self._amount(t.balance_before, t.currency),
            "balance_after": self._amount(t.balance_after, t.currency),
            "reference": t.reference,
            "description": t.description,
            "counterparty": t.counterparty,
            "occurred_at": format_moment(t.created_at),
        }

    def _amount(self, minor: int | None, currency: str | None) -> str | None:
        if minor is None or currency is None:
            return None
        return format_amount(minor, self.currencies.scale_of_amounts(currency))


_ORDER_EVENTS = {
    "place_order": "order_placed",
    "cancel_order": "order_cancelled",
    "retry_order": "order_retried",
}


def _order_event(decision: Decision) -> tuple[str, OrderState]:
    """What happened by a request, and the order as it is told."""
    command, transaction, refusal = decision.command, decision.transaction, decision.refusal
    if transaction is not None:
        applied = transaction.status == "applied"
        event = _ORDER_EVENTS[transaction.type] if applied else "request_rejected"
        return event, unpack_state(transaction)
    if decision.order is not None:
        return "order_details", decision.order
    return (
        "wallet_details" if refusal is None else "request_rejected",
        OrderState(
            command.client_id, command.order_id, None, command.amount_minor, command.currency,
            None, None, None, None if refusal is None else refusal.reason,
            None if refusal is None else refusal.detail, decision.balance, None, None,
        ),
    )  # fmt: skip


def seen_by_peer(t: Transaction, held: int | None = None) -> Transaction:
    """The counterparty's view of a transfer or its refund: its own balances, the other one named.

    The sender's reference and description are part of what it sent.
    """
    if not t.reaches_peer or t.amount is None or t.peer_balance_after is None:
        raise ValueError(f"transaction {t.id} reached no counterparty")
    received = t.credit_kind == PEER
    return replace(
        t,
        client_id=str(t.counterparty),
        counterparty=t.client_id,
        type="transfer_received" if received else "transfer_reversed",
        balance_before=t.peer_balance_after + (-t.amount if received else t.amount),
        balance_after=t.peer_balance_after,
        held_after=held,
        peer_balance_after=None,
    )
