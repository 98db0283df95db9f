"""Refunds: money back along the way it went, in part or all that is left, never more."""

from msgspec.structs import replace

from ledger.book import Book, Transaction, Wallet
from ledger.command import Command
from ledger.money import AMOUNT_MINOR_MAX
from ledger.outcome import BALANCE_LIMIT, WALLET_FROZEN, Decision, keep, refuse
from ledger.posting import (
    AVAILABLE,
    PEER,
    REFUNDABLE,
    REFUNDABLE_ORDER,
    REFUNDABLE_TRANSFER,
    REVENUE,
    Posting,
)
from ledger.reference import check_client, check_currency, read_amount
from ledger.refusal import Refusal
from ledger.rule import Rules


def refund(command: Command, book: Book, rules: Rules) -> Decision:
    """Give back what an earlier command took."""
    original = book.known.get((command.client_id, command.original_command_id or ""))
    refusal = None
    # What moved no money has nothing to say of currencies: it may have been refused for its own.
    if original is not None and original.currency is not None and original.debit_kind is not None:
        refusal = check_currency(command, original)
        if refusal is None:
            command, refusal = read_amount(command, original.currency, rules)
    if refusal is not None:
        return refuse(command, book, refusal)
    wallet = book.wallet(command.client_id, command.currency)
    peer = _peer(original, book) if rules.transfer_refund else None
    refusal = check_client(command, book, wallet, takes=False) or _check_peer(peer)
    if refusal is None:
        refusal = _check_original(original, peer, rules) or _check_order(original, book)
    if refusal is not None or original is None or wallet is None:
        return refuse(command, book, refusal or _TRANSACTION_NOT_FOUND)
    return _give_back(command, book, original, wallet, peer)


def _give_back(
    command: Command, book: Book, original: Transaction, wallet: Wallet, peer: Wallet | None
) -> Decision:
    key = original.client_id, original.command_id
    refunded = book.refunded.get(key, 0)
    left = (original.amount or 0) - refunded
    amount = left if command.amount_minor is None else command.amount_minor
    if amount > left or amount == 0:
        return refuse(command, book, _EXCEEDS_ORIGINAL)
    if wallet.total + amount > AMOUNT_MINOR_MAX:
        return refuse(command, book, BALANCE_LIMIT)
    if peer is not None:
        if peer.available < amount:
            return refuse(command, book, _PEER_FUNDS)
        peer.move(-amount, book.now)
    # An order's payment went to escrow first, and from there where it is taken from now.
    receiver = REVENUE if original.type == REFUNDABLE_ORDER else str(original.credit_kind)
    posting = Posting(receiver, AVAILABLE)
    wallet.post(posting, amount, book.now)
    book.refunded[key] = refunded + amount
    command = replace(
        command, amount_minor=amount, merchant_id=original.merchant_id,
        to_client_id=original.counterparty, order_id=original.order_id,
    )  # fmt: skip
    return keep(command, book, wallet, posting=posting, peer=peer)


def _peer(original: Transaction | None, book: Book) -> Wallet | None:
    """The wallet that a transfer's money would be taken from."""
    if original is None or original.credit_kind != PEER:
        return None
    return book.wallet(str(original.counterparty), original.currency)


def _check_peer(peer: Wallet | None) -> Refusal | None:
    if peer is None or peer.status == "open":
        return None
    return _PEER_FROZEN if peer.status == "frozen" else _PEER_CLOSED


def _check_original(
    original: Transaction | None, peer: Wallet | None, rules: Rules
) -> Refusal | None:
    if original is None:
        return _TRANSACTION_NOT_FOUND
    allowed = original.type in REFUNDABLE or (
        rules.transfer_refund and original.type == REFUNDABLE_TRANSFER
    )
    if not allowed or original.status != "applied":
        return _NOT_REFUNDABLE
    # Another batch made the transfer between our locks and our look at it, so the recipient's
    # wallet is not locked: this refund came first, then.
    return _TRANSACTION_NOT_FOUND if original.credit_kind == PEER and peer is None else None


def _check_order(original: Transaction | None, book: Book) -> Refusal | None:
    """Of an order only the completed one is refunded; its money is given back otherwise."""
    if original is None or original.type != REFUNDABLE_ORDER:
        return None
    order = book.orders.get((original.client_id, original.order_id or ""))
    # Placed by another batch between our locks and our look at it: this refund came first, then.
    if order is None:
        return _TRANSACTION_NOT_FOUND
    return None if order.status == "completed" else _ORDER_NOT_COMPLETED


_PEER_FROZEN = Refusal(WALLET_FROZEN.reason, "No money can be taken back from the recipient.")
_PEER_CLOSED = Refusal("recipient_not_found", "No money can be taken back from the recipient.")
_PEER_FUNDS = Refusal("insufficient_funds", "The amount can't be taken back from the recipient.")
_TRANSACTION_NOT_FOUND = Refusal(
    "transaction_not_found", "The client has no command of this original_command_id."
)
_NOT_REFUNDABLE = Refusal("not_refundable", "What this command did can't be refunded.")
_ORDER_NOT_COMPLETED = Refusal(
    "not_refundable", "Only a completed order is refunded; see cancel_order for others."
)
_EXCEEDS_ORIGINAL = Refusal("exceeds_original", "The amount is more than is left to refund.")
