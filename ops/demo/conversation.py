"""The demo's side of Kafka: publishes a step as any service would, and reads what comes back."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import orjson

from ops.cli.failure import VerbError
from ops.demo.stage import Stage
from ops.demo.story import Step
from ops.reading import Reader, Record, dead_letter_source, is_dead_letter, result_source
from producers.publisher import Delivered, Input, Publisher
from schemas.header import CE_ID
from schemas.topic import (
    DEAD_LETTERS,
    ORDER_RESULT,
    WALLET_BALANCE,
    WALLET_RESULT,
    Topics,
)

# The first answer comes when the worker has joined its group; nothing else takes a second.
_TIMEOUT_S = 60.0
_SLICE_S = 0.5


class Conversation:
    """One publisher, and one read_committed reader of everything that goes out; a context manager.

    `answers` has all records that answer an input, by its place; `balances` each client's newest
    balances, currency -> balance.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._topics = Topics(stage.settings.topic_prefix)
        self._publisher = Publisher(stage.settings)
        self._reader = Reader(stage.settings)
        self.answers: dict[Delivered, list[Record]] = {}
        self.balances: dict[str, dict[str, str]] = {}
        self._events: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        outputs = (WALLET_RESULT, ORDER_RESULT, *DEAD_LETTERS, WALLET_BALANCE)
        partitions = range(self._stage.settings.partitions)
        # All of it is new, so every partition begins at 0; the broker, asked now, may not know yet.
        self._reader.start({(self._topics.real(t), p): 0 for t in outputs for p in partitions})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def publish(self, step: Step) -> Delivered:
        """Send the step and return where it stands. Raises PublishError."""
        raw = step.value if isinstance(step.value, bytes) else orjson.dumps(dict(step.value))
        return self._publisher.publish(Input(step.topic, step.client.encode(), raw))

    def answer(self, place: Delivered) -> Record:
        """The record that answers this place. Raises VerbError where none comes."""
        self._read_until(lambda: place in self.answers, f"no answer to {place}")
        return self.answers[place][0]

    def received(self, place: Delivered) -> dict[str, Any]:
        """What the other client is told of a transfer. Raises VerbError where nothing comes."""
        return self.event(f"{place.topic}/{place.partition}/{place.offset}/transfer_received")

    def event(self, event_id: str) -> dict[str, Any]:
        """A record that answers no input, by its `ce_id`. Raises VerbError where none comes."""
        self._read_until(lambda: event_id in self._events, f"no {event_id}")
        return self._events[event_id]

    def read_on(self, seconds: float) -> None:
        """Read whatever else comes in this time."""
        for record in self._reader.records(seconds):
            self._keep(record)

    def _read_until(self, is_there: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while not is_there():
            if self._stage.ended.is_set():
                codes = self._stage.exit_codes
                raise VerbError(f"a process has ended: {codes}\n{self._stage.log_tail()}")
            if time.monotonic() > deadline:
                raise VerbError(f"{otherwise} in {_TIMEOUT_S:.0f} s\n{self._stage.log_tail()}")
            for record in self._reader.records(_SLICE_S):
                self._keep(record)
                if is_there():
                    return

    def _keep(self, record: Record) -> None:
        if is_dead_letter(self._topics, record.topic):
            self._keep_answer(dead_letter_source(record), record)
        elif self._topics.logical(record.topic) == WALLET_BALANCE:
            value = orjson.loads(record.value or b"{}")
            wallets = {wallet["currency"]: wallet["balance"] for wallet in value["wallets"]}
            self.balances[value["client_id"]] = wallets
        else:
            self._keep_answer(result_source(record), record)

    def _keep_answer(self, place: Delivered | None, record: Record) -> None:
        if place is not None:
            self.answers.setdefault(place, []).append(record)
        else:
            event_id = (record.headers.get(CE_ID) or b"").decode()
            self._events[event_id] = orjson.loads(record.value or b"{}")
