"""Commands of every kind for the fault tests: who, what and when is drawn from a seed."""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from producers.publisher import Input
from schemas.topic import ORDER_REQUEST, WALLET_COMMAND

CURRENCIES = ("USD", "USD", "JPY")
_GIVING = ("credit", "deposit", "top_up", "bonus", "loyalty")
_TAKING = ("debit", "withdraw", "spend", "payment")


@dataclass(slots=True)
class Load:
    """A stream of commands of so many clients. `opening` comes first, and alone: what follows may
    then send money to anybody. Orders, which somebody must fulfill, and holds that expire are only
    in a `whole` one.
    """

    seed: int
    client_count: int
    whole: bool = False
    _chance: random.Random = field(init=False)
    # What may be sent again or referred to: a load may go on for hours.
    _sent: deque[Input] = field(default_factory=lambda: deque(maxlen=20_000))
    _taken: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=20_000))
    _held: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=20_000))
    _ordered: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=200))
    _number: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def opening(self) -> list[Input]:
        """One credit for each client and currency."""
        return [
            self._command(self._client(number), type="credit", currency=currency, amount="1000")
            for number in range(self.client_count)
            for currency in sorted(set(CURRENCIES))
        ]

    def more(self, count: int) -> list[Input]:
        """The next commands; some are sent again, some with other content, some are broken."""
        return [self._next() for _ in range(count)]

    def _next(self) -> Input:
        dice = self._chance.random()
        if dice < 0.05 and self._sent:
            return self._chance.choice(self._sent)
        if dice < 0.06 and self._sent:
            old = self._chance.choice(self._sent)
            value = json.loads(old.value or b"") | {"reference": "not what it was"}
            return old._replace(value=json.dumps(value).encode())
        client = self._client(self._chance.randrange(self.client_count))
        if dice < 0.07:
            return Input(WALLET_COMMAND, client.encode(), b'{"command_id": broken')
        if self.whole and self._chance.random() < 0.2:
            return self._request(client)
        return self._command(client, **self._fields(client))

    def _fields(self, client: str) -> dict[str, Any]:
        chance = self._chance
        currency, dice = chance.choice(CURRENCIES), chance.random()
        whole = chance.randint(1, 40)
        amount = str(whole) if currency == "JPY" else f"{whole}.{chance.randint(0, 99):02}"
        money = {"currency": currency, "amount": amount}
        if dice < 0.2:
            to = self._client(chance.randrange(self.client_count))
            return {"type": "transfer", "to_client_id": to, **money}
        if dice < 0.45:
            return {"type": chance.choice(_GIVING), **money}
        if dice < 0.65:
            kind = chance.choice(_TAKING)
            self._taken.append((client, self._next_id()))
            return {"type": kind, **money} | ({"merchant_id": "m"} if kind == "payment" else {})
        if dice < 0.75:
            self._held.append((client, self._next_id()))
            return {"type": "hold", **money} | self._expiry()
        return self._referring(str(whole))

    def _referring(self, amount: str) -> dict[str, Any]:
        """Something that refers to an earlier command; its client is that one's."""
        chance, dice = self._chance, self._chance.random()
        some = {"amount": amount} if chance.random() < 0.3 else {}
        if dice < 0.4 and self._held:
            client, hold_id = chance.choice(self._held)
            kind = chance.choice(("capture", "release"))
            return {"of": client, "type": kind, "hold_id": hold_id} | (
                some if kind == "capture" else {}
            )
        if dice < 0.7 and self._taken:
            client, original = chance.choice(self._taken)
            return {"of": client, "type": "refund", "original_command_id": original, **some}
        return {"type": chance.choice(("get_wallet", "get_history", "open_wallet"))}

    def _expiry(self) -> dict[str, str]:
        """When a hold ends, for some of a whole load: in the next seconds."""
        if not self.whole or self._chance.random() < 0.6:
            return {}
        ends_at = datetime.now(UTC) + timedelta(seconds=self._chance.uniform(1, 20))
        return {"expires_at": ends_at.isoformat(timespec="milliseconds")}

    def _request(self, client: str) -> Input:
        """A request about an order; its client is the order's."""
        chance, dice = self._chance, self._chance.random()
        if dice < 0.5 or not self._ordered:
            self._ordered.append((client, self._next_id()))
            # A completed one can be refunded like anything else that was paid.
            self._taken.append((client, self._next_id()))
            fields = {"type": "place_order", "order_id": self._next_id(), "amount": "12.34"}
            return self._command(client, ORDER_REQUEST, **fields)
        if dice < 0.6:
            return self._command(client, ORDER_REQUEST, type="get_wallet")
        of, order_id = chance.choice(self._ordered)
        kind = chance.choice(("cancel_order", "retry_order", "get_order"))
        return self._command(of, ORDER_REQUEST, type=kind, order_id=order_id)

    def _client(self, number: int) -> str:
        return f"client-{number}"

    def _next_id(self) -> str:
        """The id that the next command will have."""
        return f"c-{self._number}"

    def _command(self, client: str, topic: str = WALLET_COMMAND, **fields: Any) -> Input:
        client = fields.pop("of", client)
        value = {"command_id": self._next_id(), **fields}
        self._number += 1
        made = Input(topic, client.encode(), json.dumps(value).encode())
        self._sent.append(made)
        return made
