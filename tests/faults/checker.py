"""The checker: judges a system from outside, by its topics, its tables and the public contract.

It imports nothing of the system's own code. Each rule names the first record that breaks it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.faults.checker_contract import Command, read, source_of, told
from tests.faults.checker_evidence import BALANCES, DEAD_LETTERS, RESULTS, Evidence, Place
from tests.faults.checker_order import ENDS, Breach
from tests.faults.checker_replay import Replay

_CLIENT_KINDS = ("available", "held", "escrow")
_STATUS = {
    "wallet_details": "answered",
    "order_details": "answered",
    "request_rejected": "rejected",
}
# A failed order can go round again until it is cancelled.
_MAY_BE_FULFILLED = {
    ("completed", None), ("failed", "fulfillment_unknown"), ("cancelled", "fulfillment_unknown"),
}  # fmt: skip


@dataclass(slots=True)
class Verdict:
    """The first breach of each rule, in the rules' order, and how many there were of each."""

    inputs: int = 0
    answers: int = 0
    breaches: list[Breach] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    # By currency: what the clients have beyond what went in, in minor units.
    off: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.breaches:
            return f"{self.inputs} records in, {self.answers} answers: nothing found"
        return "\n".join(f"{breach} ({self.counts[breach.rule]} of it)" for breach in self.breaches)


def judge(evidence: Evidence) -> Verdict:
    """Hold the evidence to every rule. Raises ValueError or KeyError for results without the
    contract's shape.
    """
    case = _Case(evidence)
    verdict = Verdict(len(evidence.inputs), sum(map(len, case.answers.values())))
    for rule in (
        case.answered_once, case.letters_as_they_came, case.caused_once, case.in_order,
        case.positions, case.sequential, case.money, case.balance_topic, case.nothing_waits,
        case.no_deadlock, case.fulfilled_once,
    ):  # fmt: skip
        for breach in rule():
            if breach.rule not in verdict.counts:
                verdict.breaches.append(breach)
            verdict.counts[breach.rule] += 1
    verdict.off = case.off
    return verdict


