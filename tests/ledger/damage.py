"""Books to check, and what can be done to them: for each damage the checks that must fail."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from ledger.refusal import Refusal
from tests.ledger.bookkeeper import Bookkeeper, Record

_ids = itertools.count()


def command(client_id: str, kind: str, amount: str | None = None, **fields: str) -> Record:
    """A command with an id of its own."""
    value: dict[str, Any] = {"command_id": f"c{next(_ids)}", "type": kind, **fields}
    if amount is not None:
        value["amount"] = amount
    return client_id, value


def story() -> list[Record]:
    """A bit of everything: five clients, two currencies, refusals, a duplicate, a broken record."""
    repeated = command("alice", "deposit", "7.50")
    return [
        command("alice", "credit", "100.00"),
        command("bob", "register_client", name="Bob"),
        command("alice", "transfer", "30.00", to_client_id="bob"),
        repeated,
        repeated,
        command("alice", "debit", "9999.00"),
        command("alice", "debit", "5"),
        ("alice", b"garbage"),
        command("bob", "withdraw", "4.00"),
        command("carol", "register_client", name="Carol"),
        command("carol", "open_wallet", currency="EUR"),
        command("carol", "deposit", "12.00", currency="EUR"),
        command("carol", "transfer", "2.00", currency="EUR", to_client_id="alice"),
        command("bob", "transfer", "1.00", to_client_id="nobody"),
        command("bob", "get_wallet"),
        command("bob", "credit", "-1"),
        command("dave", "credit", "3.00"),
        command("zoe", "credit", "100.00"),
        command("dave", "transfer", "3.00", to_client_id="alice"),
    ]


def tell_orders(books: Bookkeeper) -> None:
    """Olga's orders: one failed that keeps its money, one given back, one completed and refunded in
    part, one pending, one cancelled.
    """
    books.apply([
        command("olga", "credit", "100.00"),
        *(
            command("olga", "place_order", f"{n}.00", command_id=f"p{n}", order_id=f"o{n}")
            for n in range(1, 6)
        ),
        command("olga", "cancel_order", order_id="o5"),
    ])  # fmt: skip
    kept, given_back, completed = (books.lease("olga", f"o{n}") for n in (1, 2, 3))
    assert kept is not None
    assert given_back is not None
    assert completed is not None
    refusal = Refusal("fulfillment_refused", "The answer was 400.")
    books.settle(
        kept._replace(failure=refusal, keeps_money=True),
        given_back._replace(failure=refusal),
        completed._replace(fulfillment_id="f3"),
    )
    books.apply([command("olga", "refund", "1.00", original_command_id="p3")])


_JOURNAL_COLUMNS = (
    "client_id, command_id, id, type, status, currency, amount, debit_kind, credit_kind, "
    "balance_before, balance_after, held_after, escrow_after, created_at"
)
_HOLD_COLUMNS = "client_id, hold_id, currency, amount, status, command_id, created_at"


def _journal_row(command_id: str, kinds: tuple[str, str], amount: int, *balances: int) -> str:
    """Zoe's row; `balances`: before and after of the available account, then held, escrow after."""
    after = ", ".join([*map(str, balances), *["NULL"] * (4 - len(balances))])
    return (
        f"INSERT INTO transactions ({_JOURNAL_COLUMNS}) VALUES ('zoe', '{command_id}',"
        f" nextval('transaction_ids'), 'hold', 'applied', 'USD', {amount}, '{kinds[0]}',"
        f" '{kinds[1]}', {after}, now());"
    )


def _account(kind: str, balance: int) -> str:
    return (
        "INSERT INTO accounts (client_id, currency, kind, balance, created_at, updated_at)"
        f" VALUES ('zoe', 'USD', '{kind}', {balance}, now(), now());"
        "UPDATE accounts SET sides = sides + 1 WHERE client_id = 'zoe' AND kind = 'available';"
    )


def _zoe_has(balance: int) -> str:
    return (
        f"UPDATE accounts SET balance = {balance} WHERE client_id = 'zoe' AND kind = 'available';"
    )


