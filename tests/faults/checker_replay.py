"""Replays the journal, in its order, on the model that was written from the contract.

One client after another would be too simple: transfers make them meet. Every answer is compared.

Records that leave no row in the journal (queries, duplicates, conflicts) stand between two rows of
their partition; what they show must be what was true somewhere between those two.

What it can't decide: a client or wallet that one partition's record makes while another
partition's looks for it; the one that finds nothing may stand behind the other in the journal. The
loads make their clients and wallets first.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from tests.faults.checker_contract import Command, minor, told
from tests.faults.checker_evidence import Evidence, Place
from tests.faults.checker_order import ENDS, Breach, Orders, outcome_of
from tests.ledger.model import Model
from tests.ledger.term import Outcome, Sent

Row = dict[str, Any]
_NEVER = 2**63


class Stand(NamedTuple):
    """A wallet as it stood from the journal's row `since_id` on."""

    since_id: int
    balance: int
    held: int
    status: str


class Replay:
    """`commands` are the inputs that can be read, `answers` the one result of each by its place,
    `events` the results that answer no input, by their `ce_id`.
    """

    def __init__(
        self,
        evidence: Evidence,
        commands: dict[Place, Command],
        answers: dict[Place, Row],
        events: dict[str, Row],
    ) -> None:
        self._evidence = evidence
        self._commands = commands
        self._answers = answers
        self.model = Model(evidence.system.auto_create, evidence.system.transfer_refund)
        self.orders = Orders(self.model, events)
        self._stands: dict[tuple[str, str], list[Stand]] = defaultdict(list)
        self._wallets_of: dict[str, list[str]] = defaultdict(list)
        self._expires_at: dict[tuple[str, str], datetime] = {}
        # By partition: the kept records' places with their rows' ids, as they come.
        self._kept: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        self._first: dict[tuple[str, str], Place] = {}

    def breaches(self) -> Iterator[Breach]:
        """What the replay finds, in the journal's order; the rest means little after the first."""
        for row in self._evidence.tables["journal"]:
            yield from self._follow(row)
        kept = {
            Place(*partition, offset)
            for partition, pairs in self._kept.items()
            for offset, _ in pairs
        }
        for place in sorted(self._commands.keys() - kept):
            if place in self._answers:
                yield from self._between(place)

    def _follow(self, row: Row) -> Iterator[Breach]:
        """One row of the journal."""
        client, name, row_id = row["client_id"], row["command_id"], row["id"]
        command_id, _, cause = name.partition("/")
        if cause == "rest":
            return  # the capture that comes next is the one that the model knows
        if row["type"] in ENDS:
            yield from self.orders.end(row)
        elif cause:
            if not self._expire(client, command_id, row["created_at"]):
                yield Breach("sequential", f"journal {row_id}", f"{name} had nothing to release")
        else:
            place = Place(row["source_topic"], row["source_partition"], row["source_offset"])
            yield from self._compare(place, row)
        self._note(row)

    def _expire(self, client: str, hold_id: str, now: datetime) -> bool:
        """Have the model release this one hold; whether its time was over and it open."""
        hold = self.model.holds.get((client, hold_id))
        if hold is None or hold.status != "open" or not self._is_due((client, hold_id), now):
            return False
        hold.due = True
        return self.model.expire(client, hold_id)

    def _is_due(self, key: tuple[str, str], now: datetime) -> bool:
        return key in self._expires_at and self._expires_at[key] <= now

    def _compare(self, place: Place, row: Row) -> Iterator[Breach]:
        where, pairs = f"{place} (journal {row['id']})", self._kept[place.topic, place.partition]
        command, answer = self._commands.get(place), self._answers.get(place)
        if pairs and pairs[-1][0] >= place.offset:
            yield Breach("journal order", where, f"stands after offset {pairs[-1][0]}")
        pairs.append((place.offset, row["id"]))
        if command is None:
            yield Breach("journal order", where, "comes from no committed command")
            return
        sent = self._sent(command, row)
        self._first.setdefault((sent.client, sent.id), place)
        if (row["client_id"], row["command_id"]) != (sent.client, sent.id):
            yield Breach(
                "sequential", where, f"is {sent.client} {sent.id}, the journal has another"
            )
        if answer is not None and sent.order is not None:
            yield from self.orders.meet(sent, answer, where)
        # Each batch has a time of its own, the journal's order none.
        hold = self.model.holds.get((sent.client, sent.hold or ""))
        if hold is not None:
            hold.due = self._is_due((sent.client, sent.hold or ""), row["created_at"])
        expected = self.model.answer(sent)
        if hold is not None:
            hold.due = False
        if sent.order is not None:  # answered on order-result, which tells neither
            expected = expected._replace(before=None, held=None)
        if expected.duplicate:
            yield Breach("idempotency", where, f"{sent.client} {sent.id} is in the journal twice")
        if answer is not None and (found := _outcome(answer)) != expected:
            yield Breach("sequential", where, f"{_short(found)}; it must be {_short(expected)}")

    def _sent(self, command: Command, row: Row) -> Sent:
        """The command with what only its moment decides: its amount's scale, a late hold."""
        sent = command.sent
        currency = self.model.currency_of(sent)
        if command.amount is not None and currency is not None:
            amount = minor(command.amount, currency)
            fault = sent.fault or ("invalid_amount" if amount is None else None)
            sent = sent._replace(amount=amount, fault=fault)
        if command.expires_at is not None:
            expires_at = datetime.fromisoformat(command.expires_at)
            sent = sent._replace(late=expires_at <= row["created_at"])
            if row["status"] == "applied":
                self._expires_at[sent.client, sent.hold or sent.id] = expires_at
        return sent

    def _note(self, row: Row) -> None:
        """Keep how the row's wallets and order stand after it."""
        self.orders.note(row)
        for key in ((row[side], row["currency"]) for side in ("client_id", "counterparty")):
            wallet = self.model.wallets.get(key)
            if wallet is not None:
                stand = Stand(row["id"], wallet.balance, wallet.held, wallet.status)
                if key not in self._stands:
                    self._wallets_of[key[0]].append(key[1])
                self._stands[key].append(stand)

    def _between(self, place: Place) -> Iterator[Breach]:
        """A record without a row: a duplicate, a conflict or a query."""
        command, answer = self._commands[place], self._answers[place]
        first = self._first.get((command.sent.client, command.sent.id))
        since, until = self._window(place)
        if first is not None and first != place:
            yield from self._repeated(place, first)
        elif not command.is_query:
            yield Breach(
                "sequential", str(place), f"{answer['status']}, and nothing was kept of it"
            )
        elif command.sent.order is not None:
            yield from self.orders.shown(str(place), command.sent, answer, since, until)
        elif answer["status"] == "answered":
            yield from self._queried(place, since, until)
        elif answer.get("reason") not in ("client_not_found", "wallet_not_found"):
            yield Breach("sequential", str(place), f"a query that was {_short(answer)}")
        elif any(s.since_id <= since for s in self._of(command.sent)):
            yield Breach("sequential", str(place), f"{answer['reason']}, and there was a wallet")

    def _repeated(self, place: Place, first: Place) -> Iterator[Breach]:
        answer = self._answers[place]
        same = self._commands[first].content == self._commands[place].content
        if not same:
            if answer["reason"] != "idempotency_conflict":
                what = f"{_short(answer)}; other content than {first}: it must be a conflict"
                yield Breach("idempotency", str(place), what)
        elif first in self._answers:
            expected = self._answers[first] | {"duplicate": True, "source": answer["source"]}
            if answer != expected:
                yield Breach("idempotency", str(place), f"does not repeat the answer to {first}")

    def _queried(self, place: Place, since: int, until: int) -> Iterator[Breach]:
        client = self._commands[place].sent.client
        for wallet in self._answers[place]["wallets"]:
            currency = wallet["currency"]
            shown = (
                told(wallet["balance"], currency), told(wallet["held"], currency), wallet["status"],
            )  # fmt: skip
            stands = self._stands[client, currency]
            first = max(0, bisect_left(stands, since + 1, key=_since_id) - 1)
            if shown not in [
                s[1:] for s in stands[first : bisect_left(stands, until, key=_since_id)]
            ]:
                yield Breach("sequential", str(place), f"shows {shown} {currency}, as it never was")

    def _of(self, sent: Sent) -> Iterator[Stand]:
        for currency in self._wallets_of[sent.client]:
            if sent.currency in (None, currency):
                yield from self._stands[sent.client, currency]

    def _window(self, place: Place) -> tuple[int, int]:
        """The ids of the rows of its partition before and after the record."""
        kept = self._kept[place.topic, place.partition]
        after = bisect_left(kept, (place.offset, 0))
        since = kept[after - 1][1] if after else 0
        return since, kept[after][1] if after < len(kept) else _NEVER


def _since_id(stand: Stand) -> int:
    return stand.since_id


def _outcome(answer: Row) -> Outcome:
    if "event" in answer:
        return outcome_of(answer)
    currency = answer["currency"]
    return Outcome(
        answer["status"], answer["reason"], told(answer["balance_before"], currency),
        told(answer["balance_after"], currency), answer["duplicate"],
        held=told(answer["held"], currency),
    )  # fmt: skip


def _short(outcome: Outcome | Row) -> str:
    told_of = outcome._asdict() if isinstance(outcome, Outcome) else outcome
    names = ("status", "reason", "before", "after", "held", "duplicate", "order")
    return json.dumps({name: told_of[name] for name in names if told_of.get(name) is not None})
