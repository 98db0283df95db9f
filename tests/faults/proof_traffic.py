"""The traffic of a proof: an upstream service that sends all the time, and a reader of answers."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from producers.publisher import Input
from tests.faults.checker_evidence import DEAD_LETTERS, RESULTS
from tests.faults.checker_load import Load

Partition = tuple[str, int]
_CLIENT = {
    "partitioner": "murmur2_random",
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    # How soon a partition that was added is known.
    "topic.metadata.refresh.interval.ms": 2_000,
    "log_level": 0,
}
_TICK_S = 0.02
_LOOK_S = 0.05


@dataclass(slots=True)
class Upstream:
    """Sends commands at a rate, come what may; a record is counted once Kafka has confirmed it."""

    bootstrap_servers: str
    load: Load
    sent: int = 0
    delivered: dict[Partition, int] = field(default_factory=dict)
    confirmed: int = 0
    failure: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        config: dict[str, Any] = _CLIENT | {
            "bootstrap.servers": self.bootstrap_servers,
            "enable.idempotence": True,
            "message.timeout.ms": 0,
            "linger.ms": 2,
        }
        self._producer = Producer(config)

    def open(self, timeout_s: float = 60.0) -> None:
        """Send what comes first, and wait until it is confirmed."""
        self._send(self.load.opening())
        self._producer.flush(timeout_s)

    def send(self, count: int) -> None:
        """Send so many, and take note of what is confirmed. Not once it was started."""
        self._send(self._more(max(0, count)))
        self._producer.poll(0)

    def start(self, rate_per_s: float) -> None:
        """Send at this rate from now on."""
        self._thread = threading.Thread(
            target=self._run, args=(rate_per_s,), name="upstream", daemon=True
        )
        self._thread.start()

    def end(self, timeout_s: float = 60.0) -> None:
        """Send no more, and wait until all is confirmed. Raises TimeoutError where it is not."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._producer.flush(timeout_s):
            raise TimeoutError(f"Kafka has confirmed {self.confirmed} of {self.sent} records")

    def send_in_transaction(self, count: int, *, abandon: bool) -> None:
        """Send records in a transaction, and abort it; or leave it open for Kafka to abort."""
        config: dict[str, Any] = _CLIENT | {
            "bootstrap.servers": self.bootstrap_servers,
            "transactional.id": f"upstream-{self.sent}",
            "transaction.timeout.ms": 3_000,
        }
        producer = Producer(config)
        producer.init_transactions(20)
        producer.begin_transaction()
        for record in self._more(count):
            producer.produce(record.topic, record.value, record.key)
        producer.flush(10)
        if not abandon:
            producer.abort_transaction(10)

    def _run(self, rate_per_s: float) -> None:
        opened, began_s = self.sent, time.monotonic()
        while not self._stop.is_set():
            due = int(rate_per_s * (time.monotonic() - began_s)) + opened - self.sent
            self.send(min(due, 2_000))
            self._stop.wait(_TICK_S)

    def _more(self, count: int) -> list[Input]:
        with self._lock:
            return self.load.more(count)

    def _send(self, records: list[Input]) -> None:
        for record in records:
            while True:
                try:
                    self._producer.produce(
                        record.topic, record.value, record.key, on_delivery=self._delivered
                    )
                except BufferError:  # Kafka has been away for long
                    self._producer.poll(0.1)
                else:
                    break
        self.sent += len(records)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failure = f"Kafka did not take an input record: {error}"
            return
        place = cast(str, message.topic()), cast(int, message.partition())
        self.delivered[place] = max(self.delivered.get(place, -1), cast(int, message.offset()))
        self.confirmed += 1


@dataclass(slots=True)
class Downstream:
    """Reads every answer as it comes. `answered` is the last offset answered in each partition."""

    bootstrap_servers: str
    answered: dict[Partition, int] = field(default_factory=dict)
    times: dict[Partition, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    count: int = 0
    # When the newest answer was read, and the newest end of an order.
    last_at_s: float = 0.0
    last_end_at_s: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    out_of_order: int = 0
    _last: dict[tuple[str, bytes | None, Partition], int] = field(default_factory=dict)
    _added: deque[TopicPartition] = field(default_factory=deque)
    _ready: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="downstream", daemon=True)
        self._thread.start()
        if not self._ready.wait(30):
            raise TimeoutError("the results can't be read")

    def watch(self, topic: str, partition: int) -> None:
        """Read a partition that was added, too."""
        self._added.append(TopicPartition(topic, partition, 0))

    def await_count(self, count: int, timeout_s: float) -> bool:
        """Wait until so many answers were read; whether they were."""
        deadline = time.monotonic() + timeout_s
        while self.count < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)  # the reading thread counts on
        return True

    def end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        config: dict[str, Any] = _CLIENT | {
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": "proof",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 20,
        }
        config.pop("partitioner")
        reader = Consumer(config)
        known = reader.list_topics(timeout=20).topics
        reader.incremental_assign([
            TopicPartition(topic, partition, 0)
            for topic in (*RESULTS, *DEAD_LETTERS)
            for partition in known[topic].partitions
        ])  # fmt: skip
        self._ready.set()
        while not self._stop.is_set():
            while self._added:
                reader.incremental_assign([self._added.popleft()])
            for message in reader.consume(2_000, 0.05):
                if message.error() is None:
                    self._take(message)
        reader.close()

    def _take(self, message: Message) -> None:
        self.last_at_s = time.monotonic()
        topic = cast(str, message.topic())
        self.kinds[topic] += 1
        if topic in DEAD_LETTERS:
            headers = dict(cast(list[tuple[str, bytes]], message.headers() or []))
            place = (
                headers["kafka_dlt-original-topic"].decode(),
                int(headers["kafka_dlt-original-partition"]),
            )
            offset = int(headers["kafka_dlt-original-offset"])
        else:
            source = json.loads(message.value() or b"")["source"]
            if source is None:
                if topic == "order-result":
                    self.last_end_at_s = self.last_at_s
                return
            place, offset = (source["topic"], source["partition"]), source["offset"]
        self.count += 1
        stream = topic, message.key(), place
        self.out_of_order += self._last.get(stream, -1) >= offset
        self._last[stream] = offset
        self.answered[place] = max(self.answered.get(place, -1), offset)
        times = self.times[place]
        if len(times) <= offset:
            times.extend(bytes(offset + 1 - len(times)))
        times[offset] = min(255, times[offset] + 1)
