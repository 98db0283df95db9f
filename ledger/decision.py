"""What a command does to the book: decided record by record, without I/O or a clock of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from ledger.book import Book, Client, Transaction, Wallet
from ledger.command import Command
from ledger.money import AMOUNT_MINOR_MAX
from ledger.posting import AVAILABLE, PEER, POSTINGS, Posting
from ledger.refusal import Refusal

# How many transactions get_wallet shows.
RECENT_COUNT = 10


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has chosen: `auto_create` is WALLET_AUTO_CREATE."""

    auto_create: bool = True


class WalletState(NamedTuple):
    """A wallet as a query saw it, balances in minor units."""

    currency: str
    balance: int
    held: int
    status: str
    version: int
    updated_at: datetime | None


@dataclass(slots=True)
class Decision:
    """The answer to one command.

    `transaction` is the kept outcome (for a duplicate the first one's), None where nothing is
    kept: for a query and an idempotency conflict, of which `refusal` says why where they were
    refused. `balance` and `held` are then the client's, None without a wallet. `peer_held` is the
    counterparty's held balance, None where no money reached one. `wallets` and `recent` answer a
    query.
    """

    command: Command
    transaction: Transaction | None = None
    duplicate: bool = False
    refusal: Refusal | None = None
    balance: int | None = None
    held: int | None = None
    peer_held: int | None = None
    wallets: list[WalletState] | None = None
    recent: list[Transaction] | None = None


def decide(command: Command, book: Book, rules: Rules) -> Decision:
    """Decide one command and change the book by it; refusals come in contract §3's order."""
    earlier = book.known.get((command.client_id, command.command_id))
    if earlier is not None:
        if earlier.fingerprint == command.fingerprint:
            return Decision(command, earlier, duplicate=True)
        return _not_kept(command, book, _CONFLICT)
    if command.type in QUERIES:
        if command.refusal is not None:
            return _not_kept(command, book, command.refusal)
        return QUERIES[command.type](command, book)
    if command.refusal is not None:
        return _refuse(command, book, command.refusal)
    posting = POSTINGS.get(command.type)
    if posting is not None:
        return _post(command, book, rules, posting)
    return CHANGES[command.type](command, book)


def _post(command: Command, book: Book, rules: Rules, posting: Posting) -> Decision:
    amount = command.amount_minor
    if amount is None or command.currency is None:
        raise ValueError(f"{command.type} was decoded without an amount or a currency")
    wallet = book.wallet(command.client_id, command.currency)
    takes = posting.debit == AVAILABLE
    refusal = _check_wallet(
        command, book, wallet, may_make=posting.makes_wallet and rules.auto_create, takes=takes
    )
    if refusal is None and posting.credit == PEER:
        refusal = _check_recipient(command, book, amount, rules)
    if refusal is None and wallet is not None:
        if takes and wallet.available < amount:
            refusal = _INSUFFICIENT_FUNDS
        elif not takes and wallet.available + amount > AMOUNT_MINOR_MAX:
            refusal = _BALANCE_LIMIT
    if refusal is not None:
        return _refuse(command, book, refusal)
    if wallet is None:
        wallet = book.open_wallet(command.client_id, command.currency)
    return _move(command, book, posting, wallet, amount)


def _move(command: Command, book: Book, posting: Posting, wallet: Wallet, amount: int) -> Decision:
    """Move the money; everything has been checked."""
    wallet.move(-amount if posting.debit == AVAILABLE else amount, book.now)
    peer = None
    if posting.credit == PEER:
        peer = _recipient(command, book)
        peer.move(amount, book.now)
    transaction = _transaction(command, book, wallet, posting=posting, peer=peer)
    book.keep(transaction)
    return Decision(command, transaction, peer_held=None if peer is None else peer.held or 0)


def _check_wallet(
    command: Command, book: Book, wallet: Wallet | None, *, may_make: bool, takes: bool
) -> Refusal | None:
    if wallet is None:
        if may_make:
            return None
        return _CLIENT_NOT_FOUND if command.client_id not in book.clients else _WALLET_NOT_FOUND
    if wallet.status == "closed":
        return _WALLET_CLOSED
    if wallet.status == "frozen" and takes:
        return _WALLET_FROZEN
    return None


def _check_recipient(command: Command, book: Book, amount: int, rules: Rules) -> Refusal | None:
    to_client_id, currency = command.to_client_id, command.currency
    if to_client_id is None or currency is None:
        raise ValueError(f"{command.type} was decoded without a recipient or a currency")
    if to_client_id == command.client_id:
        return _SAME_WALLET
    peer = book.wallet(to_client_id, currency)
    if peer is None:
        known = rules.auto_create and to_client_id in book.clients
        return None if known else _RECIPIENT_NOT_FOUND
    if peer.status == "closed":
        return _RECIPIENT_NOT_FOUND
    if peer.available + amount > AMOUNT_MINOR_MAX:
        return _RECIPIENT_LIMIT
    return None


def _recipient(command: Command, book: Book) -> Wallet:
    to_client_id, currency = str(command.to_client_id), str(command.currency)
    return book.wallet(to_client_id, currency) or book.open_wallet(to_client_id, currency)


