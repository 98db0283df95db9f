"""The batch's way to and from the tables: lock and load a book, write what it holds."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

from msgspec.structs import astuple
from psycopg import Connection, Cursor, errors, postgres

from ledger import position
from ledger.book import Book, Client, Hold, Job, Order, PageKey, Transaction, Wallet
from ledger.parcel import OutboxRecord, Parcel, pack
from ledger.position import Move
from ledger.posting import AVAILABLE, ESCROW, HELD, REFUNDABLE_ORDER
from ledger.rate import Bucket
from ledger.statement import columns, statements

_SQL = statements("batch.sql")

# The types of the copied columns, in the statement's order.
# fmt: off
_TRANSACTION_TYPES = [postgres.types.get_oid(name) for name in (
    "text", "text", "int8", "text", "text", "text", "text", "bytea", "text", "int8",
    "text", "text", "text", "text", "text", "text", "text", "int8", "int8", "int8", "int8",
    "int8", "text", "text", "text", "text", "text", "int4",
    "int8", "timestamptz", "timestamptz",
)]
# fmt: on


# In the place of a currency: all that a client has.
ALL = ""


@dataclass(slots=True)
class Need:
    """What a batch's commands will read.

    `wallets` are (client_id, currency), ALL in its place for all of a client's; `commands` are
    (client_id, command_id), originals too; `row_count` is how many journal rows will be written at
    most. `clients` must be known to exist or not. `pages` are for queries: (client_id, page), and
    how many rows of it. `holds` are (client_id, hold_id), `refunds` the (client_id, command_id)
    that refunds name; of `reversals` among them a transfer's recipient is locked, too. `orders` are
    (client_id, order_id), and of `jobs` among them the fulfillment is locked, too. `buckets` are
    (client_id, topic) under a rate limit.
    """

    wallets: set[tuple[str, str]] = field(default_factory=set)
    commands: set[tuple[str, str]] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    row_count: int = 0
    pages: dict[tuple[str, PageKey], int] = field(default_factory=dict)
    holds: set[tuple[str, str]] = field(default_factory=set)
    refunds: set[tuple[str, str]] = field(default_factory=set)
    reversals: set[tuple[str, str]] = field(default_factory=set)
    orders: set[tuple[str, str]] = field(default_factory=set)
    jobs: set[tuple[str, str]] = field(default_factory=set)
    buckets: set[tuple[str, str]] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    phones: set[str] = field(default_factory=set)


def load(connection: Connection, need: Need) -> Book:
    """Begin a transaction, lock the accounts, and read everything the batch's commands may look at.

    Two round trips at most, one more each where transfers may be taken back and where an order is
    refunded. The statements after the one that locks see all that was committed before its locks
    were granted: READ COMMITTED takes a snapshot per statement. Raises psycopg.Error; with SQLSTATE
    40001 where another batch was first, and the same again will do.
    """
    need.wallets.update(
        (row[0], row[1]) for row in _call_for(connection, "recipients", need.reversals)
    )
    with connection.pipeline():
        connection.execute("BEGIN")
        accounts = _call(connection, "lock_accounts", *columns(sorted(need.wallets), 2))
        known = _call_for(connection, "known_commands", need.commands)
        holds = _call_for(connection, "holds", need.holds)
        refunded = _call_for(connection, "refunded", need.refunds)
        _call_for(connection, "lock_jobs", need.jobs)
        orders = _call_for(connection, "orders", need.orders)
        buckets = _call_for(connection, "lock_buckets", need.buckets)
        ids = _call(connection, "take_ids", need.row_count)
    [(now, transaction_ids, _)] = ids.fetchall()
    book = Book(now, iter(transaction_ids))
    _add_accounts(book, accounts)
    for row in holds:
        _add_hold(book, row)
    book.refunded = {(client_id, command_id): amount for client_id, command_id, amount in refunded}
    book.buckets = {(client, topic): Bucket(level, ms) for client, topic, level, ms in buckets}
    for row in known:
        transaction = Transaction(*row)
        book.known[transaction.client_id, transaction.command_id] = transaction
    _add_orders(book, orders)
    _add_orders(book, _call_for(connection, "orders", _refunded_orders(need, book)))
    _load_clients(connection, need, book)
    return book


def due_holds(connection: Connection, count_max: int) -> list[tuple[str, str, str]]:
    """(client_id, currency, hold_id) of open holds whose time is over, the oldest first.

    They are not locked: another may settle them. Raises psycopg.Error.
    """
    return [(row[0], row[1], row[2]) for row in _call(connection, "due_holds", count_max)]


def write(connection: Connection, book: Book, outbox: Iterable[OutboxRecord]) -> list[Parcel]:
    """Write the journal inside the transaction that `load` began; gives the outbox's rows, which
    `commit` writes.

    The outbox is run through while PostgreSQL takes in the journal, which may still grow by that:
    deciding and telling may take their time. Raises psycopg.Error, and what making it raises.
    """
    with _copying(connection, book.journal) as copy_new_rows:
        return list(pack(_after_each(outbox, copy_new_rows)))


def commit(
    connection: Connection, book: Book, parcels: Sequence[Parcel], moves: Sequence[Move] = ()
) -> None:
    """Write all that the book has changed and the outbox, move the positions, guarded, and commit:
    one round trip. The server raises in between, and does not commit then.

    Raises psycopg.Error; with FENCED_SQLSTATE where a position is no longer ours.
    """
    clients = sorted(_changed_clients(book), key=lambda client: client.client_id)
    wallets = [w for mine in book.wallets.values() for w in mine.values() if w.changed]
    with connection.pipeline():
        _write_clients(connection, book, clients)
        _write_accounts(connection, book.now, wallets)
        _write_holds(connection, book)
        _write_orders(connection, book)
        _write_buckets(connection, book)
        _write(connection, "insert_outbox", parcels, 4, book.now)
        if moves:
            position.move(connection, moves, book.now)
        connection.execute("COMMIT")


@contextmanager
def _copying(
    connection: Connection, journal: Sequence[Transaction]
) -> Iterator[Callable[[], None]]:
    """A call that sends what has come to the journal since the last one; at the end of the `with`
    block the last rows are sent, and all are waited for.

    PostgreSQL inserts as they come, 1,000 at a time (64 kB of a COPY in text). COPY in binary takes
    a fifth of the time of an INSERT from unnest.
    """
    sent, copy = 0, None
    with ExitStack() as stack:

        def copy_new_rows() -> None:
            nonlocal sent, copy
            if sent == len(journal):
                return
            if copy is None:
                cursor = stack.enter_context(connection.cursor())
                copy = stack.enter_context(cursor.copy(_SQL["copy_transactions"]))
                copy.set_types(_TRANSACTION_TYPES)
            while sent < len(journal):
                copy.write_row(astuple(journal[sent]))
                sent += 1

        yield copy_new_rows
        copy_new_rows()


def _after_each(
    records: Iterable[OutboxRecord], call: Callable[[], None]
) -> Iterator[OutboxRecord]:
    for record in records:
        call()
        yield record


def _add_accounts(book: Book, rows: Iterable[Sequence[Any]]) -> None:
    counted: list[tuple[Wallet, int]] = []
    for client_id, currency, kind, balance, status, version, updated_at, sides, place in rows:
        mine = book.wallets.setdefault(client_id, {})
        wallet = mine.get(currency)
        if wallet is None:
            wallet = mine[currency] = Wallet(client_id, currency)
            # Whether it is registered matters to a registration alone, and that one is in
            # need.clients.
            book.clients.setdefault(client_id, Client(client_id, registered=True, stored=True))
        if kind == AVAILABLE:
            wallet.available, wallet.status = balance, status
            wallet.version, wallet.updated_at, wallet.place = version, updated_at, place
            if sides:
                counted.append((wallet, sides))
        elif kind == HELD:
            wallet.held, wallet.held_place = balance, place
        elif kind == ESCROW:
            wallet.escrow, wallet.escrow_place = balance, place
    # A worker of the release before this one counts none of those it makes: fewer is no mistake.
    if any(wallet.sides < sides for wallet, sides in counted):
        # The batch whose lock was waited for has made it, after this statement's snapshot.
        raise errors.SerializationFailure("an account was made while its wallet was waited for")


def _add_hold(book: Book, row: Sequence[Any]) -> None:
    """Add a hold whose wallet is locked. Another batch may have made both between our locks and
    our look at the holds: then this batch came first, and saw none.
    """
    hold = Hold(*row)
    hold.stored = True
    if book.wallet(hold.client_id, hold.currency) is not None:
        book.holds[hold.client_id, hold.hold_id] = hold


def _refunded_orders(need: Need, book: Book) -> set[tuple[str, str]]:
    """The orders that the batch's refunds turn out to name."""
    originals = (book.known.get(key) for key in need.refunds)
    return {
        (t.client_id, t.order_id)
        for t in originals
        if t is not None and t.type == REFUNDABLE_ORDER and t.order_id is not None
    } - need.orders


