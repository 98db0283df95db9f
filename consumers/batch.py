"""One batch, one transaction: load, decide, write, move the positions. All of it, or nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import psycopg
from msgspec import Struct
from psycopg import Connection
from psycopg.errors import UniqueViolation

from consumers.answer import Answerer
from consumers.decode import DeadRecord
from consumers.report import StageClock
from ledger import journal
from ledger.book import Book, rest_id
from ledger.command import Command
from ledger.currency import Currencies
from ledger.decision import QUERIES, decide
from ledger.journal import ALL, Need
from ledger.outcome import Decision
from ledger.parcel import OutboxRecord, Parcel
from ledger.position import Move, Position
from ledger.question import page_before, page_count
from ledger.rule import Rules
from schemas.header import DeadLetter


class Item(Struct, gc=False):
    """An input record, as it was read under its partition's `epoch`.

    `kind` is its topic's name without the prefix, `content` what it was decoded into, None until
    then. `attempts` counts how often it failed alone, `trial_begun` says that a try alone was
    counted beforehand.
    """

    kind: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None
    timestamp_ms: int
    epoch: int
    content: Command | DeadRecord | None = None
    attempts: int = 0
    trial_begun: bool = False


@dataclass(slots=True)
class Tally:
    """What became of one partition's records in a batch."""

    next_offset: int
    results: int = 0
    duplicates: int = 0
    queries: int = 0
    dead_letters: int = 0

    def move(self, position: Position) -> Move:
        """The position's move; offsets that gave no record (markers, compaction) are skipped."""
        records = self.results + self.duplicates + self.queries + self.dead_letters
        skipped = self.next_offset - position.next_offset - records
        return Move(
            position, self.next_offset, self.results, self.duplicates, self.queries,
            self.dead_letters, skipped,
        )  # fmt: skip


Tallies = dict[tuple[str, int], Tally]


@dataclass(slots=True)
class Trust:
    """Whether commands may be taken for new ones without a look into the journal.

    A repeated command then breaks the journal's primary key, and its batch is applied again with a
    look; so are the next ones, since repeats come in swarms. Looking up each id costs a tenth of
    PostgreSQL's time, and more as the history grows.
    """

    wary_batches: int = 0

    def lose(self) -> None:
        """A repeated command was met."""
        self.wary_batches = _WARY_BATCHES

    def regain(self) -> None:
        """A batch was applied with a look."""
        self.wary_batches -= 1


_WARY_BATCHES = 100
# Few enough for what was decided to be in the core's cache still when it is told.
_DECIDED_TOGETHER = 100


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where batches go: a session in autocommit, the operator's rules and the currencies."""

    connection: Connection
    rules: Rules
    currencies: Currencies
    clock: StageClock = field(default_factory=StageClock)
    trust: Trust = field(default_factory=Trust)

    def apply(self, items: Sequence[Item], positions: dict[tuple[str, int], Position]) -> Tallies:
        """Apply records of claimed partitions, in offset order per partition, and commit.

        On success the positions in `positions` have moved. On any exception nothing was written,
        the transaction is rolled back, and the positions stand where they stood. Raises
        psycopg.Error (with FENCED_SQLSTATE where a partition was taken by another), or whatever
        our own code raises on a record.
        """
        if self.trust.wary_batches == 0:
            try:
                return self._apply(items, positions, wary=False)
            except UniqueViolation:
                self.trust.lose()
        tallies = self._apply(items, positions, wary=True)
        self.trust.regain()
        return tallies

    def _apply(
        self, items: Sequence[Item], positions: dict[tuple[str, int], Position], *, wary: bool
    ) -> Tallies:
        try:
            book = self.load(items, wary=wary)
            self.clock.lap("load")
            tallies: Tallies = {}
            parcels = self.write(book, self.answers(items, book, tallies))
            self.clock.lap("write")
            moves = [tally.move(positions[key]) for key, tally in tallies.items()]
            self.commit(book, parcels, moves)
            self.clock.lap("commit")
        except BaseException:
            self.roll_back()
            raise
        for key, tally in tallies.items():
            positions[key].next_offset = tally.next_offset
        return tallies

    def load(self, items: Sequence[Item], *, wary: bool) -> Book:
        """Begin, lock the accounts and read what the commands refer to; `wary` of repeats, also
        whether they are known already.
        """
        return journal.load(self.connection, needed(items, self.rules, wary=wary))

    def answers(
        self, items: Sequence[Item], book: Book, tallies: Tallies
    ) -> Iterator[OutboxRecord]:
        """What there is to tell of the records, which are decided as it is asked for: PostgreSQL
        takes in the first ones' rows meanwhile.
        """
        answerer = Answerer(self.currencies, book.now)
        for start in range(0, len(items), _DECIDED_TOGETHER):
            some = items[start : start + _DECIDED_TOGETHER]
            self.clock.lap("write")
            decisions = self.decide(some, book, tallies)
            self.clock.lap("decide")
            for item, decision in zip(some, decisions, strict=True):
                yield from _tell(answerer, item, decision)

    def decide(
        self, items: Sequence[Item], book: Book, tallies: Tallies
    ) -> list[Decision | DeadRecord]:
        """Decide the records one after another on the book, and count them; no I/O."""
        rules = replace(self.rules, currencies=self.currencies)
        decisions = []
        for item in items:
            tally = tallies.get((item.topic, item.partition))
            if tally is None:
                tally = tallies[item.topic, item.partition] = Tally(item.offset)
            tally.next_offset = item.offset + 1
            decisions.append(_decide_one(item, book, rules, tally))
        return decisions

    def write(self, book: Book, outbox: Iterable[OutboxRecord]) -> list[Parcel]:
        """Write the journal, which may grow as long as the outbox is run through; gives the
        outbox's rows.
        """
        return journal.write(self.connection, book, outbox)

    def commit(self, book: Book, parcels: Sequence[Parcel], moves: Sequence[Move] = ()) -> None:
        """Write all else, move the positions, guarded, and commit."""
        journal.commit(self.connection, book, parcels, moves)

    def roll_back(self) -> None:
        """Leave the transaction; a session that can't is closed, which ends it on the server."""
        try:
            if not self.connection.closed:
                self.connection.execute("ROLLBACK")
        except psycopg.Error:
            self.connection.close()


