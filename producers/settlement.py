"""What calls came to, written into the ledger: retried, completed or failed, and told of."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from psycopg import Connection

from ledger import fulfillment, journal
from ledger.book import Book
from ledger.breaker import Breaker, Pace
from ledger.currency import Currencies
from ledger.fulfillment import Call, Noted
from ledger.journal import Need
from ledger.money import format_amount
from ledger.order import Settlement, settle
from ledger.order_state import unpack_state
from ledger.parcel import OutboxRecord
from ledger.refusal import Refusal
from producers.caller import Made
from producers.reply import Outcome
from schemas.order import event_type, later_event_id, order_value
from schemas.topic import ORDER_RESULT


class Rule(NamedTuple):
    """The operator's: how many attempts an order has, and whether a failed one's money stays in
    escrow.
    """

    attempts_max: int
    keeps_money: bool
    pace: Pace


class Settled(NamedTuple):
    """What was committed: orders by their new status, and leases that were lost."""

    completed: int
    failed: int
    lost: int


def note(
    connection: Connection, calls: Sequence[Call], breaker: Breaker, rule: Rule
) -> Noted | None:
    """Tell the breaker; None where it has nothing to learn, as of answers while it is calm.

    Commits. Raises psycopg.Error.
    """
    if breaker.is_calm and not any(call.is_transient for call in calls):
        return None
    return fulfillment.note(connection, calls, attempts_max=rule.attempts_max, pace=rule.pace)


def settle_all(
    connection: Connection, made: Sequence[Made], currencies: Currencies, rule: Rule
) -> Settled:
    """Settle orders whose last call was made: money, journal, outbox, attempts; all or nothing.

    An order whose lease was lost meanwhile is left alone. Raises psycopg.Error, UnknownScaleError;
    nothing was written then, and the transaction is open.
    """
    keys = [each.job.key for each in made]
    need = Need(
        wallets={(each.job.client_id, each.job.currency) for each in made},
        orders=set(keys),
        jobs=set(keys),
        row_count=len(keys),
    )
    book = journal.load(connection, need)
    failed = [m.job.key for m in made if m.reply and m.reply.outcome is not Outcome.FULFILLED]
    unclear = fulfillment.unclear_orders(connection, failed)
    outbox, calls = list[OutboxRecord](), list[Call]()
    for each in made:
        row = _settle(each, book, currencies, rule, was_unclear=each.job.key in unclear)
        if row is not None and each.call is not None:
            outbox.append(row)
            calls.append(each.call)
    fulfillment.record(connection, calls, book.now)
    journal.commit(connection, book, journal.write(connection, book, outbox))
    completed = sum(call.outcome == Outcome.FULFILLED for call in calls)
    return Settled(completed, len(calls) - completed, len(made) - len(calls))


def _settle(
    made: Made, book: Book, currencies: Currencies, rule: Rule, *, was_unclear: bool
) -> OutboxRecord | None:
    """Decide one order on the book; the record that tells of it, None where the lease was lost."""
    job, reply = made.job, made.reply
    if reply is None:
        raise ValueError("an order is settled by a call, and none was made")
    failure = None if reply.outcome is Outcome.FULFILLED else _failure(made, was_unclear)
    transaction = settle(
        Settlement(
            job.client_id, job.order_id, job.lease_token, job.made + 1,
            reply.fulfillment_id, failure, rule.keeps_money,
        ),
        book,
    )  # fmt: skip
    if transaction is None:
        return None
    order, state = book.orders[job.key], unpack_state(transaction)
    event = f"order_{state.status}"

    def write_amount(minor: int | None, currency: str | None) -> str | None:
        if minor is None or currency is None:
            return None
        return format_amount(minor, currencies.scale_of_amounts(currency))

    return OutboxRecord(
        ORDER_RESULT, None, job.client_id.encode(),
        orjson.dumps(order_value(event, state, write_amount)),
        later_event_id(job.client_id, job.order_id, str(state.status), order.rounds),
        event_type(event), order.correlation_id, order.event_id, order.headers,
        transaction.debit_kind is not None,
    )  # fmt: skip


def _failure(made: Made, was_unclear: bool) -> Refusal:
    """Why it failed: refused only where no attempt of it may have been delivered unnoticed."""
    reply = made.reply
    if reply is None:
        raise ValueError("an order fails by a call, and none was made")
    if reply.outcome is Outcome.REFUSED:
        sentence = f"The fulfillment service refused it: {reply.told}"
        if not was_unclear:
            return Refusal("fulfillment_refused", f"{sentence}.")
        sentence += "; an earlier attempt had no clear answer"
    else:
        sentence = f"No attempt succeeded, the last one: {reply.told}"
    unclear = was_unclear or reply.outcome is Outcome.UNCLEAR
    doubt = "It may have been delivered." if unclear else "Nothing says that it was delivered."
    return Refusal("fulfillment_unknown", f"{sentence}. {doubt}")
