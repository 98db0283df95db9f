"""What the relay sends: a record of the outbox as Kafka's, and a client's newest balances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

import orjson

from ledger.currency import Currencies
from ledger.money import format_amount
from ledger.outbox import AccountRow
from ledger.parcel import OutboxRecord
from ledger.posting import AVAILABLE, HELD
from schemas.header import EventHeaders, event_headers, unpack_headers
from schemas.moment import format_moment
from schemas.topic import TOPICS, WALLET_BALANCE, Topics

BALANCE_EVENT_TYPE = "wallet.balance.updated.v1"

# librdkafka's "by the key".
_BY_KEY = -1


# What `Producer.produce` needs: the real topic, value, key, partition (-1 where the key decides),
# headers. A plain tuple, since one with names takes as long to make as all that goes into it.
Record: TypeAlias = tuple[str, bytes | None, bytes | None, int, EventHeaders]


def real_names(topics: Topics) -> dict[str, str]:
    """The topics' names on the broker by the names that stand in the outbox."""
    return {name: topics.real(name) for name in TOPICS}


def outbox_record(record: OutboxRecord, time: str, names: Mapping[str, str]) -> Record:
    """What is sent for a record of the outbox, decided at `time`; `names` are `real_names`.

    One with a partition is a dead letter: it bears the packed headers and no others.
    """
    topic, partition, key, value, event_id, event_type, correlation, causation, packed, _ = record
    further: Any = unpack_headers(packed) if packed else []
    if partition is not None:
        return names[topic], value, key, partition, further
    client_id = key or b""
    headers = event_headers(event_id, event_type, client_id, time, correlation, causation, further)
    return names[topic], value, key, _BY_KEY, headers


def balance_records(
    accounts: Sequence[AccountRow], currencies: Currencies, names: Mapping[str, str]
) -> Iterator[Record]:
    """One record for each client: all its wallets as they stand in `accounts`, sorted by client.

    Its `ce_id` ends with the sum of the accounts' versions, which grows with each change: the same
    state has the same id, however often it is sent. Raises UnknownScaleError for a currency
    that is not among `currencies`.
    """
    # One for nearly each command: half of what this takes is felt at 10,000 a second.
    topic = names[WALLET_BALANCE]
    for client_id, own in groupby(accounts, key=_CLIENT_OF):
        wallets: dict[str, dict[str, Any]] = {}
        changes, newest = 0, ""
        for _, currency, kind, balance, status, version, updated_at in own:
            changes += version
            moment = format_moment(updated_at)  # these compare in a sixth of the moments' time
            if moment > newest:  # noqa: PLR1730 (max() would be a twentieth of all this)
                newest = moment
            if kind == AVAILABLE:  # it comes first
                scale = currencies.scale_of_amounts(currency)
                wallets[currency] = {
                    "currency": currency,
                    "balance": format_amount(balance, scale),
                    "held": format_amount(0, scale),
                    "status": status,
                    "version": version,
                    "updated_at": moment,
                }
                continue
            wallet = wallets[currency]
            if kind == HELD:
                wallet["held"] = format_amount(balance, currencies.scale_of_amounts(currency))
            wallet["updated_at"] = max(wallet["updated_at"], moment)
        value = {"client_id": client_id, "wallets": [*wallets.values()], "updated_at": newest}
        event_id = f"{WALLET_BALANCE}/{client_id}/{changes}"
        headers = event_headers(event_id, BALANCE_EVENT_TYPE, client_id, newest)
        yield topic, orjson.dumps(value), client_id.encode(), _BY_KEY, headers


_CLIENT_OF = itemgetter(0)
