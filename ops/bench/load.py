"""The load generator: credits, debits and transfers of made-up clients, at once or paced."""

import random
import time
from collections.abc import Iterator
from threading import Event
from typing import Any, NamedTuple

import orjson
from confluent_kafka import KafkaError, Message, Producer

from ops.bench.crew import tell
from schemas.settings import Settings

_FLUSH_TIMEOUT_S = 60.0
_TELL_EVERY = 5_000
_SPIN_S = 0.0005


class Command(NamedTuple):
    """A record to publish."""

    client_id: str
    command_id: str
    value: bytes


def run_load(settings: Settings, arguments: dict[str, Any], stop: Event) -> None:
    """Publish `count` commands to `topic`: all at once, or `rate_per_s` of them a second.

    Says {"count"} now and then, and at last {"done", "seconds", "cpu_s", "sent"}: when each
    command was about to be produced (monotonic clock), if paced, and how late the latest was.
    """
    load = Load(settings, arguments["topic"], paced="rate_per_s" in arguments)
    kind, clients, count = arguments["kind"], arguments["clients"], arguments["count"]
    made = seeds(clients) if kind == "seed" else mix(kind, clients, count)
    started, cpu = time.monotonic(), time.process_time()
    if "rate_per_s" in arguments:
        sent, late_s = load.pace(made, arguments["rate_per_s"], stop)
    else:
        sent, late_s = {}, 0.0
        load.publish_all(made, stop)
    load.flush()
    tell(
        {
            "done": True,
            "seconds": time.monotonic() - started,
            "cpu_s": time.process_time() - cpu,
            "sent": sent,
            "late_s_max": late_s,
        }
    )


def seeds(clients: int) -> Iterator[Command]:
    """A first credit for each client, which makes it."""
    for i in range(clients):
        yield _command(f"client-{i}", f"seed-{i}", {"type": "credit", "amount": "1000.00"})


def mix(kind: str, clients: int, count: int) -> Iterator[Command]:
    """Two credits and two debits for each transfer; `kind` begins every command's id.

    The same for the same arguments, however often it is made.
    """
    rng = random.Random(kind)
    for i in range(count):
        client = rng.randrange(clients)
        fields = {"type": "credit", "amount": f"{rng.randrange(1, 500) / 100:.2f}"}
        share = rng.random()
        if share >= 0.8 and clients > 1:
            to = (client + rng.randrange(1, clients)) % clients
            fields |= {"type": "transfer", "to_client_id": f"client-{to}"}
        elif share >= 0.4:
            fields["type"] = "debit"
        yield _command(f"client-{client}", f"{kind}-{i:09d}", fields)


def _command(client_id: str, command_id: str, fields: dict[str, str]) -> Command:
    return Command(client_id, command_id, orjson.dumps({"command_id": command_id, **fields}))


class Load:
    """A producer as upstream services have it: acknowledged by all, partitioned with murmur2."""

    def __init__(self, settings: Settings, topic: str, *, paced: bool) -> None:
        self._topic = topic
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                **settings.kafka_client(),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 0 if paced else 20,
                "queue.buffering.max.messages": 200_000,
                "allow.auto.create.topics": False,
            }
        )

    def publish_all(self, commands: Iterator[Command], stop: Event) -> None:
        """Publish as quickly as the brokers take it."""
        for i, command in enumerate(commands):
            if i % _TELL_EVERY == 0:
                tell({"count": i})
                if stop.is_set():
                    return
            self._produce(command)

    def pace(
        self, commands: Iterator[Command], rate_per_s: float, stop: Event
    ) -> tuple[dict[str, float], float]:
        """Publish one command each 1 / `rate_per_s`, by a fixed timetable.

        When each was about to be produced, and by how much the latest missed its time.
        """
        sent: dict[str, float] = {}
        late_s = 0.0
        start = time.monotonic()
        for i, command in enumerate(commands):
            due = start + i / rate_per_s
            while (left := due - time.monotonic()) > _SPIN_S:
                self._producer.poll(left)
            if stop.is_set():
                break
            sent[command.command_id] = now = time.monotonic()
            late_s = max(late_s, now - due)
            self._produce(command)
            if i % int(rate_per_s) == 0:
                tell({"count": i})
        return sent, late_s

    def flush(self) -> None:
        """Wait until the brokers have all. Raises RuntimeError if they do not take it."""
        left = self._producer.flush(_FLUSH_TIMEOUT_S)
        if left or self._failure is not None:
            why = "timed out" if self._failure is None else self._failure.str()
            raise RuntimeError(f"{left} commands could not be published: {why}")

    def _produce(self, command: Command) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, command.value, command.client_id, on_delivery=self._delivered
                )
            except BufferError:  # the queue is full: reports make room
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = error
