"""A transaction of the ledger in the contract's words, for the verbs that show some."""

from typing import Any

from ledger.currency import Currencies
from ledger.money import format_amount
from ledger.query import HistoryRow
from schemas.moment import format_moment


def transaction_object(row: HistoryRow, currencies: Currencies) -> dict[str, Any]:
    """A transaction in the contract's words, as a get_wallet's `transactions` have it."""
    amounts = {
        name: amount_text(getattr(row, name), row.currency, currencies)
        for name in ("amount", "balance_before", "balance_after")
    }
    return (
        row._asdict()
        | amounts
        | {
            "transaction_id": str(row.transaction_id),
            "occurred_at": format_moment(row.occurred_at),
        }
    )


def amount_text(minor: int | None, currency: str | None, currencies: Currencies) -> str | None:
    """The amount with its currency's full scale; None where there is none."""
    scale = None if currency is None else currencies.scale(currency)
    return None if minor is None or scale is None else format_amount(minor, scale)
