"""A client's wallets and transactions as tables, from the fields that results have, too."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from ops.cli.line import STYLES, money
from ops.cli.screen import console, safe, table

_WIDTH_MIN = 80


def wallet_table(wallets: Iterable[Mapping[str, Any]]) -> Table:
    """One row per wallet: `currency`, `balance`, `held`, `status`, `updated_at`."""
    made = table("Currency", "Balance", "Held", "Status", "Changed", right=("Balance", "Held"))
    for wallet in wallets:
        status = wallet["status"]
        made.add_row(
            wallet["currency"],
            wallet["balance"],
            wallet["held"],
            Text(status, "" if status == "open" else "yellow"),
            _moment(wallet["updated_at"]),
        )
    return made


def transaction_table(transactions: Iterable[Mapping[str, Any]]) -> Table:
    """One row per transaction, as the contract's `transactions` have them."""
    columns = ("When", "Type", "Outcome", "Amount", "Balance", "With", "Command")
    made = table(*columns, right=("Amount", "Balance"))
    for column in made.columns[:3]:  # what is compared down the column, and reason codes
        column.no_wrap = console().width >= _WIDTH_MIN  # else the last columns would vanish
    for entry in transactions:
        outcome = entry["reason"] or entry["status"]
        made.add_row(
            _moment(entry["occurred_at"]),
            entry["type"],
            Text(outcome, STYLES.get(entry["status"], "")),
            money(entry["amount"], entry["currency"]) if entry["amount"] else "",
            entry["balance_after"] or "",
            entry["counterparty"] or "",
            safe(entry["command_id"] or ""),
        )
    return made


def _moment(text: str | None) -> str:
    """To the second, without RFC 3339's letters: a column of them is easier to compare."""
    return "" if text is None else text[:19].replace("T", " ")
