"""What deciding a command gives: the answer, the row that is kept, the refusals of all rules."""

from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from ledger.book import Book, Transaction, Wallet
from ledger.command import Command
from ledger.order_state import OrderState
from ledger.posting import AVAILABLE, PEER, Posting
from ledger.refusal import Refusal


class WalletState(NamedTuple):
    """A wallet as a query saw it, balances in minor units."""

    currency: str
    balance: int
    held: int
    status: str
    version: int
    updated_at: datetime | None


class Decision(Struct, gc=False):
    """The answer to one command.

    `transaction` is the kept outcome (for a duplicate the first one's), None where nothing is
    kept: for a query and an idempotency conflict, of which `refusal` says why where they were
    refused. `balance` and `held` are then the client's, None without a wallet. `peer_held` is the
    counterparty's held balance, None where no money reached or left one. `rest` is the row of what
    a capture released, which stands before the capture's own. `wallets`, `recent` (newest first)
    and `next_before` answer a query, `order` one about an order.
    """

    command: Command
    transaction: Transaction | None = None
    duplicate: bool = False
    refusal: Refusal | None = None
    balance: int | None = None
    held: int | None = None
    peer_held: int | None = None
    rest: Transaction | None = None
    wallets: list[WalletState] | None = None
    recent: list[Transaction] | None = None
    next_before: int | None = None
    order: OrderState | None = None


def refuse(command: Command, book: Book, refusal: Refusal) -> Decision:
    """Refuse, and keep the refusal: the same command sent again gets the same answer."""
    wallet = book.wallet(command.client_id, command.currency)
    return keep(command, book, wallet, refusal=refusal)


def apply_moneyless(command: Command, book: Book) -> Decision:
    """Keep that the command was applied, and moved no money."""
    return keep(command, book, book.wallet(command.client_id, command.currency))


def not_kept(command: Command, book: Book, refusal: Refusal | None) -> Decision:
    """An answer that is not remembered, so that the id stays free."""
    wallet = book.wallet(command.client_id, command.currency)
    if wallet is None:
        return Decision(command, refusal=refusal)
    return Decision(command, refusal=refusal, balance=wallet.available, held=wallet.held or 0)


def keep(
    command: Command,
    book: Book,
    wallet: Wallet | None,
    *,
    refusal: Refusal | None = None,
    posting: Posting | None = None,
    peer: Wallet | None = None,
) -> Decision:
    """Write the outcome into the journal, from the wallets as they stand after it.

    `wallet` is None where there is none; `posting` None where no money moved; `peer` is the
    counterparty's wallet where it gave or received.
    """
    transaction = journal_row(command, book, wallet, refusal=refusal, posting=posting, peer=peer)
    book.keep(transaction)
    return Decision(command, transaction, peer_held=None if peer is None else peer.held or 0)


def journal_row(
    command: Command,
    book: Book,
    wallet: Wallet | None,
    *,
    refusal: Refusal | None = None,
    posting: Posting | None = None,
    peer: Wallet | None = None,
) -> Transaction:
    """The journal's row of a command's outcome; see `keep`."""
    source = command.source
    after = None if wallet is None else wallet.available
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
        command.merchant_id,
        command.hold_id,
        command.order_id,
        command.original_command_id,
        _before(after, command.amount_minor, posting),
        after,
        None if wallet is None else wallet.held or 0,
        None if wallet is None else wallet.escrow,
        None if peer is None else peer.available,
        command.reference,
        command.description,
        command.metadata,
        None,
        source.topic,
        source.partition,
        source.offset,
        command.occurred_at,
        book.now,
    )


def _before(after: int | None, amount: int | None, posting: Posting | None) -> int | None:
    """The available balance before the movement, from the one after it."""
    if after is None or amount is None or posting is None:
        return after
    if posting.debit == AVAILABLE:
        return after + amount
    return after - amount if posting.credit == AVAILABLE else after


def check_wallet(
    command: Command, book: Book, wallet: Wallet | None, *, takes: bool, may_make: bool = False
) -> Refusal | None:
    """Whether the command's own wallet is there and lets money in or, with `takes`, out."""
    if wallet is None:
        if may_make:
            return None
        return CLIENT_NOT_FOUND if command.client_id not in book.clients else WALLET_NOT_FOUND
    if wallet.status == "closed":
        return WALLET_CLOSED
    if wallet.status == "frozen" and takes:
        return WALLET_FROZEN
    return None


def touches_peer(posting: Posting) -> bool:
    """Whether the movement gives to or takes from the counterparty's wallet."""
    return PEER in (posting.debit, posting.credit)


CLIENT_NOT_FOUND = Refusal("client_not_found", "There is no such client.")
WALLET_NOT_FOUND = Refusal("wallet_not_found", "The client has no wallet of this currency.")
WALLET_CLOSED = Refusal("wallet_closed", "The wallet is closed.")
WALLET_FROZEN = Refusal("wallet_frozen", "The wallet is frozen: no money leaves it.")
BALANCE_LIMIT = Refusal("balance_limit", "The wallet's balance would pass its limit.")
INSUFFICIENT_FUNDS = Refusal("insufficient_funds", "The available balance is less than the amount.")