def _add_orders(book: Book, rows: Iterable[Sequence[Any]]) -> None:
    """Add orders whose wallets are locked; of others see `_add_hold`."""
    for row in rows:
        *columns, lease_token, is_leased, attempts_made, refunded = row
        order = Order(*columns)
        order.stored = True
        if book.wallet(order.client_id, order.currency) is None:
            continue
        if lease_token is not None:
            order.job = Job(lease_token, is_leased, attempts_made)
            order.job_stored = True
        if refunded is not None:
            book.refunded[order.client_id, order.command_id] = refunded
        book.orders[order.client_id, order.order_id] = order


def _load_clients(connection: Connection, need: Need, book: Book) -> None:
    """Read the clients of whom no wallet told, and what registrations and queries need besides."""
    unknown = sorted(need.clients | ({c for c, _ in need.wallets} - book.wallets.keys()))
    if not unknown and not need.pages:
        return
    with connection.pipeline():
        clients = _call(connection, "lock_clients", unknown)
        taken = _call(connection, "taken_profiles", sorted(need.emails), sorted(need.phones))
        history = _call(connection, "history", *columns(_page_rows(need), 4))
    for client_id, registered in clients:
        book.clients[client_id] = Client(client_id, registered, stored=True)
    for client_id, email, phone in taken:
        if email is not None:
            book.emails[email] = client_id
        if phone is not None:
            book.phones[phone] = client_id
    for client_id, page in need.pages:
        book.history.setdefault(client_id, {})[page] = deque()
    for client_id, currency, before, *row in history:
        book.history[client_id][currency, before].append(Transaction(*row))


