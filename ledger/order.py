"""Orders: paid into escrow, then completed, failed, given back or tried again."""

from typing import NamedTuple

from msgspec.structs import replace

from ledger.book import Book, Job, Order, Transaction, Wallet, settlement_id
from ledger.command import Command
from ledger.order_state import pack_state, state_of
from ledger.outcome import (
    CLIENT_NOT_FOUND,
    INSUFFICIENT_FUNDS,
    WALLET_FROZEN,
    Decision,
    check_wallet,
    journal_row,
    not_kept,
    refuse,
)
from ledger.posting import COMPLETE, GIVE_BACK, PLACE, Posting
from ledger.reference import check_client, check_currency
from ledger.refusal import Refusal
from ledger.rule import Rules


class Settlement(NamedTuple):
    """What became of an order's fulfillment, as the holder of its lease found out.

    `attempts` are all calls of this round. Without a `failure` it is completed under the API's
    `fulfillment_id`; a `failure` has one of the reasons `fulfillment_refused` and
    `fulfillment_unknown`, and with `keeps_money` the money stays in escrow.
    """

    client_id: str
    order_id: str
    lease_token: int
    attempts: int
    fulfillment_id: str | None = None
    failure: Refusal | None = None
    keeps_money: bool = False


def place_order(command: Command, book: Book, _rules: Rules) -> Decision:
    """Move the amount into escrow and make the order, with a job for its fulfillment."""
    amount, order_id, currency = command.amount_minor, command.order_id, command.currency
    if amount is None or order_id is None or currency is None:
        raise ValueError("place_order was decoded without an amount, an order_id or a currency")
    wallet = book.wallet(command.client_id, currency)
    refusal = check_wallet(command, book, wallet, takes=True)
    if refusal is not None or wallet is None:
        return refuse(command, book, refusal or CLIENT_NOT_FOUND)
    if (command.client_id, order_id) in book.orders:
        return refuse(command, book, _ORDER_EXISTS)
    if wallet.available < amount:
        return refuse(command, book, INSUFFICIENT_FUNDS)
    order = Order(
        command.client_id, order_id, command.command_id, currency, amount, "pending", "escrow",
        None, 0, 1, None, None, command.correlation_id, _event_id(command), command.headers,
        book.now, book.now, Job(), command.reference, command.description, command.items,
        command.metadata, changed=True,
    )  # fmt: skip
    book.orders[command.client_id, order_id] = order
    wallet.post(PLACE, amount, book.now)
    return _keep(command, book, wallet, order, posting=PLACE)


def cancel_order(command: Command, book: Book, _rules: Rules) -> Decision:
    """Give the money back, of an order not yet begun or of a failed one that keeps its money."""
    command, order, wallet, refusal = _look_up(command, book)
    refusal = refusal or _check_cancellable(order)
    if refusal is not None or order is None or wallet is None:
        return _keep(command, book, wallet, order, refusal=refusal or _ORDER_NOT_FOUND)
    order.change("cancelled", "wallet", book.now)
    wallet.post(GIVE_BACK, order.amount, book.now)
    return _keep(command, book, wallet, order, posting=GIVE_BACK)


def retry_order(command: Command, book: Book, _rules: Rules) -> Decision:
    """Send a failed order to fulfillment again; money that was given back is taken again."""
    command, order, wallet, refusal = _look_up(command, book)
    refusal = refusal or _check_retryable(order, wallet)
    if refusal is not None or order is None or wallet is None:
        return _keep(command, book, wallet, order, refusal=refusal or _ORDER_NOT_FOUND)
    posting = PLACE if order.money == "wallet" else None
    order.change("pending", "escrow", book.now)
    order.rounds += 1
    order.reason = order.detail = None
    order.correlation_id, order.headers = command.correlation_id, command.headers
    order.event_id = _event_id(command)
    if posting is not None:
        wallet.post(posting, order.amount, book.now)
    return _keep(command, book, wallet, order, posting=posting)


def get_order(command: Command, book: Book) -> Decision:
    """The order as it stands."""
    order = book.orders.get((command.client_id, command.order_id or ""))
    refusal = check_currency(command, order)
    if refusal is None and order is None:
        known = command.client_id in book.clients
        refusal = _ORDER_NOT_FOUND if known else CLIENT_NOT_FOUND
    decision = not_kept(command, book, refusal)
    if order is not None and refusal is None:
        decision.order = state_of(order, book)
    return decision


