"""A client's and a wallet's life: registered, opened, frozen, unfrozen, closed."""

from ledger.book import Book, Client
from ledger.command import Command
from ledger.outcome import (
    CLIENT_NOT_FOUND,
    WALLET_CLOSED,
    Decision,
    apply_moneyless,
    check_wallet,
    refuse,
)
from ledger.refusal import Refusal


def register_client(command: Command, book: Book) -> Decision:
    """Make a client, or fill in the profile of one that money made; opens no wallet."""
    profile = command.profile
    if profile is None:
        raise ValueError("register_client was decoded without a profile")
    client = book.clients.get(command.client_id)
    if client is not None and client.registered:
        return refuse(command, book, _CLIENT_EXISTS)
    if profile.email is not None and profile.email.lower() in book.emails:
        return refuse(command, book, _EMAIL_TAKEN)
    if profile.phone is not None and profile.phone in book.phones:
        return refuse(command, book, _PHONE_TAKEN)
    if client is None:
        client = book.clients[command.client_id] = Client(command.client_id, False, False)
    client.registered = True
    client.profile = profile
    if profile.email is not None:
        book.emails[profile.email.lower()] = command.client_id
    if profile.phone is not None:
        book.phones[profile.phone] = command.client_id
    return apply_moneyless(command, book)


def open_wallet(command: Command, book: Book) -> Decision:
    """Open a wallet of one currency for a known client."""
    if command.currency is None:
        raise ValueError("open_wallet was decoded without a currency")
    wallet = book.wallet(command.client_id, command.currency)
    if wallet is not None:
        closed = wallet.status == "closed"
        return refuse(command, book, WALLET_CLOSED if closed else _WALLET_EXISTS)
    if command.client_id not in book.clients:
        return refuse(command, book, CLIENT_NOT_FOUND)
    book.open_wallet(command.client_id, command.currency)
    return apply_moneyless(command, book)


def freeze_wallet(command: Command, book: Book) -> Decision:
    """Let no more money out. Freezing a frozen wallet is applied, and changes nothing."""
    return _change_status(command, book, "frozen")


def unfreeze_wallet(command: Command, book: Book) -> Decision:
    """Let money out again. Unfreezing an open wallet is applied, and changes nothing."""
    return _change_status(command, book, "open")


def close_wallet(command: Command, book: Book) -> Decision:
    """Close an empty wallet, for good."""
    return _change_status(command, book, "closed")


def _change_status(command: Command, book: Book, status: str) -> Decision:
    wallet = book.wallet(command.client_id, command.currency)
    refusal = check_wallet(command, book, wallet, takes=False)
    if refusal is not None or wallet is None:
        return refuse(command, book, refusal or CLIENT_NOT_FOUND)
    if status == "closed" and wallet.total:
        return refuse(command, book, _BALANCE_NOT_ZERO)
    wallet.change_status(status, book.now)
    return apply_moneyless(command, book)


_CLIENT_EXISTS = Refusal("client_exists", "The client is registered already.")
_EMAIL_TAKEN = Refusal("email_taken", "Another client has this email address.")
_PHONE_TAKEN = Refusal("phone_taken", "Another client has this phone number.")
_WALLET_EXISTS = Refusal("wallet_exists", "The client has a wallet of this currency already.")
_BALANCE_NOT_ZERO = Refusal(
    "balance_not_zero", "There is still money in the wallet, held money and escrow included."
)
