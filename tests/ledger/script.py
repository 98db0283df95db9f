"""Random scripts of commands that meet each other: few names, few ids, few amounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.ledger.term import FAULTS, GIVING, LIMIT, Sent

CLIENTS = ("a", "b", "c", "d")
CURRENCIES = ("USD", "EUR")
AMOUNTS = (1, 2, 5, 100, LIMIT - 100, LIMIT)


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
    """The fulfillment of a pending order is leased, and one call made."""

    client: str
    order: str


class Ended(NamedTuple):
    """The fulfillment of an order that was called comes to this end."""

    client: str
    order: str
    end: str  # completed, refused or kept


Turn = Status | Due | Sweep | Called | Ended
Step = Sent | Turn
Script = list[Step]

HOLDS = ("h1", "h2", "h3")
ORDERS = ("o1", "o2", "o3")

_GIVEN = sorted(GIVING)
_TAKEN = ["debit", "withdraw", "spend", "payment"]
_KINDS = (
    *_GIVEN, *_TAKEN, "transfer", "transfer", "register_client", "open_wallet", "get_wallet",
    "get_history", "hold", "hold", "capture", "release", "refund", "refund", "refund",
    "freeze_wallet", "unfreeze_wallet", "unfreeze_wallet", "close_wallet", "place_order",
    "place_order", "place_order", "cancel_order", "retry_order", "get_order",
)  # fmt: skip


class _Pick:
    """Draws one of several: by Hypothesis, which can shrink, or by a plain generator."""

    def __init__(self, choose: Callable[[Sequence[Any]], Any], ids: int) -> None:
        self.choose, self._ids = choose, range(ids)

    def step(self) -> Step:
        roll = self.choose(range(36))
        client, currency = self.choose(CLIENTS), self.choose(CURRENCIES)
        if roll == 0:
            return Status(client, currency, self.choose((*["open"] * 10, "frozen", "closed")))
        if roll == 1:
            return Due(client, self.choose(HOLDS))
        if roll in (3, 4, 5):
            return Called(client, self.choose(ORDERS))
        if roll in (6, 7, 8):
            return Ended(client, self.choose(ORDERS), self.choose(("completed", "refused", "kept")))
        return Sweep() if roll == 2 else self._sent(client, currency)

    def _sent(self, client: str, currency: str) -> Sent:
        choose, kind = self.choose, self.choose(_KINDS)
        # Settling has ids of its own, so that it finds more to settle than it uses up.
        name = "s" if kind in ("capture", "refund", "cancel_order", "retry_order") else ""
        sent = Sent(client, f"{name}{choose(self._ids)}", kind, currency)
        if kind == "register_client":
            email, phone = choose((None, "x@y.org", "X@y.org", "z@y.org")), choose((None, "+491"))
            return sent._replace(currency="USD", name="Ann", email=email, phone=phone)
        if kind == "get_wallet":
            return sent._replace(currency=choose((None, currency)))
        if kind == "get_history":
            return sent._replace(currency=choose((None, currency)), limit=choose((None, 1, 3)))
        if kind.endswith("_wallet"):
            return sent
        if kind in ("cancel_order", "retry_order", "get_order"):
            return sent._replace(order=choose(ORDERS), currency=choose((None, None, currency)))
        if kind == "release":
            return sent._replace(hold=choose(HOLDS), currency=choose((None, None, currency)))
        sent = self._referring(sent._replace(amount=choose(AMOUNTS)))
        return _readable(sent._replace(fault=choose((*[None] * 20, *FAULTS))))

    def _referring(self, sent: Sent) -> Sent:
        choose = self.choose
        if sent.type == "transfer":
            return sent._replace(to=choose(CLIENTS))
        if sent.type == "payment":
            return sent._replace(merchant="m1")
        if sent.type == "place_order":
            return sent._replace(order=choose(ORDERS))
        if sent.type == "hold":
            hold, late = choose((None, *HOLDS)), choose((False, False, False, True))
            return sent._replace(hold=hold, late=late)
        if sent.type not in ("capture", "refund"):
            return sent
        amount, currency = choose((None, sent.amount)), choose((None, None, sent.currency))
        sent = sent._replace(amount=amount, currency=currency)
        if sent.type == "capture":
            return sent._replace(hold=choose(HOLDS))
        return sent._replace(original=str(choose(self._ids)))


def _readable(made: Sent) -> Sent:
    """A fault's command without what the fault has made unreadable."""
    if made.fault == "unknown_currency":
        return made._replace(currency="ZZZ", amount=None)
    return made._replace(amount=None) if made.fault == "invalid_amount" else made


@st.composite
def _steps(draw: st.DrawFn) -> Step:
    return _Pick(lambda options: draw(st.sampled_from(options)), ids=15).step()


scripts: st.SearchStrategy[Script] = st.lists(_steps(), max_size=40)


def random_step(random: Random) -> Step:
    """A step by a plain generator, for scripts longer than Hypothesis likes to make them."""
    return _Pick(random.choice, ids=200).step()