def _tell(
    answerer: Answerer, item: Item, decision: Decision | DeadRecord
) -> Iterable[OutboxRecord]:
    if not isinstance(decision, DeadRecord):
        return answerer.answer(item.kind, decision, item.headers)
    letter = DeadLetter(
        item.topic, item.partition, item.offset, item.timestamp_ms,
        decision.reason, decision.detail, max(1, item.attempts),
    )  # fmt: skip
    return [answerer.bury(item.kind, letter, item.key, item.value, item.headers)]


def _decide_one(item: Item, book: Book, rules: Rules, tally: Tally) -> Decision | DeadRecord:
    content = item.content
    if isinstance(content, DeadRecord):
        tally.dead_letters += 1
        return content
    if content is None:
        raise ValueError("an item was handed in before it was decoded")
    decision = decide(content, book, rules)
    if decision.duplicate:
        tally.duplicates += 1
    elif content.type in QUERIES:
        tally.queries += 1
    else:
        tally.results += 1
    return decision


def needed(items: Sequence[Item], rules: Rules, *, wary: bool) -> Need:
    """What a batch's commands will read, collected over all of them.

    Where a repeat would write nothing, the look for it can't be left to the primary key: for
    queries, and under a rate limit, which keeps no row of what it refuses.
    """
    need = Need()
    wary = wary or rules.rate_limit is not None
    for item in items:
        command = item.content
        if not isinstance(command, Command):
            continue
        client_id, currency = command.client_id, command.currency
        need.row_count += 1
        if wary or command.type in QUERIES:
            need.commands.add((client_id, command.command_id))
        if command.order_id is not None:
            _need_order(need, command)
        elif command.type in QUERIES:
            _need_page(need, command)
        elif command.hold_id is not None or command.original_command_id is not None:
            _need_reference(need, command, rules, need_rest=wary)
        elif currency is not None:
            need.wallets.add((client_id, currency))
        if command.to_client_id is not None and currency is not None:
            need.wallets.add((command.to_client_id, currency))
        if command.profile is not None:
            _need_profile(need, command)
        if rules.rate_limit is not None:
            need.buckets.add((client_id, item.topic))
    return need


def _need_page(need: Need, command: Command) -> None:
    need.wallets.add((command.client_id, ALL))
    key = command.client_id, (command.currency, page_before(command))
    need.pages[key] = max(need.pages.get(key, 0), page_count(command))


def _need_reference(need: Need, command: Command, rules: Rules, *, need_rest: bool) -> None:
    """What the command refers to. Its currency is not known yet, so all of the client's wallets
    are locked; every hold and every original of theirs changes under one of these locks.
    """
    client_id = command.client_id
    need.wallets.add((client_id, ALL))
    if command.hold_id is not None:
        need.holds.add((client_id, command.hold_id))
        need.row_count += 1
        if need_rest:
            need.commands.add((client_id, rest_id(command.command_id)))
    if command.original_command_id is not None:
        original = client_id, command.original_command_id
        need.commands.add(original)
        need.refunds.add(original)
        if rules.transfer_refund:
            need.reversals.add(original)


def _need_order(need: Need, command: Command) -> None:
    """The order, under the locks of all its client's wallets: one of the same id may be there in
    whichever currency.
    """
    key = command.client_id, str(command.order_id)
    need.orders.add(key)
    need.wallets.add((command.client_id, ALL))
    if command.type == "cancel_order":
        need.jobs.add(key)


def _need_profile(need: Need, command: Command) -> None:
    profile = command.profile
    if profile is None:
        return
    need.clients.add(command.client_id)
    if profile.email is not None:
        need.emails.add(profile.email.lower())
    if profile.phone is not None:
        need.phones.add(profile.phone)