class _Case:
    """The evidence, sorted by what it answers."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence, self._tables = evidence, evidence.tables
        self._prefix = evidence.system.topic_prefix
        self.commands: dict[Place, Command] = {}
        self._dead: dict[Place, str] = {}
        for place, seen in evidence.inputs.items():
            content = read(seen, self._kind(place.topic))
            if isinstance(content, Command):
                self.commands[place] = content
            else:
                self._dead[place] = content
        # By the input's place: what answers it. A result's value, or a letter's text headers.
        self.answers: dict[Place, list[dict[str, Any]]] = defaultdict(list)
        self.off: dict[str, int] = {}
        self._answered_at: list[tuple[str, Place, Place]] = []
        self._caused: Counter[str] = Counter()
        self._events: dict[str, dict[str, Any]] = {}
        self._read_results()
        self._read_letters()

    def answered_once(self) -> Iterator[Breach]:
        """One answer per committed input, none lost, none doubled, none for anything else."""
        for place in self._evidence.inputs:
            count = len(self.answers.get(place, ()))
            if count != 1:
                yield Breach("lost" if not count else "doubled", str(place), f"{count} answers")
        for place in self.answers:
            if place not in self._evidence.inputs:
                yield Breach("invented", str(place), "an answer, where no committed record stands")

    def letters_as_they_came(self) -> Iterator[Breach]:
        """A record is dead exactly when, and why, the contract says so; its bytes are unchanged."""
        for place in self._evidence.inputs:
            for answer in self.answers.get(place, ()):
                why, expected = answer.get("wallet-dlt-reason"), self._dead.get(place)
                if why != expected:
                    said = f"is dead by {why}" if why else "is no dead letter"
                    what = f"{said}; it must be {expected or 'a result'}"
                    yield Breach("dead letters", str(place), what)
        for kind in DEAD_LETTERS:
            for letter in self._evidence.outputs[kind]:
                came = self._evidence.inputs.get(_letter_source(_text(letter.headers)))
                if came is None:
                    continue
                if (came.key, came.value) != (letter.key, letter.value):
                    yield Breach("dead letters", str(came.place), "is not as it came")
                if came.place.partition != letter.place.partition:
                    yield Breach("dead letters", str(came.place), "is in another partition")

    def caused_once(self) -> Iterator[Breach]:
        """Each movement that reaches another client, and each expiry, is told once to whom."""
        expected = Counter[str]()
        for row in self._tables["journal"]:
            kinds = row["debit_kind"], row["credit_kind"]
            if "peer" in kinds:
                place = Place(row["source_topic"], row["source_partition"], row["source_offset"])
                received = row["credit_kind"] == "peer"
                expected[f"{place}/transfer_{'received' if received else 'reversed'}"] += 1
            elif row["type"] in ENDS or row["command_id"].endswith("/expired"):
                expected[f"{row['client_id']}/{row['command_id']}"] += 1
        for event in expected | self._caused:
            if expected[event] != self._caused[event]:
                what = f"told {self._caused[event]} times; the journal has it {expected[event]}"
                more = "doubled" if expected[event] else "invented"
                rule = more if self._caused[event] > expected[event] else "lost"
                yield Breach(rule, event, what)

    def in_order(self) -> Iterator[Breach]:
        """One client's answers come in the order of one partition's records."""
        last: dict[tuple[Any, ...], Place] = {}
        for kind, client_place, _ in self._answered_at:
            key = self._evidence.inputs[client_place].key
            stream = kind, key, client_place.topic, client_place.partition
            before = last.get(stream)
            if before is not None and before.offset >= client_place.offset:
                yield Breach("order", str(client_place), f"is answered after {before}")
            last[stream] = client_place

    def positions(self) -> Iterator[Breach]:
        """Each position stands behind its last record, and counts what the topics show."""
        stored = {(row["topic"], row["partition"]): row for row in self._tables["positions"]}
        seen = self._counted()
        for key, (low, high) in self._evidence.log_bounds.items():
            row, offsets = (
                stored.get(key),
                [p.offset for p in self._evidence.inputs if p[:2] == key],
            )
            where = f"{key[0]}/{key[1]}"
            if row is None:
                if offsets:
                    yield Breach("positions", where, "has records and no position")
                continue
            if not max(offsets, default=low - 1) < row["next_offset"] <= high:
                what = f"the position is {row['next_offset']}, the log ends at {high}"
                yield Breach("positions", where, what)
            counted = {name: row[name] for name in ("results", "duplicates", "queries")}
            counted["dead_letters"] = row["dead_letters"]
            if sum(counted.values()) + row["skipped"] != row["next_offset"] - row["first_offset"]:
                yield Breach("positions", where, f"{counted} don't add up to the position")
            if counted != seen[key]:
                yield Breach("positions", where, f"counts {counted}, the topics show {seen[key]}")

    def sequential(self) -> Iterator[Breach]:
        """Every answer is the model's, and what is stored is what the model is left with."""
        results = {p: a[0] for p, a in self.answers.items() if p in self.commands}
        results = {p: a for p, a in results.items() if "wallet-dlt-reason" not in a}
        replay = Replay(self._evidence, self.commands, results, self._events)
        yield from replay.breaches()
        wallets = replay.model.wallets
        expected = {
            (*key, kind): amount
            for key, wallet in wallets.items()
            for kind, amount in (
                ("available", wallet.balance),
                ("held", wallet.held),
                ("escrow", wallet.escrow),
            )
        }
        stored = {(r["client_id"], r["currency"], r["kind"]): r for r in self._tables["accounts"]}
        for account in sorted(expected.keys() | stored.keys()):
            balance = stored[account]["balance"] if account in stored else 0
            if balance != expected.get(account, 0):
                what = f"stored {balance}; by the answers {expected.get(account, 0)}"
                yield Breach("state", " ".join(account), what)
        for row in self._tables["holds"]:
            hold = replay.model.holds.get((row["client_id"], row["hold_id"]))
            if hold is None or (hold.amount, hold.status) != (row["amount"], row["status"]):
                yield Breach("state", f"hold {row['client_id']} {row['hold_id']}", row["status"])
        yield from replay.orders.stored(self._tables["orders"])

    def fulfilled_once(self) -> Iterator[Breach]:
        """A completed order was fulfilled under the id it tells; what was fulfilled and is not
        completed here is known as one that may have been delivered.
        """
        done = self._evidence.fulfilled
        if done is None:
            return
        stored = {f"{r['client_id']}/{r['order_id']}": r for r in self._tables["orders"]}
        for key, row in stored.items():
            if row["status"] == "completed" and done.get(key) != row["fulfillment_id"]:
                what = f"completed as {row['fulfillment_id']}, fulfilled as {done.get(key)}"
                yield Breach("fulfillment", key, what)
        for key in done:
            now = stored.get(key)
            if now is None or (now["status"], now["reason"]) not in _MAY_BE_FULFILLED:
                what = f"was fulfilled, and is {now and now['status']} here"
                yield Breach("fulfillment", key, what)

    def money(self) -> Iterator[Breach]:
        """Nothing is made or lost: all balances and what went in and out add up to zero."""
        totals, moved = Counter[str](), Counter[str]()
        for row in self._tables["accounts"]:
            totals[row["currency"]] += row["balance"]
            if row["balance"] < 0:
                yield Breach("money", f"{row['client_id']} {row['currency']}", "is below zero")
        for row in self._tables["journal"]:
            for kind, amount in ((row["debit_kind"], -1), (row["credit_kind"], 1)):
                if kind is not None and kind not in (*_CLIENT_KINDS, "peer"):
                    moved[row["currency"]] += amount * row["amount"]
        for currency in sorted(totals | moved):
            self.off[currency] = totals[currency] + moved[currency]
            if self.off[currency]:
                what = f"clients have {totals[currency]}, {-moved[currency]} went in"
                yield Breach("money", currency, what)

    def balance_topic(self) -> Iterator[Breach]:
        """The newest record of each client on the compacted topic is its wallets as they stand."""
        newest = {s.key: s for s in self._evidence.outputs[BALANCES] if s.key is not None}
        shown = {key.decode(): json.loads(seen.value or b"{}") for key, seen in newest.items()}
        stored: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for row in self._tables["accounts"]:
            if row["kind"] == "escrow":
                continue
            wallet = stored[row["client_id"]].setdefault(row["currency"], {"held": 0})
            wallet[row["kind"]] = row["balance"]
            if row["kind"] == "available":
                wallet |= {"status": row["status"], "version": row["version"]}
        for client in sorted(stored.keys() | shown.keys()):
            there = {
                w["currency"]: {
                    "available": told(w["balance"], w["currency"]),
                    "held": told(w["held"], w["currency"]),
                    "status": w["status"],
                    "version": w["version"],
                }
                for w in shown.get(client, {}).get("wallets", [])
            }
            if there != stored.get(client, {}):
                what = f"shows {there}; stored is {stored.get(client)}"
                yield Breach("wallet-balance", client, what)

    def nothing_waits(self) -> Iterator[Breach]:
        """Nothing is left to be published, and no order to be ended, once all is answered."""
        for row in self._tables["waiting"]:
            what = f"is still in the outbox, with {row['record_count']} records"
            yield Breach("waiting", f"row {row['id']}", what)
        for row in self._tables["orders"]:
            if row["status"] == "pending":
                yield Breach("waiting", f"{row['client_id']}/{row['order_id']}", "is still pending")

    def no_deadlock(self) -> Iterator[Breach]:
        """Locks are taken in one order, so nobody ever waits in a circle."""
        count = self._tables["deadlocks"][0]["deadlocks"]
        if count:
            yield Breach("deadlock", "the database", f"ended {count} deadlocks")

    def _kind(self, topic: str) -> str:
        return topic.removeprefix(self._prefix)

    def _read_results(self) -> None:
        for kind in RESULTS:
            for seen in self._evidence.outputs[kind]:
                result = json.loads(seen.value or b"")
                place, event = source_of(result), _text(seen.headers)["ce_id"]
                if kind == "order-result":
                    result["order_status"] = result["status"]
                    result["status"] = _STATUS.get(result["event"], "applied")
                if place is None:
                    self._caused[event] += 1
                    self._events[event] = result
                    continue
                self.answers[place].append(result)
                if place in self._evidence.inputs:
                    self._answered_at.append((kind, place, seen.place))
                if event != str(place):
                    self._caused[event] += 1

    def _read_letters(self) -> None:
        for kind in DEAD_LETTERS:
            for seen in self._evidence.outputs[kind]:
                headers = _text(seen.headers)
                place = _letter_source(headers)
                self.answers[place].append(dict(headers))
                if place in self._evidence.inputs:
                    self._answered_at.append((kind, place, seen.place))

    def _counted(self) -> dict[tuple[str, int], dict[str, int]]:
        """What the positions must have counted, by partition."""
        seen: dict[tuple[str, int], dict[str, int]] = {
            key: dict.fromkeys(("results", "duplicates", "queries", "dead_letters"), 0)
            for key in self._evidence.log_bounds
        }
        for place, answers in self.answers.items():
            for answer in answers:
                if "wallet-dlt-reason" in answer:
                    name = "dead_letters"
                elif answer["duplicate"]:
                    name = "duplicates"
                else:
                    command = self.commands.get(place)
                    name = "queries" if command is not None and command.is_query else "results"
                if place[:2] in seen:
                    seen[place[:2]][name] += 1
        return seen


def _text(headers: dict[str, bytes | None]) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in headers.items()}


def _letter_source(headers: dict[str, str]) -> Place:
    return Place(
        headers["kafka_dlt-original-topic"],
        int(headers["kafka_dlt-original-partition"]),
        int(headers["kafka_dlt-original-offset"]),
    )