def _page_rows(need: Need) -> list[tuple[str, str | None, int | None, int]]:
    return [
        (client_id, currency, before, count)
        for (client_id, (currency, before)), count in need.pages.items()
    ]


def _changed_clients(book: Book) -> Iterable[Client]:
    return (c for c in book.clients.values() if not c.stored or c.profile is not None)


def _write_clients(connection: Connection, book: Book, clients: list[Client]) -> None:
    made = [(c.client_id, c.registered, *_profile(c), book.now) for c in clients if not c.stored]
    filled = [(c.client_id, *_profile(c), book.now) for c in clients if c.stored]
    _write(connection, "insert_clients", made, 6)
    _write(connection, "fill_profiles", filled, 5)


def _profile(client: Client) -> tuple[str | None, str | None, str | None]:
    profile = client.profile
    return (None, None, None) if profile is None else (profile.name, profile.email, profile.phone)


def _write_accounts(connection: Connection, now: datetime, wallets: Sequence[Wallet]) -> None:
    """Write the changed accounts: new ones by their key, others to where they stand."""
    rows = list(_changed_accounts(wallets))
    made = [row[1:] for row in rows if row[0] is None]
    known = [(row[0], *row[4:]) for row in rows if row[0] is not None]
    _write(connection, "insert_accounts", made, 7, now)
    _write(connection, "update_accounts", known, 5, now)