def settle(settlement: Settlement, book: Book) -> Transaction | None:
    """Record the end of an order's round and move its money; None where the lease was lost.

    The book must have the order with its job and wallet loaded under their locks (`Need.orders`,
    `jobs` and `wallets`). What is to be told of it is `unpack_state` of the row.
    """
    order = book.orders.get((settlement.client_id, settlement.order_id))
    if order is None or order.job is None or order.job.lease_token != settlement.lease_token:
        return None
    wallet = book.wallet(order.client_id, order.currency)
    if wallet is None:
        raise ValueError(f"order {order.order_id} was loaded without its wallet")
    failure = settlement.failure
    order.attempts += settlement.attempts
    if failure is None:
        posting: Posting | None = COMPLETE
        order.fulfillment_id = settlement.fulfillment_id
        order.change("completed", "revenue", book.now)
    else:
        posting = None if settlement.keeps_money else GIVE_BACK
        order.reason, order.detail = failure.reason, failure.detail
        order.change("failed", "escrow" if settlement.keeps_money else "wallet", book.now)
    if posting is not None:
        wallet.post(posting, order.amount, book.now)
    row = _settlement_row(order, book, wallet, posting)
    book.keep(row)
    return row


def _settlement_row(
    order: Order, book: Book, wallet: Wallet, posting: Posting | None
) -> Transaction:
    before = wallet.available - (order.amount if posting is GIVE_BACK else 0)
    return Transaction(
        order.client_id, settlement_id(order.order_id, order.status, order.rounds),
        next(book.transaction_ids), f"order_{order.status}", "applied", None, None, None,
        order.currency, order.amount, None if posting is None else posting.debit,
        None if posting is None else posting.credit, None, None, None, order.order_id, None,
        before, wallet.available, wallet.held or 0, wallet.escrow, None, None, None, None,
        pack_state(state_of(order, book)), None, None, None, None, book.now,
    )  # fmt: skip


def _look_up(
    command: Command, book: Book
) -> tuple[Command, Order | None, Wallet | None, Refusal | None]:
    """The command with the order's amount and currency, the order, its wallet, what is wrong."""
    order = book.orders.get((command.client_id, command.order_id or ""))
    refusal = check_currency(command, order)
    if refusal is not None:
        return command, None, book.wallet(command.client_id, command.currency), refusal
    if order is not None:
        command = replace(command, currency=order.currency, amount_minor=order.amount)
    wallet = book.wallet(command.client_id, command.currency)
    return command, order, wallet, check_client(command, book, wallet, takes=False)


def _check_cancellable(order: Order | None) -> Refusal | None:
    if order is None:
        return _ORDER_NOT_FOUND
    if order.status == "pending":
        return _HAS_BEGUN if order.job is None or order.job.has_begun else None
    if order.status == "failed":
        return None if order.money == "escrow" else _GIVEN_BACK
    return Refusal("order_not_cancellable", f"The order is {order.status}.")


def _check_retryable(order: Order | None, wallet: Wallet | None) -> Refusal | None:
    if order is None or wallet is None:
        return _ORDER_NOT_FOUND
    if order.status != "failed":
        return Refusal("order_not_retryable", f"The order is {order.status}, not failed.")
    if order.money == "escrow":
        return None
    if wallet.status == "frozen":
        return WALLET_FROZEN
    return INSUFFICIENT_FUNDS if wallet.available < order.amount else None


def _keep(
    command: Command,
    book: Book,
    wallet: Wallet | None,
    order: Order | None,
    *,
    posting: Posting | None = None,
    refusal: Refusal | None = None,
) -> Decision:
    """Write the outcome into the journal, with the order as it stands after it."""
    row = journal_row(command, book, wallet, posting=posting, refusal=refusal)
    if order is not None:
        row = replace(row, order_state=pack_state(state_of(order, book)))
    book.keep(row)
    return Decision(command, row)


def _event_id(command: Command) -> str:
    """The id of the record that answers the command."""
    source = command.source
    return f"{source.topic}/{source.partition}/{source.offset}"


_ORDER_EXISTS = Refusal("order_exists", "The client has, or had, an order of this order_id.")
_ORDER_NOT_FOUND = Refusal("order_not_found", "The client has no order of this order_id.")
_HAS_BEGUN = Refusal("order_not_cancellable", "The order's fulfillment has begun.")
_GIVEN_BACK = Refusal(
    "order_not_cancellable", "The order has failed, and its money is back in the wallet."
)
