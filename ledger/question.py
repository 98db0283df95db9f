"""The queries: what a client asks of its wallets and their history."""

from itertools import islice

from ledger.book import Book
from ledger.command import Command
from ledger.outcome import CLIENT_NOT_FOUND, WALLET_NOT_FOUND, Decision, WalletState, not_kept

# How many transactions get_wallet shows.
RECENT_COUNT = 10

# How many get_history shows by default.
_PAGE_COUNT = 50
_ID_MAX = 2**63 - 1


def get_wallet(command: Command, book: Book) -> Decision:
    """The client's wallets, of one currency or all, and its last transactions."""
    return _answer(command, book, has_next=False)


def get_history(command: Command, book: Book) -> Decision:
    """A page of the client's transactions, and where the next one begins."""
    return _answer(command, book, has_next=True)


def page_before(command: Command) -> int | None:
    """The id that the asked page ends before, None for the newest page."""
    return None if command.before is None else min(int(command.before), _ID_MAX)


def page_count(command: Command) -> int:
    """How many rows must be read for the page: one more than get_history shows."""
    if command.type == "get_history":
        return (command.limit or _PAGE_COUNT) + 1
    return RECENT_COUNT


def _answer(command: Command, book: Book, *, has_next: bool) -> Decision:
    if command.client_id not in book.clients:
        return not_kept(command, book, CLIENT_NOT_FOUND)
    mine = book.wallets.get(command.client_id, {})
    if command.currency is not None and command.currency not in mine:
        return not_kept(command, book, WALLET_NOT_FOUND)
    decision = not_kept(command, book, None)
    decision.wallets = [
        WalletState(w.currency, w.available, w.held or 0, w.status, w.version, w.updated_at)
        for _, w in sorted(mine.items())
        if command.currency in (None, w.currency)
    ]
    page = book.history[command.client_id][command.currency, page_before(command)]
    decision.recent = list(islice(page, page_count(command)))
    if has_next and len(decision.recent) == page_count(command):
        decision.recent.pop()
        decision.next_before = decision.recent[-1].id
    return decision