def _changed_accounts(wallets: Iterable[Wallet]) -> Iterator[tuple[Any, ...]]:
    """(place, client_id, currency, kind, balance, status, version, sides) of each. A wallet's
    status stands in its available account alone.
    """
    for w in wallets:
        client_id, currency, version = w.client_id, w.currency, w.version
        yield w.place, client_id, currency, AVAILABLE, w.available, w.status, version, w.sides
        if w.held_changed:
            yield w.held_place, client_id, currency, HELD, w.held, "open", version, 0
        if w.escrow_changed:
            yield w.escrow_place, client_id, currency, ESCROW, w.escrow, "open", version, 0


def _write_holds(connection: Connection, book: Book) -> None:
    changed = sorted(key for key, hold in book.holds.items() if hold.changed)
    holds = [book.holds[key] for key in changed]
    made = [
        (
            h.client_id, h.hold_id, h.currency, h.amount, h.status, h.command_id, h.expires_at,
            h.created_at, h.settled_at, h.correlation_id, h.event_id,
        )
        for h in holds
        if not h.stored
    ]  # fmt: skip
    settled = [(h.client_id, h.hold_id, h.status, h.settled_at) for h in holds if h.stored]
    _write(connection, "insert_holds", made, 11)
    _write(connection, "settle_holds", settled, 4)


def _write_orders(connection: Connection, book: Book) -> None:
    """Write the changed orders, and a job for each that is to be fulfilled now."""
    changed = [book.orders[key] for key in sorted(k for k, o in book.orders.items() if o.changed)]
    made = [_ORDER_COLUMNS(o) for o in changed if not o.stored]
    known = [_ORDER_CHANGES(o) for o in changed if o.stored]
    ended = [(o.client_id, o.order_id) for o in changed if o.job_stored]
    jobs = [(o.client_id, o.order_id) for o in changed if o.job is not None]
    _write(connection, "insert_orders", made, 21)
    _write(connection, "update_orders", known, 13)
    _write(connection, "delete_jobs", ended, 2)
    _write(connection, "insert_jobs", jobs, 2, book.now)


_ORDER_COLUMNS = attrgetter(
    "client_id", "order_id", "command_id", "currency", "amount", "status", "money",
    "fulfillment_id", "attempts", "rounds", "reason", "detail", "correlation_id", "event_id",
    "headers", "created_at", "updated_at", "reference", "description", "items", "metadata",
)  # fmt: skip
_ORDER_CHANGES = attrgetter(
    "client_id", "order_id", "status", "money", "fulfillment_id", "attempts", "rounds", "reason",
    "detail", "correlation_id", "event_id", "headers", "updated_at",
)  # fmt: skip


def _write_buckets(connection: Connection, book: Book) -> None:
    rows = [(*key, b.level, b.filled_at_ms) for key, b in book.buckets.items() if b.changed]
    _write(connection, "write_buckets", rows, 4)


def _write(
    connection: Connection, statement: str, rows: Sequence[Sequence[Any]], width: int, *first: Any
) -> None:
    if rows:
        _call(connection, statement, *first, *columns(rows, width))


def _call(connection: Connection, statement: str, *parameters: Any) -> Cursor[Any]:
    return connection.execute(_SQL[statement], parameters, prepare=True, binary=True)


def _call_for(
    connection: Connection, statement: str, keys: set[tuple[str, str]]
) -> Iterable[tuple[Any, ...]]:
    """A statement that most batches have no use for: they do not wait for it, either."""
    return _call(connection, statement, *columns(sorted(keys), 2)) if keys else ()