def _register_client(command: Command, book: Book) -> Decision:
    profile = command.profile
    if profile is None:
        raise ValueError("register_client was decoded without a profile")
    client = book.clients.get(command.client_id)
    if client is not None and client.registered:
        return _refuse(command, book, _CLIENT_EXISTS)
    if profile.email is not None and profile.email.lower() in book.emails:
        return _refuse(command, book, _EMAIL_TAKEN)
    if profile.phone is not None and profile.phone in book.phones:
        return _refuse(command, book, _PHONE_TAKEN)
    if client is None:
        client = book.clients[command.client_id] = Client(command.client_id, False, False)
    client.registered = True
    client.profile = profile
    if profile.email is not None:
        book.emails[profile.email.lower()] = command.client_id
    if profile.phone is not None:
        book.phones[profile.phone] = command.client_id
    return _apply_moneyless(command, book)


def _open_wallet(command: Command, book: Book) -> Decision:
    if command.currency is None:
        raise ValueError("open_wallet was decoded without a currency")
    wallet = book.wallet(command.client_id, command.currency)
    if wallet is not None:
        closed = wallet.status == "closed"
        return _refuse(command, book, _WALLET_CLOSED if closed else _WALLET_EXISTS)
    if command.client_id not in book.clients:
        return _refuse(command, book, _CLIENT_NOT_FOUND)
    book.open_wallet(command.client_id, command.currency)
    return _apply_moneyless(command, book)


def _get_wallet(command: Command, book: Book) -> Decision:
    if command.client_id not in book.clients:
        return _not_kept(command, book, _CLIENT_NOT_FOUND)
    mine = book.wallets.get(command.client_id, {})
    if command.currency is not None and command.currency not in mine:
        return _not_kept(command, book, _WALLET_NOT_FOUND)
    decision = _not_kept(command, book, None)
    decision.wallets = [
        WalletState(w.currency, w.available, w.held or 0, w.status, w.version, w.updated_at)
        for _, w in sorted(mine.items())
        if command.currency in (None, w.currency)
    ]
    shown = book.history[command.client_id, command.currency]
    decision.recent = list(islice(shown, RECENT_COUNT))
    return decision


def _apply_moneyless(command: Command, book: Book) -> Decision:
    wallet = book.wallet(command.client_id, command.currency)
    transaction = _transaction(command, book, wallet)
    book.keep(transaction)
    return Decision(command, transaction)


def _refuse(command: Command, book: Book, refusal: Refusal) -> Decision:
    """Refuse, and keep the refusal: the same command sent again gets the same answer."""
    wallet = book.wallet(command.client_id, command.currency)
    transaction = _transaction(command, book, wallet, refusal=refusal)
    book.keep(transaction)
    return Decision(command, transaction)


def _not_kept(command: Command, book: Book, refusal: Refusal | None) -> Decision:
    wallet = book.wallet(command.client_id, command.currency)
    if wallet is None:
        return Decision(command, refusal=refusal)
    return Decision(command, refusal=refusal, balance=wallet.available, held=wallet.held or 0)


def _transaction(
    command: Command,
    book: Book,
    wallet: Wallet | None,
    *,
    refusal: Refusal | None = None,
    posting: Posting | None = None,
    peer: Wallet | None = None,
) -> Transaction:
    """The journal's row, from the wallet as it stands after the movement (None: there is none)."""
    source = command.source
    after = before = None if wallet is None else wallet.available
    if after is not None and posting is not None and command.amount_minor is not None:
        takes = posting.debit == AVAILABLE
        before = after + command.amount_minor if takes else after - command.amount_minor
    return Transaction(
        command.client_id,
        command.command_id,
        next(book.transaction_ids),
        command.type,
        "applied" if refusal is None else "rejected",
        None if refusal is None else refusal.reason,
        None if refusal is None else refusal.detail,
        command.fingerprint,
        command.currency,
        command.amount_minor,
        None if posting is None else posting.debit,
        None if posting is None else posting.credit,
        command.to_client_id,
        before,
        after,
        None if wallet is None else wallet.held or 0,
        None if peer is None else peer.available,
        command.reference,
        command.description,
        command.metadata,
        source.topic,
        source.partition,
        source.offset,
        command.occurred_at,
        book.now,
    )


_CONFLICT = Refusal("idempotency_conflict", "This command_id was used before with other content.")
_CLIENT_NOT_FOUND = Refusal("client_not_found", "There is no such client.")
_WALLET_NOT_FOUND = Refusal("wallet_not_found", "The client has no wallet of this currency.")
_WALLET_CLOSED = Refusal("wallet_closed", "The wallet is closed.")
_WALLET_FROZEN = Refusal("wallet_frozen", "The wallet is frozen: no money leaves it.")
_WALLET_EXISTS = Refusal("wallet_exists", "The client has a wallet of this currency already.")
_CLIENT_EXISTS = Refusal("client_exists", "The client is registered already.")
_EMAIL_TAKEN = Refusal("email_taken", "Another client has this email address.")
_PHONE_TAKEN = Refusal("phone_taken", "Another client has this phone number.")
_SAME_WALLET = Refusal("same_wallet", "A transfer needs two different clients.")
_RECIPIENT_NOT_FOUND = Refusal("recipient_not_found", "The recipient can't receive this currency.")
_BALANCE_LIMIT = Refusal("balance_limit", "The wallet's balance would pass its limit.")
_RECIPIENT_LIMIT = Refusal("balance_limit", "The recipient's wallet can't take this amount.")
_INSUFFICIENT_FUNDS = Refusal(
    "insufficient_funds", "The available balance is less than the amount."
)

# Types that read, and are not remembered.
QUERIES: dict[str, Callable[[Command, Book], Decision]] = {"get_wallet": _get_wallet}

# Types that change something other than a balance.
CHANGES: dict[str, Callable[[Command, Book], Decision]] = {
    "register_client": _register_client,
    "open_wallet": _open_wallet,
}
