"""Random steps that meet each other: few names, few ids, few amounts; each made from one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.ledger.term import FAULTS, GIVING, LIMIT, TAKING, Sent

CLIENTS = ("a", "b", "c", "d")
CURRENCIES = ("USD", "EUR")
AMOUNTS = (1, 2, 5, 20, 50, 100, LIMIT - 100, LIMIT)
# A number below this is enough for any step's choices.
NUMBER_MAX = 2**64 - 1


class Status(NamedTuple):
    """An operator's hand: the wallet, where there is one, gets this status from here on."""

    client: str
    currency: str
    status: str


class Due(NamedTuple):
    """The hold's time is over from here on, if it has one of this name that is open."""

    client: str
    hold: str


class Sweep(NamedTuple):
    """The worker's look for holds whose time is over."""


class Called(NamedTuple):
    """The fulfillment of the order is leased and called once, if it is pending."""

    client: str
    order: str


class Ended(NamedTuple):
    """The same, and it comes to this end."""

    client: str
    order: str
    end: str  # completed, refused or kept


Turn = Status | Due | Sweep | Called | Ended
Step = Sent | Turn

HOLDS = ("h1", "h2", "h3", "h4", "h5", "h6")
ORDERS = ("o1", "o2", "o3", "o4")
ENDS = ("completed", "refused", "kept")

_KINDS = (
    *sorted(GIVING), *sorted(TAKING), "capture", "capture", "transfer", "transfer",
    "register_client", "register_client", "open_wallet", "open_wallet", "get_wallet",
    "get_history", "hold", "hold", "hold", "release", "refund", "refund", "refund",
    "freeze_wallet", "unfreeze_wallet", "unfreeze_wallet", "close_wallet", "place_order",
    "place_order", "place_order", "cancel_order", "retry_order", "get_order",
)  # fmt: skip
_GAPS_MS = (0, 0, 0, 0, 0, 100, 1_500, -1_000)


def step(number: int, ids: int) -> Step:
    """What happens next: in an eighth of all cases something other than a command."""
    pick = _Pick(number)
    if pick.choose(range(8)) == 0:
        return turn(pick.number)
    return sent(pick.number, ids)


def turn(number: int) -> Turn:
    """Something that happens without a command."""
    pick = _Pick(number)
    roll, client = pick.choose(range(7)), pick.choose(CLIENTS)
    if roll > 4:
        return Ended(client, pick.choose(ORDERS), pick.choose(ENDS))
    if roll > 2:
        return Called(client, pick.choose(ORDERS))
    if roll == 0:
        return Sweep()
    if roll == 1:
        return Due(client, pick.choose(HOLDS))
    status = pick.choose(("open", "open", "open", "frozen", "closed"))
    return Status(client, pick.choose(CURRENCIES), status)


def sent(number: int, ids: int) -> Sent:
    """A command with one of so many ids of its client's."""
    pick = _Pick(number)
    choose = pick.choose
    client, currency, kind = choose(CLIENTS), choose(CURRENCIES), choose(_KINDS)
    # What can be given back has few ids of its own, so that refunds find something.
    takes = kind in TAKING or kind in ("transfer", "place_order")
    name = _taker(choose, ids) if takes else f"{choose(range(ids))}"
    made = Sent(client, name, kind, currency, gap_ms=choose(_GAPS_MS))
    if kind == "register_client":
        email, phone = choose((None, "x@y.org", "X@y.org", "z@y.org")), choose((None, "+491"))
        return made._replace(currency="USD", name="Ann", email=email, phone=phone)
    if kind == "get_wallet":
        return made._replace(currency=choose((None, currency)))
    if kind == "get_history":
        return made._replace(currency=choose((None, currency)), limit=choose((None, 1, 3)))
    if kind.endswith("_wallet"):
        return made
    if kind in ("cancel_order", "retry_order", "get_order"):
        return made._replace(order=choose(ORDERS), currency=choose((None, None, currency)))
    if kind == "release":
        return made._replace(hold=choose(HOLDS), currency=choose((None, None, currency)))
    made = _referring(made._replace(amount=choose(AMOUNTS)), pick, ids)
    return _readable(made._replace(fault=choose((*[None] * 40, *FAULTS))))


class _Pick:
    """A number spent on choices, one after another; 0 always chooses the first."""

    def __init__(self, number: int) -> None:
        self.number = number

    def choose(self, options: Sequence[Any]) -> Any:
        self.number, at = divmod(self.number, len(options))
        return options[at]


def _referring(made: Sent, pick: _Pick, ids: int) -> Sent:
    choose = pick.choose
    if made.type == "transfer":
        return made._replace(to=choose(CLIENTS))
    if made.type == "payment":
        return made._replace(merchant="m1")
    if made.type == "place_order":
        return made._replace(order=choose(ORDERS))
    if made.type == "hold":
        hold, late = choose((None, *HOLDS)), choose((False, False, False, True))
        return made._replace(hold=hold, late=late)
    if made.type not in ("capture", "refund"):
        return made
    amount, currency = choose((None, made.amount)), choose((None, None, made.currency))
    made = made._replace(amount=amount, currency=currency)
    if made.type == "capture":
        return made._replace(hold=choose(HOLDS))
    return made._replace(original=_taker(choose, ids))


def _taker(choose: Callable[[Sequence[Any]], Any], ids: int) -> str:
    return f"t{choose(range(ids // 8))}"


def _readable(made: Sent) -> Sent:
    """A fault's command without what the fault has made unreadable."""
    if made.fault == "unknown_currency":
        return made._replace(currency="ZZZ", amount=None)
    return made._replace(amount=None) if made.fault == "invalid_amount" else made
