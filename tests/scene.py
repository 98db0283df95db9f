"""A whole system for one test: topics, database, workers and relays, and what they answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from consumers.worker import Worker
from producers.publisher import Delivered, Input, Publisher
from schemas.topic import (
    DEAD_LETTERS,
    ORDER_RESULT,
    WALLET_COMMAND,
    WALLET_RESULT,
)
from tests.background import in_background
from tests.producers.world import PARTITIONS, World, eventually

# The real topic, partition and offset of an input record.
Place = tuple[str, int, int]


@dataclass(slots=True)
class Answers:
    """What the output topics say of the inputs, in the order of each topic's partitions.

    `results` and `dead` hold every answer of an input record by its place; one that was answered
    twice is there twice. `others` are the results that answer no input.
    """

    results: dict[Place, list[dict[str, Any]]] = field(default_factory=dict)
    dead: dict[Place, list[dict[str, str]]] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many answers there are to input records."""
        return sum(map(len, self.results.values())) + sum(map(len, self.dead.values()))

    def only(self, place: Delivered) -> dict[str, Any]:
        """The one result of a record; fails where there is none, or more than one answer."""
        [result] = self.results.get(_place(place), [])
        assert _place(place) not in self.dead
        return result

    def reason(self, place: Delivered) -> str:
        """Why a record is dead; fails where it is not, or was answered twice."""
        return self.letter(place)["wallet-dlt-reason"]

    def letter(self, place: Delivered) -> dict[str, str]:
        """The headers of a record's one dead letter; fails where it is not dead, or twice."""
        [headers] = self.dead.get(_place(place), [])
        assert _place(place) not in self.results
        return headers


class Scene(World):
    """A World with inputs, workers and processes."""

    def publish(self, *records: Input) -> list[Delivered]:
        """Send records as an upstream service does; where each stands."""
        return Publisher(self.settings).publish_all(records)

    def command(self, client: str, topic: str = WALLET_COMMAND, **fields: Any) -> Delivered:
        """Send one command; `type` is spelled `type_`."""
        return self.publish(command(client, topic, **fields))[0]

    def publish_to(self, *records: tuple[int, str, bytes]) -> None:
        """Send (partition, key, value) to where we choose, as a producer without murmur2 might."""
        producer = Producer(self.settings.kafka_client())
        for partition, key, value in records:
            producer.produce(self.topics.real(WALLET_COMMAND), value, key, partition)
        assert producer.flush(20) == 0

    def make_topic_again(self, admin: AdminClient, name: str) -> None:
        """Make one topic as it was made before; the broker may need a moment to forget that."""
        [spec] = [s for s in self.topics.specs(PARTITIONS, 1) if s.name == name]

        def made() -> bool:
            new = NewTopic(spec.name, spec.partition_count, 1, config=spec.config)
            [future] = admin.create_topics([new]).values()
            return future.exception(10) is None

        eventually(made)
        self.wait_until_known([spec])

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """A worker in a thread of its own; what it raised is raised when the block ends."""
        worker = Worker(self.settings, database_url=self.env.database_url)
        with in_background("worker", worker.run):
            yield worker

    @contextmanager
    def running(self) -> Iterator[Worker]:
        """A worker and a relay."""
        with self.worker() as worker, self.relay():
            yield worker

    @contextmanager
    def process(self, name: str, *fault: str, log: Path | None = None) -> Iterator[Process]:
        """A worker or relay as a process of its own (tests.faults.run); killed at the end."""
        with ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
            started = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.run", *fault, name],
                env={**os.environ, **self.env.env, **self.extra, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            stack.enter_context(started)
            try:
                yield Process(started)
            finally:
                started.kill()

    def answers(self) -> Answers:
        """All that can be read by a read_committed reader at this moment."""
        answers = Answers()
        for topic in (WALLET_RESULT, ORDER_RESULT):
            for message in self.read(topic):
                result = json.loads(message.value() or b"")
                source = result["source"]
                if source is None:
                    answers.others.append(result)
                else:
                    place = (source["topic"], source["partition"], source["offset"])
                    answers.results.setdefault(place, []).append(result)
        for topic in DEAD_LETTERS:
            for message in self.read(topic):
                headers = text_headers(message)
                place = (
                    headers["kafka_dlt-original-topic"],
                    int(headers["kafka_dlt-original-partition"]),
                    int(headers["kafka_dlt-original-offset"]),
                )
                answers.dead.setdefault(place, []).append(headers)
        return answers

    def answered(self, count: int, timeout_s: float = 60.0) -> Answers:
        """The answers once there are `count` of them, or more."""
        found: list[Answers] = []

        def enough() -> bool:
            if self.positions_count() < count:
                return False
            found[:] = [self.answers()]
            return found[0].count >= count

        eventually(enough, timeout_s)
        return found[0]

    def positions_count(self) -> int:
        """How many records the positions have counted."""
        return int(
            self.scalar(
                "SELECT coalesce(sum(results + duplicates + queries + dead_letters), 0)"
                " FROM consumer_positions"
            )
        )

    def scalar(self, query: str, *parameters: Any) -> Any:
        """The one value that a query gives."""
        with self.connect() as session:
            row = session.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return row[0]

    def balance(self, client: str, currency: str = "USD") -> int:
        """A wallet's available balance in minor units."""
        return int(
            self.scalar(
                "SELECT balance FROM accounts"
                " WHERE client_id = %s AND currency = %s AND kind = 'available'",
                client,
                currency,
            )
        )


def _place(delivered: Delivered) -> Place:
    return (delivered.topic, delivered.partition, delivered.offset)


@dataclass(slots=True)
class Process:
    """A process of ours, and the signals a test sends it."""

    started: subprocess.Popen[bytes]

    def freeze(self) -> None:
        self.started.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.started.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.started.kill()
        self.started.wait(10)

    def end(self, timeout_s: float = 40.0) -> int:
        """SIGTERM; the exit code."""
        self.started.terminate()
        return self.started.wait(timeout_s)

    @property
    def is_frozen(self) -> bool:
        stat = Path(f"/proc/{self.started.pid}/stat").read_text(encoding="ascii")
        return stat.rsplit(")", 1)[1].split()[0] == "T"


def command(client: str, topic: str = WALLET_COMMAND, **fields: Any) -> Input:
    """A record of a command; `type` is spelled `type_`."""
    value = {name.rstrip("_"): given for name, given in fields.items()}
    return Input(topic, client.encode(), json.dumps(value).encode())


def text_headers(message: Message) -> dict[str, str]:
    """A record's headers as text, the last of a name."""
    headers = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
