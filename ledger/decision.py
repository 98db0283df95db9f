"""What a command does to the book: decided record by record, without I/O or a clock of its own."""

from collections.abc import Callable

from ledger import hold, lifecycle, order, question, refund
from ledger.book import Book, Wallet, rest_id
from ledger.command import Command
from ledger.money import AMOUNT_MINOR_MAX
from ledger.outcome import (
    BALANCE_LIMIT,
    INSUFFICIENT_FUNDS,
    Decision,
    check_wallet,
    keep,
    not_kept,
    refuse,
    touches_peer,
)
from ledger.posting import AVAILABLE, PEER, POSTINGS, Posting
from ledger.rate import Bucket
from ledger.refusal import Refusal
from ledger.rule import Rules


def decide(command: Command, book: Book, rules: Rules) -> Decision:
    """Decide one command and change the book by it; refusals come in contract §3's order."""
    earlier = book.known.get((command.client_id, command.command_id))
    if earlier is not None:
        if earlier.fingerprint != command.fingerprint:
            return not_kept(command, book, _CONFLICT)
        rest = book.known.get((command.client_id, rest_id(command.command_id)))
        return Decision(command, earlier, duplicate=True, rest=rest)
    if command.type in QUERIES:
        if command.refusal is not None:
            return not_kept(command, book, command.refusal)
        return QUERIES[command.type](command, book)
    if rules.rate_limit is not None and not _has_token(command, book, rules):
        return not_kept(command, book, _RATE_LIMITED)
    if command.refusal is not None:
        return refuse(command, book, command.refusal)
    posting = POSTINGS.get(command.type)
    if posting is not None:
        return _post(command, book, rules, posting)
    if command.type in CHANGES:
        return CHANGES[command.type](command, book)
    return MOVEMENTS[command.type](command, book, rules)


def _has_token(command: Command, book: Book, rules: Rules) -> bool:
    if rules.rate_limit is None:
        return True
    bucket = book.buckets.setdefault((command.client_id, command.source.topic), Bucket())
    return bucket.take(rules.rate_limit, command.sent_at_ms, book.now)


def _post(command: Command, book: Book, rules: Rules, posting: Posting) -> Decision:
    """A movement by the table of postings alone."""
    amount = command.amount_minor
    if amount is None or command.currency is None:
        raise ValueError(f"{command.type} was decoded without an amount or a currency")
    wallet = book.wallet(command.client_id, command.currency)
    takes = posting.debit == AVAILABLE
    refusal = check_wallet(
        command, book, wallet, may_make=posting.makes_wallet and rules.auto_create, takes=takes
    )
    if refusal is None and posting.credit == PEER:
        refusal = _check_recipient(command, book, amount, rules)
    if refusal is None and wallet is not None:
        if takes and wallet.available < amount:
            refusal = INSUFFICIENT_FUNDS
        elif not takes and wallet.total + amount > AMOUNT_MINOR_MAX:
            refusal = BALANCE_LIMIT
    if refusal is not None:
        return refuse(command, book, refusal)
    if wallet is None:
        wallet = book.open_wallet(command.client_id, command.currency)
    return _move(command, book, posting, wallet, amount)


def _move(command: Command, book: Book, posting: Posting, wallet: Wallet, amount: int) -> Decision:
    """Move the money; everything has been checked."""
    wallet.move(-amount if posting.debit == AVAILABLE else amount, book.now)
    peer = None
    if touches_peer(posting):
        peer = _recipient(command, book)
        peer.move(amount, book.now)
    return keep(command, book, wallet, posting=posting, peer=peer)


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
    if peer.total + amount > AMOUNT_MINOR_MAX:
        return _RECIPIENT_LIMIT
    return None


def _recipient(command: Command, book: Book) -> Wallet:
    to_client_id, currency = str(command.to_client_id), str(command.currency)
    return book.wallet(to_client_id, currency) or book.open_wallet(to_client_id, currency)


_CONFLICT = Refusal("idempotency_conflict", "This command_id was used before with other content.")
_RATE_LIMITED = Refusal("rate_limited", "Too many commands of this client; try again later.")
_SAME_WALLET = Refusal("same_wallet", "A transfer needs two different clients.")
_RECIPIENT_NOT_FOUND = Refusal("recipient_not_found", "The recipient can't receive this currency.")
_RECIPIENT_LIMIT = Refusal("balance_limit", "The recipient's wallet can't take this amount.")

# Types that read, and are not remembered.
QUERIES: dict[str, Callable[[Command, Book], Decision]] = {
    "get_wallet": question.get_wallet,
    "get_history": question.get_history,
    "get_order": order.get_order,
}

# Types that change something other than a balance.
CHANGES: dict[str, Callable[[Command, Book], Decision]] = {
    "register_client": lifecycle.register_client,
    "open_wallet": lifecycle.open_wallet,
    "freeze_wallet": lifecycle.freeze_wallet,
    "unfreeze_wallet": lifecycle.unfreeze_wallet,
    "close_wallet": lifecycle.close_wallet,
}

# Types that move money by more than the table of postings says.
MOVEMENTS: dict[str, Callable[[Command, Book, Rules], Decision]] = {
    "hold": hold.hold,
    "capture": hold.capture,
    "release": hold.release,
    "refund": refund.refund,
    "place_order": order.place_order,
    "cancel_order": order.cancel_order,
    "retry_order": order.retry_order,
}
