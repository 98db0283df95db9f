"""What the relay sends: an outbox row as a Kafka record, and a client's newest balances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from ledger.currency import Currencies
from ledger.money import format_amount
from ledger.outbox import AccountRow, PendingRow
from ledger.posting import AVAILABLE, HELD
from schemas.header import event_headers, unpack_headers
from schemas.moment import format_moment
from schemas.topic import TOPICS, WALLET_BALANCE, Topics

BALANCE_EVENT_TYPE = "wallet.balance.updated.v1"

# librdkafka's "by the key".
_BY_KEY = -1


class Record(NamedTuple):
    """The arguments of `Producer.produce`: the real topic; partition -1 where the key decides."""

    topic: str
    value: bytes | None
    key: bytes | None
    partition: int
    headers: list[tuple[str, str | bytes | None]]


def real_names(topics: Topics) -> dict[str, str]:
    """The topics' names on the broker by the names that stand in the outbox."""
    return {name: topics.real(name) for name in TOPICS}


def row_record(row: PendingRow, names: Mapping[str, str]) -> Record:
    """The record of one outbox row; `names` are `real_names`.

    A row with a partition is a dead letter: it bears the packed headers and no others.
    """
    (
        _,
        topic,
        partition,
        key,
        value,
        event_id,
        event_type,
        correlation,
        causation,
        packed,
        _,
        at,
    ) = row
    further: Any = unpack_headers(packed) if packed else []
    if partition is not None:
        return Record(names[topic], value, key, partition, further)
    subject = key.decode() if key is not None else ""
    headers: Any = event_headers(event_id, event_type, subject, at, correlation, causation, further)
    return Record(names[topic], value, key, _BY_KEY, headers)


def balance_records(
    accounts: Sequence[AccountRow], currencies: Currencies, names: Mapping[str, str]
) -> Iterator[Record]:
    """One record for each client: all its wallets as they stand in `accounts`, sorted by client.

    Its `ce_id` ends with the sum of the accounts' versions, which grows with each change: the same
    state has the same id, however often it is sent. Raises KeyError for an unknown currency.
    """
    for client_id, own in groupby(accounts, key=attrgetter("client_id")):
        rows = list(own)
        updated_at = max(row.updated_at for row in rows)
        value = {
            "client_id": client_id,
            "wallets": [
                _wallet(list(wallet), currencies)
                for _, wallet in groupby(rows, key=attrgetter("currency"))
            ],
            "updated_at": format_moment(updated_at),
        }
        event_id = f"{WALLET_BALANCE}/{client_id}/{sum(row.version for row in rows)}"
        headers: Any = event_headers(event_id, BALANCE_EVENT_TYPE, client_id, updated_at)
        yield Record(
            names[WALLET_BALANCE], orjson.dumps(value), client_id.encode(), _BY_KEY, headers
        )


def _wallet(accounts: Sequence[AccountRow], currencies: Currencies) -> dict[str, Any]:
    by_kind = {account.kind: account for account in accounts}
    available, held = by_kind[AVAILABLE], by_kind.get(HELD)
    scale = currencies.scale(available.currency)
    if scale is None:
        raise KeyError(available.currency)
    return {
        "currency": available.currency,
        "balance": format_amount(available.balance, scale),
        "held": format_amount(held.balance if held is not None else 0, scale),
        "status": available.status,
        "version": available.version,
        "updated_at": format_moment(max(account.updated_at for account in accounts)),
    }
