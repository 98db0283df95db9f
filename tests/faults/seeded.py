"""Our own code with one protection taken out, by name: what the checker is proven with.

`python -m tests.faults.run --without NAME worker` applies one in a process of its own; the code
that people run knows nothing of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg
from confluent_kafka import Producer

import consumers.decode
import consumers.worker
import ledger.order
import producers.relay
import producers.sender
import producers.settlement
from consumers.answer import Answerer
from consumers.batch import Ledger
from ledger import fulfillment, journal, outbox, position
from ledger.book import Book, Job, Transaction
from ledger.order import Settlement
from ledger.outbox import Outbox
from ledger.parcel import OutboxRecord, Parcel
from ledger.position import Move
from producers.relay import Relay
from schemas.topic import Topics

_MOVE = """
UPDATE consumer_positions AS p
SET next_offset = m.next_offset, takings = 0, results = p.results + m.results,
    duplicates = p.duplicates + m.duplicates, queries = p.queries + m.queries,
    dead_letters = p.dead_letters + m.dead_letters, skipped = p.skipped + m.skipped,
    updated_at = c.moved_at
FROM unnest(%s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
            %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
         AS m (topic, partition, expected, epoch, next_offset, results, duplicates, queries,
               dead_letters, skipped),
     (SELECT %s::timestamptz AS moved_at) AS c
WHERE p.topic = m.topic AND p.partition = m.partition
"""


def position_guard() -> None:
    """The position is moved, wherever it stands and whoever has it."""
    _exchange(position, "move", _MOVE)


def expected_offset() -> None:
    """The position is moved by whoever has the epoch, wherever it stands."""
    _exchange(position, "move", _MOVE + " AND p.epoch = m.epoch")


def refusal_on_the_server() -> None:
    """A guarded UPDATE that finds no row lets the COMMIT behind it through."""
    _exchange(position, "move", _MOVE + " AND p.next_offset = m.expected AND p.epoch = m.epoch")


def first_confirmation() -> None:
    """No protection but a fault: the first commit goes through, its confirmation is lost."""
    good, lost = Ledger.commit, list[bool]()

    def commit(ledger: Ledger, *arguments: Any) -> None:
        good(ledger, *arguments)
        if not lost:
            lost.append(True)
            ledger.connection.close()
            raise psycopg.OperationalError("the connection is cut")

    _replace(Ledger, "commit", commit)


def position_in_the_transaction() -> None:
    """The batch is committed, then the position moves."""

    def commit(
        ledger: Ledger, book: Book, parcels: Sequence[Parcel], moves: Sequence[Move] = ()
    ) -> None:
        journal.commit(ledger.connection, book, parcels)
        if moves:
            position.move(ledger.connection, moves, book.now)

    _replace(Ledger, "commit", commit)


def outbox_in_the_transaction() -> None:
    """The batch is committed, then what it has to tell is written."""
    good = Ledger.commit

    def commit(
        ledger: Ledger, book: Book, parcels: Sequence[Parcel], moves: Sequence[Move] = ()
    ) -> None:
        good(ledger, book, [], moves)
        ledger.connection.execute("BEGIN")
        journal.commit(ledger.connection, Book(book.now, iter(())), parcels)

    _replace(Ledger, "commit", commit)


def outbox_order() -> None:
    """A batch's rows take their ids in another order than they were decided in."""

    def write(ledger: Ledger, book: Book, rows: Iterable[OutboxRecord]) -> list[Parcel]:
        return journal.write(ledger.connection, book, reversed(list(rows)))

    _replace(Ledger, "write", write)


def fingerprint() -> None:
    """All contents count as the same."""
    _replace(consumers.decode, "fingerprint", lambda *_arguments, **_more: bytes(32))


def look_for_known_commands() -> None:
    """Nobody looks whether a command is known; the primary key is left."""
    _exchange(journal, "known_commands", b"%s WHERE false" % journal._SQL["known_commands"])


def second_account() -> None:
    """A batch's last account is not written: some movement has one side only."""
    good = journal._write_accounts

    def write_accounts(connection: Any, now: Any, wallets: list[Any]) -> None:
        good(connection, now, wallets[:-1] if len(wallets) > 1 else wallets)

    _replace(journal, "_write_accounts", write_accounts)


def account_lock() -> None:
    """Accounts are read without a lock."""
    _exchange(journal, "lock_accounts", _locking().replace(b"FOR NO KEY UPDATE OF a", b""))


def lock_order() -> None:
    """Each session locks accounts in an order of its own, slowly enough to meet others."""
    order = b"ORDER BY a.client_id, a.currency, a.kind"
    own = b"ORDER BY md5(a.client_id || pg_backend_pid())"
    # A volatile column is made after the sort, just before each row's lock.
    slow = b"a.balance + length(pg_sleep(0.002)::text),"
    _exchange(journal, "lock_accounts", _locking().replace(order, own).replace(b"a.balance,", slow))


def read_committed() -> None:
    """Records of aborted upstream transactions are read, too."""
    good = consumers.worker._consumer_config

    def config(*arguments: Any) -> dict[str, Any]:
        return good(*arguments) | {"isolation.level": "read_uncommitted"}

    _replace(consumers.worker, "_consumer_config", config)


def letters_bytes() -> None:
    """A dead letter's value is repaired on its way."""
    good = Answerer.bury

    def bury(answerer: Answerer, *arguments: Any) -> OutboxRecord:
        row = good(answerer, *arguments)
        return row._replace(value=(row.value or b"") + b"}")

    _replace(Answerer, "bury", bury)


def recipients_balance() -> None:
    """A transfer's recipient gets no balance record."""

    def write(ledger: Ledger, book: Book, rows: Iterable[OutboxRecord]) -> list[Parcel]:
        told = [r._replace(moved=r.moved and "received" not in r.event_type) for r in rows]
        return journal.write(ledger.connection, book, told)

    _replace(Ledger, "write", write)


def lease_guard() -> None:
    """Who has called the fulfillment service settles the order, whoever has its lease by now."""
    good = ledger.order.settle

    def settle(settlement: Settlement, book: Book) -> Transaction | None:
        order = book.orders[settlement.client_id, settlement.order_id]
        order.job = Job(settlement.lease_token, is_leased=True)
        return good(settlement, book)

    _replace(producers.settlement, "settle", settle)
    # The record of attempts knows whose lease it was, and has each attempt once.
    _replace(fulfillment, "record", lambda *_arguments: None)


def progress_record() -> None:
    """A relay that takes over does not look at what the last one had published."""
    _replace(producers.relay, "read_progress", lambda *_arguments, **_more: None)


def delete_by_ids() -> None:
    """What was published is deleted up to its last id."""
    by_range = b"DELETE FROM outbox WHERE id <= (SELECT max(i) FROM unnest(%(ids)s::bigint[]) AS i)"
    _exchange(outbox, "delete_rows", by_range)
    _replace(Relay, "delete", _delete_quietly)


def kafka_transaction() -> None:
    """The relay's producer has no transactions; its records are seen as they are sent."""

    class Plain:
        def __init__(self, config: dict[str, Any]) -> None:
            config.pop("transactional.id", None)
            config.pop("transaction.timeout.ms", None)
            self._producer = Producer(config)

        def __getattr__(self, name: str) -> Any:
            if name in ("init_transactions", "begin_transaction"):
                return lambda *_arguments: None
            if name == "commit_transaction":
                return self._producer.flush
            return getattr(self._producer, name)

        def produce(self, *arguments: Any, **more: Any) -> None:
            self._producer.produce(*arguments, **more)
            self._producer.flush(10)

    _replace(producers.sender, "Producer", Plain)


def kafka_fence() -> None:
    """Each relay has a transactional id of its own, so none is fenced."""
    _replace(Topics, "transactional_id", lambda _topics, _part: f"t-{uuid.uuid4()}")
    # Kafka's own time-out for a transaction protects, too, where the machine is slow.
    producers.sender._SETTINGS["transaction.timeout.ms"] = 60_000
    # So does the look for what is open, which would wait for the other's transaction to end.
    _replace(Relay, "_abort_orphans", lambda _relay: None)


def _delete_quietly(relay: Relay, batch: outbox.Batch) -> None:
    held: Outbox | None = relay._outbox
    if held is not None:
        held.delete(batch.ids)


def _replace(holder: Any, name: str, value: Any) -> None:
    """Put another function in a named one's place; a name that is not there is an error."""
    getattr(holder, name)
    setattr(holder, name, value)


def _locking() -> bytes:
    return journal._SQL["lock_accounts"]


def _exchange(module: Any, name: str, statement: str | bytes) -> None:
    """Put another statement in a named one's place; one that would change nothing is an error."""
    changed = statement.encode() if isinstance(statement, str) else statement
    if changed == module._SQL[name]:
        raise ValueError(f"{name} is as it was: the removal removes nothing")
    module._SQL[name] = changed


REMOVALS: dict[str, Callable[[], None]] = {
    removal.__name__.replace("_", "-"): removal
    for removal in (
        position_guard, expected_offset, refusal_on_the_server, first_confirmation,
        position_in_the_transaction, outbox_in_the_transaction, outbox_order, fingerprint,
        look_for_known_commands, second_account, account_lock, lock_order, read_committed,
        letters_bytes, recipients_balance, lease_guard, progress_record, delete_by_ids,
        kafka_transaction, kafka_fence,
    )
}  # fmt: skip