def _hold(amount: int) -> str:
    return (
        f"INSERT INTO holds ({_HOLD_COLUMNS})"
        f" VALUES ('zoe', 'h1', 'USD', {amount}, 'open', 'h1', now());"
    )


# Begins with Zoe's 100.00: a hold of 5.00, captured by 2.00.
HELD_IN_ORDER = (
    _journal_row("h1", ("available", "held"), 500, 10000, 9500, 500)
    + _journal_row("h2", ("held", "revenue"), 200, 9500, 9500, 300)
    + _account("held", 300)
    + _zoe_has(9500)
    + _hold(300)
)


class Damage(NamedTuple):
    """What is done to the books, the checks that must fail by it, and why it is not one alone."""

    name: str
    sql: str
    failed: set[str]
    because: str = ""


_ALICE_USD = "client_id = 'alice' AND currency = 'USD'"
_PEER = "client_id = 'dave' AND type = 'transfer'"
_LAST = "id = (SELECT max(id) FROM transactions)"
_UP_BY_ONE = "balance_before = balance_before + 1, balance_after = balance_after + 1"

DAMAGES = [
    Damage(
        "a stored balance moved to another wallet",
        f"UPDATE accounts SET balance = balance + 1 WHERE {_ALICE_USD};"
        "UPDATE accounts SET balance = balance - 1 WHERE client_id = 'bob'",
        {"balances"},
    ),
    Damage(
        "a stored balance raised",
        f"UPDATE accounts SET balance = balance + 1 WHERE {_ALICE_USD}",
        {"balances", "totals"},
        "money out of nothing is missing in the currency's total too",
    ),
    Damage(
        "a transfer removed from the end of the journal",
        f"DELETE FROM transactions WHERE {_LAST}",
        {"balances"},
    ),
    Damage(
        "a deposit removed from the middle of the journal",
        "DELETE FROM transactions WHERE type = 'deposit' AND client_id = 'alice'",
        {"balances", "totals", "chains"},
        "the money has no origin any more, and the next balance no predecessor",
    ),
    Damage(
        "an account with money removed",
        f"DELETE FROM accounts WHERE {_ALICE_USD}",
        {"accounts", "totals"},
        "its movements lead nowhere, and its money is missing in the total",
    ),
    Damage(
        "an empty account removed",
        "DELETE FROM accounts WHERE client_id = 'dave'",
        {"accounts"},
    ),
    Damage(
        "a refused command's balances changed",
        f"UPDATE transactions SET {_UP_BY_ONE} WHERE reason = 'insufficient_funds'",
        {"chains"},
    ),
    Damage(
        "two rows of one account with their ids exchanged",
        "UPDATE transactions AS t SET id = o.id FROM transactions AS o"
        " WHERE t.client_id = 'alice' AND o.client_id = 'alice' AND t.type <> o.type"
        " AND t.type IN ('credit', 'deposit') AND o.type IN ('credit', 'deposit')",
        {"chains"},
    ),
    Damage(
        "the balance that a transfer left its recipient changed",
        f"UPDATE transactions SET peer_balance_after = peer_balance_after + 1 WHERE {_PEER}",
        {"chains"},
    ),
    Damage(
        "the balance that a transfer left its recipient forgotten",
        f"UPDATE transactions SET peer_balance_after = NULL WHERE {_PEER}",
        {"movements"},
    ),
    Damage(
        "an amount changed in the journal",
        "UPDATE transactions SET amount = amount + 1 WHERE type = 'withdraw'",
        {"balances", "totals", "movements"},
        "the journal's sum is another, and the row's own balances differ by the old amount",
    ),
    Damage(
        "the balance before a movement changed",
        "UPDATE transactions SET balance_before = balance_before + 1 WHERE type = 'withdraw'",
        {"chains", "movements"},
        "it agrees neither with the row before it nor with its own row",
    ),
    Damage(
        "a movement turned round",
        "UPDATE transactions SET debit_kind = credit_kind, credit_kind = debit_kind"
        " WHERE type = 'withdraw'",
        {"balances", "totals", "movements"},
        "the journal's sum is another, and the row's own balances moved the other way",
    ),
    Damage(
        "a wallet overdrawn, with its journal in order",
        "ALTER TABLE accounts DROP CONSTRAINT accounts_balance_check;"
        + _journal_row("x", ("available", "treasury"), 10005, 10000, -5, 0)
        + _zoe_has(-5),
        {"negative"},
    ),
    Damage("an open hold without held money", _hold(5), {"holds"}),
    Damage(
        "a hold settled while its money stays held",
        HELD_IN_ORDER + "UPDATE holds SET status = 'released', settled_at = now()",
        {"holds"},
    ),
    Damage(
        "a held balance in the journal changed",
        HELD_IN_ORDER + "UPDATE transactions SET held_after = 400 WHERE command_id = 'h1'",
        {"chains"},
    ),
    Damage(
        "a pending order moved to another currency",
        "UPDATE orders SET currency = 'EUR' WHERE order_id = 'o4'",
        {"escrow"},
    ),
    Damage(
        "an order given up while its money stays in escrow",
        "UPDATE orders SET status = 'cancelled', money = 'wallet' WHERE order_id = 'o1'",
        {"escrow", "orders"},
        "the account has money of no order, and the order's journal says otherwise",
    ),
    Damage(
        "a completed order called failed",
        "UPDATE orders SET status = 'failed', money = 'wallet' WHERE order_id = 'o3'",
        {"orders"},
    ),
    Damage(
        "the movement that completed an order given to another",
        "UPDATE transactions SET order_id = 'o9' WHERE type = 'order_completed'",
        {"orders"},
    ),
    Damage(
        "a pending order whose job is lost",
        "DELETE FROM fulfillments",
        {"jobs"},
    ),
    Damage(
        "a job of an order that is over",
        "INSERT INTO fulfillments (client_id, order_id, due_at) VALUES ('olga', 'o3', now())",
        {"jobs"},
    ),
    Damage(
        "a refund of more than was left, with its journal in order",
        "INSERT INTO transactions (client_id, command_id, id, type, status, currency, amount,"
        " debit_kind, credit_kind, order_id, original_command_id, balance_before, balance_after,"
        " held_after, escrow_after, created_at)"
        " SELECT 'olga', 'r', nextval('transaction_ids'), 'refund', 'applied', 'USD', 201,"
        " 'revenue', 'available', 'o3', 'p3', a.balance, a.balance + 201, 0, e.balance, now()"
        " FROM accounts AS a JOIN accounts AS e USING (client_id)"
        " WHERE client_id = 'olga' AND a.kind = 'available' AND e.kind = 'escrow';"
        "UPDATE accounts SET balance = balance + 201"
        " WHERE client_id = 'olga' AND kind = 'available'",
        {"refunds"},
    ),
    Damage(
        "a refund that names another original",
        "UPDATE transactions SET original_command_id = 'none' WHERE type = 'refund'",
        {"refunds"},
    ),
    Damage(
        "a wallet that counts an account it has not",
        "UPDATE accounts SET sides = sides + 1 WHERE client_id = 'olga' AND kind = 'available'",
        {"sides"},
    ),
    Damage(
        "a wallet without a version",
        "UPDATE accounts SET version = 0 WHERE client_id = 'bob'",
        {"versions"},
    ),
    Damage(
        "a position set back",
        "UPDATE consumer_positions SET next_offset = next_offset - 3, results = results - 3"
        " WHERE topic = 'wallet-command'",
        {"sources"},
    ),
    Damage(
        "the source of an outcome changed",
        "UPDATE transactions SET source_partition = 7 WHERE type = 'withdraw'",
        {"sources"},
    ),
    Damage(
        "an answer that the position does not count",
        "UPDATE consumer_positions SET results = results - 1 WHERE topic = 'wallet-command'",
        {"positions"},
    ),
    Damage(
        "a position moved past a record",
        "UPDATE consumer_positions SET next_offset = next_offset + 1"
        " WHERE topic = 'wallet-command'",
        {"positions"},
    ),
]
