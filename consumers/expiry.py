"""The sweep: holds whose time is over are released, in transactions that lock as a batch does."""

from consumers.answer import Answerer
from consumers.batch import Ledger
from ledger import journal
from ledger.hold import expire
from ledger.journal import Need

# Holds in one transaction: a batch that waits for one of their wallets waits some milliseconds.
HOLDS_MAX = 200


def release_expired(ledger: Ledger) -> int:
    """Release up to HOLDS_MAX holds that are due, and commit; how many were due.

    Any number of workers may do it at once, for all clients: a hold is looked at again under the
    lock of its wallet, so exactly one of capture, release and expiry wins. Raises psycopg.Error,
    UnknownScaleError where a hold is in a currency of the operator's that was added since; nothing
    is written then.
    """
    due = journal.due_holds(ledger.connection, HOLDS_MAX)
    if due:
        try:
            _release(ledger, due)
        except BaseException:
            ledger.roll_back()
            raise
    return len(due)


def _release(ledger: Ledger, due: list[tuple[str, str, str]]) -> None:
    need = Need(
        wallets={(client_id, currency) for client_id, currency, _ in due},
        holds={(client_id, hold_id) for client_id, _, hold_id in due},
        row_count=len(due),
    )
    book = journal.load(ledger.connection, need)
    answerer = Answerer(ledger.currencies, book.now)
    outbox = []
    for client_id, _, hold_id in due:
        hold = book.holds[client_id, hold_id]
        transaction = expire(hold, book)
        if transaction is not None:
            outbox.append(answerer.tell_expiry(hold, transaction))
    ledger.commit(book, ledger.write(book, outbox))
