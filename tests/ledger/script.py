"""Random scripts of commands that meet each other: few names, few ids, few amounts."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from hypothesis import strategies as st

from tests.ledger.model import FAULTS, LIMIT, Sent

CLIENTS = ("a", "b", "c", "d")
CURRENCIES = ("USD", "EUR")
AMOUNTS = (1, 2, 5, 100, LIMIT - 100, LIMIT)


class Status(NamedTuple):
    """An operator's hand: the wallet, where there is one, gets this status from here on."""

    client: str
    currency: str
    status: str


Step = Sent | Status
Script = list[Step]

_KINDS = (
    "credit", "debit", "deposit", "withdraw", "transfer", "transfer", "register_client",
    "open_wallet", "get_wallet",
)  # fmt: skip

_client = st.sampled_from(CLIENTS)
_currency = st.sampled_from(CURRENCIES)
_id = st.integers(1, 15).map(str)
_amount = st.sampled_from(AMOUNTS)
_fault = st.sampled_from((*[None] * 20, *FAULTS))

_movement = st.builds(
    lambda *given: Sent(*given[:5])._replace(fault=given[5]),
    _client,
    _id,
    st.sampled_from(("credit", "debit", "deposit", "withdraw")),
    _currency,
    _amount,
    _fault,
)
_transfer = st.builds(
    lambda *given: Sent(*given[:6])._replace(fault=given[6]),
    _client,
    _id,
    st.just("transfer"),
    _currency,
    _amount,
    _client,
    _fault,
)
_registration = st.builds(
    lambda client, number, email, phone, fault: Sent(
        client, number, "register_client", "USD", None, None, "Ann", email, phone, fault
    ),
    _client,
    _id,
    st.sampled_from((None, "x@y.org", "X@y.org", "z@y.org")),
    st.sampled_from((None, "+491", "+492")),
    st.sampled_from((None, None, None, "invalid_request")),
)
_opening = st.tuples(_client, _id, st.just("open_wallet"), _currency).map(lambda made: Sent(*made))
_query = st.tuples(_client, _id, st.just("get_wallet"), st.sampled_from((None, *CURRENCIES))).map(
    lambda made: Sent(*made)
)
_status = st.builds(
    Status, _client, _currency, st.sampled_from(("open", "open", "frozen", "closed"))
)


def _readable(made: Step) -> Step:
    """A fault's command without what the fault has made unreadable."""
    if isinstance(made, Status) or made.fault is None:
        return made
    if made.fault == "unknown_currency":
        return made._replace(currency="ZZZ", amount=None)
    return made._replace(amount=None) if made.fault == "invalid_amount" else made


_any: st.SearchStrategy[Step] = st.one_of(
    _movement, _movement, _transfer, _transfer, _registration, _opening, _query, _status
)
# A plain list strategy makes five steps or so; a history worth asking for takes more.
scripts: st.SearchStrategy[Script] = st.integers(0, 40).flatmap(
    lambda size: st.lists(_any.map(_readable), min_size=size, max_size=size)
)


def random_step(random: Random) -> Step:
    """A step by a plain generator, for scripts longer than Hypothesis likes to make them."""
    client, currency = random.choice(CLIENTS), random.choice(CURRENCIES)
    if random.random() < 0.03:
        return Status(client, currency, random.choice(("open", "open", "frozen", "closed")))
    number, amount = str(random.randrange(400)), random.choice(AMOUNTS)
    kind = random.choice(_KINDS)
    sent = Sent(client, number, kind, currency)
    if kind == "register_client":
        email, phone = random.choice((None, "x@y.org", "X@y.org")), random.choice((None, "+491"))
        return sent._replace(currency="USD", name="Ann", email=email, phone=phone)
    if kind == "get_wallet":
        return sent._replace(currency=random.choice((None, currency)))
    if kind == "open_wallet":
        return sent
    to = random.choice(CLIENTS) if kind == "transfer" else None
    fault = random.choice((*[None] * 20, *FAULTS))
    return _readable(sent._replace(amount=amount, to=to, fault=fault))
