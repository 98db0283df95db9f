"""Money set aside: held, captured, released, and released by itself when its time is over."""

from msgspec.structs import replace

from ledger.book import Book, Hold, Transaction, Wallet, expiry_id, rest_id
from ledger.command import Command
from ledger.outcome import (
    CLIENT_NOT_FOUND,
    INSUFFICIENT_FUNDS,
    Decision,
    check_wallet,
    journal_row,
    keep,
    refuse,
)
from ledger.posting import CAPTURE, HOLD, RELEASE
from ledger.reference import check_client, check_currency, read_amount
from ledger.refusal import Refusal
from ledger.rule import Rules


def hold(command: Command, book: Book, _rules: Rules) -> Decision:
    """Set money of the available balance aside under the hold's id."""
    amount, hold_id, currency = command.amount_minor, command.hold_id, command.currency
    if amount is None or hold_id is None or currency is None:
        raise ValueError("hold was decoded without an amount, a hold_id or a currency")
    wallet = book.wallet(command.client_id, currency)
    refusal = check_wallet(command, book, wallet, takes=True)
    if refusal is not None or wallet is None:
        return refuse(command, book, refusal or CLIENT_NOT_FOUND)
    if (command.client_id, hold_id) in book.holds:
        return refuse(command, book, _HOLD_EXISTS)
    if command.expires_at is not None and command.expires_at <= book.now:
        return refuse(command, book, _BORN_EXPIRED)
    if wallet.available < amount:
        return refuse(command, book, INSUFFICIENT_FUNDS)
    source = command.source
    book.holds[command.client_id, hold_id] = Hold(
        command.client_id, hold_id, currency, amount, "open", command.command_id,
        command.expires_at, book.now, None, command.correlation_id,
        f"{source.topic}/{source.partition}/{source.offset}", changed=True,
    )  # fmt: skip
    wallet.post(HOLD, amount, book.now)
    return keep(command, book, wallet, posting=HOLD)


def capture(command: Command, book: Book, rules: Rules) -> Decision:
    """Take held money, all of it or a part; the rest goes back to the available balance."""
    found = book.holds.get((command.client_id, command.hold_id or ""))
    refusal = check_currency(command, found)
    if refusal is None and found is not None:
        command, refusal = read_amount(command, found.currency, rules)
    if refusal is not None:
        return refuse(command, book, refusal)
    wallet = book.wallet(command.client_id, command.currency)
    refusal = check_client(command, book, wallet, takes=True) or _check_hold(found, book)
    if refusal is not None or found is None or wallet is None:
        return refuse(command, book, refusal or _HOLD_NOT_FOUND)
    amount = found.amount if command.amount_minor is None else command.amount_minor
    if amount > found.amount:
        return refuse(command, book, _EXCEEDS_HOLD)
    command = replace(command, amount_minor=amount)
    # The rest stands before the capture in the journal: the capture's own row, which is all that a
    # duplicate is answered from, then has the balances after both.
    rest = _release_rest(command, book, wallet, found.amount - amount)
    wallet.post(CAPTURE, amount, book.now)
    found.settle("captured", book.now)
    decision = keep(command, book, wallet, posting=CAPTURE)
    decision.rest = rest
    return decision


def release(command: Command, book: Book, _rules: Rules) -> Decision:
    """Give held money back to the available balance, all of it."""
    found = book.holds.get((command.client_id, command.hold_id or ""))
    refusal = check_currency(command, found)
    if refusal is not None:
        return refuse(command, book, refusal)
    if found is not None:
        command = replace(command, currency=found.currency)
    wallet = book.wallet(command.client_id, command.currency)
    refusal = check_client(command, book, wallet, takes=False) or _check_hold(found, book)
    if refusal is not None or found is None or wallet is None:
        return refuse(command, book, refusal or _HOLD_NOT_FOUND)
    command = replace(command, amount_minor=found.amount)
    wallet.post(RELEASE, found.amount, book.now)
    found.settle("released", book.now)
    return keep(command, book, wallet, posting=RELEASE)


def expire(found: Hold, book: Book) -> Transaction | None:
    """Release a hold whose time is over; None where it was settled first, or is not due yet."""
    wallet = book.wallet(found.client_id, found.currency)
    if wallet is None or not _is_due(found, book):
        return None
    wallet.post(RELEASE, found.amount, book.now)
    found.settle("expired", book.now)
    transaction = Transaction(
        found.client_id, expiry_id(found.hold_id), next(book.transaction_ids), "hold_released",
        "applied", None, None, None, found.currency, found.amount, RELEASE.debit, RELEASE.credit,
        None, None, found.hold_id, None, None, wallet.available - found.amount, wallet.available,
        wallet.held or 0, wallet.escrow, None, None, None, None, None, None, None, None, None,
        book.now,
    )  # fmt: skip
    book.keep(transaction)
    return transaction


def _release_rest(command: Command, book: Book, wallet: Wallet, rest: int) -> Transaction | None:
    if rest == 0:
        return None
    wallet.post(RELEASE, rest, book.now)
    released = replace(command, type="release", amount_minor=rest)
    row = replace(
        journal_row(released, book, wallet, posting=RELEASE),
        command_id=rest_id(command.command_id),
        fingerprint=None,
    )
    book.keep(row)
    return row


def _check_hold(found: Hold | None, book: Book) -> Refusal | None:
    if found is None or found.status in ("captured", "released"):
        return _HOLD_NOT_FOUND
    return _HOLD_EXPIRED if found.status == "expired" or _is_due(found, book) else None


def _is_due(found: Hold, book: Book) -> bool:
    return found.status == "open" and found.expires_at is not None and found.expires_at <= book.now


_HOLD_EXISTS = Refusal("hold_exists", "The client has, or had, a hold of this hold_id.")
_HOLD_NOT_FOUND = Refusal("hold_not_found", "The client has no open hold of this hold_id.")
_BORN_EXPIRED = Refusal("hold_expired", "expires_at was past when the hold was to be made.")
_HOLD_EXPIRED = Refusal("hold_expired", "The hold's expires_at is past.")
_EXCEEDS_HOLD = Refusal("exceeds_hold", "The amount is more than is held.")
