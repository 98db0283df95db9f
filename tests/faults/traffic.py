"""Steady commands from upstream and the moments of their answers: what a fault test measures by."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from ledger.database import connect
from ledger.verification import verify
from schemas.topic import WALLET_COMMAND, WALLET_RESULT
from tests.faults.checker import judge
from tests.faults.checker_evidence import System, gather
from tests.producers.world import PARTITIONS, eventually
from tests.scene import Scene

_CLIENTS = 20
_INTERVAL_S = 0.01
RECOVERY_S_MAX = 15.0

_Key = tuple[int, int]


class Traffic:
    """Credits of 0.01 for clients in turn, a hundred a second, from entering to leaving; and a
    reader of results, who notes when each record is answered. Neither goes through a proxy.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        client = {**scene.settings.kafka_client(), "log_level": 0}
        client |= {"reconnect.backoff.max.ms": 500}
        self._producer = Producer(
            {
                **client,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.timeout.ms": 0,
            }
        )
        self._reader = Consumer(
            {
                **client,
                "group.id": f"{scene.env.topic_prefix}traffic",
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        self.sent_count = 0
        self.lost: list[str] = []
        self._sent_at: dict[_Key, float] = {}
        self._answered: dict[_Key, float] = {}
        self._stop, self._all_read = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"traffic-{run.__name__}")
            for run in (self._send, self._read)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.back("start", time.monotonic(), timeout_s=60)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        self._threads[0].join(60)
        try:
            if kind is None:
                eventually(lambda: len(self._answered) >= self.sent_count)
                time.sleep(0.5)  # for what might come twice
        finally:
            self._all_read.set()
            self._threads[1].join(60)

    def back(self, fault: str, since: float, *, timeout_s: float = RECOVERY_S_MAX) -> float:
        """Wait until a record sent after `since`, by the monotonic clock, is answered; fails past
        the time that a recovery may take. Returns and prints the seconds.
        """

        def answered() -> list[float]:
            return [
                answered_at
                for key, answered_at in list(self._answered.items())
                if self._sent_at.get(key, 0.0) >= since
            ]

        eventually(answered, max(0.0, timeout_s - (time.monotonic() - since)))
        took = min(answered()) - since
        print(f"recovery\t{fault}\t{took:.1f} s")  # noqa: T201 - a figure of the proof
        return took

    def check(self, *, others: int = 0, fulfilled: dict[str, str] | None = None) -> None:
        """After the end: every record came to its topic; checker and books find nothing.

        `others` counts the records that somebody else has sent; `fulfilled` is what the service
        says of orders.
        """
        assert not self.lost, self.lost[:3]
        env = self._scene.env
        system = System(env.kafka_bootstrap_servers, env.topic_prefix, env.database_url)
        evidence = gather(system)
        evidence.fulfilled = fulfilled
        verdict = judge(evidence)
        assert verdict.breaches == [], str(verdict)
        assert verdict.inputs == self.sent_count + others
        with connect(env.database_url, application_name="test", long_queries=True) as session:
            assert [check for check in verify(session) if not check.holds] == []

    def _send(self) -> None:
        topic = self._scene.topics.real(WALLET_COMMAND)
        while not self._stop.wait(_INTERVAL_S):
            number, self.sent_count = self.sent_count, self.sent_count + 1
            value = {"command_id": f"t-{number}", "type": "credit", "amount": "0.01"}
            key = f"client-{number % _CLIENTS}"
            self._producer.produce(
                topic, json.dumps(value), key, on_delivery=_noting(self, time.monotonic())
            )
            self._producer.poll(0)
        while self._producer.flush(1):
            pass

    def noted(self, sent_at: float, error: KafkaError | None, message: Message) -> None:
        """A record was delivered, or never will be."""
        if error is not None:
            self.lost.append(str(error))
        else:
            key = cast(int, message.partition()), cast(int, message.offset())
            self._sent_at[key] = sent_at

    def _read(self) -> None:
        topic = self._scene.topics.real(WALLET_RESULT)
        self._reader.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
        while not self._all_read.is_set():
            for message in self._reader.consume(500, 0.05):
                self._note_answer(message, time.monotonic())
        self._reader.close()

    def _note_answer(self, message: Message, now: float) -> None:
        error = message.error()
        if error is not None:
            if error.fatal():
                raise KafkaException(error)
            return
        source = json.loads(message.value() or b"")["source"]
        if source is None:
            return  # it tells of a later change, and answers nothing
        key: _Key = source["partition"], source["offset"]
        self._answered.setdefault(key, now)


def _noting(traffic: Traffic, sent_at: float) -> Any:
    return lambda error, message: traffic.noted(sent_at, error, message)
