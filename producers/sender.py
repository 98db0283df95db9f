"""The relay's transactional producer: one transaction at a time, a name for what can't pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ledger.outbox import PendingRow, event_ids
from ledger.parcel import OutboxRecord
from producers.failure import (
    NotReadyError,
    RelayStoppedError,
    Remedy,
    is_impassable,
    kafka_error,
    remedy,
)
from producers.progress import encode_progress, event_hash
from producers.record import Record, outbox_record, real_names
from schemas.moment import format_moment
from schemas.settings import Settings
from schemas.topic import INPUTS, WALLET_RELAY_PROGRESS, Topics

# One blocking call; a signal's handler runs between two of them.
_CALL_TIMEOUT_S = 2.0
# After so long of "again" another relay may have better luck with its own connections.
_AGAIN_MAX_S = 10.0
_AGAIN_PAUSE_S = 0.02
# A record's timestamp, in librdkafka's words.
_NOW = 0

_SETTINGS: dict[str, str | int | float | bool] = {
    "acks": "all",
    "enable.idempotence": True,
    "max.in.flight.requests.per.connection": 5,
    "partitioner": "murmur2_random",  # as the Java client does; librdkafka's own default is CRC-32
    "transaction.timeout.ms": 10_000,
    # One request a partition for what is handed over within this time: with 5, at an even 6,000/s,
    # 43 a transaction of 25 partitions, each of which goes through four threads of the broker. The
    # flush before a commit does not wait for it: a lone row is as quick as with 0.
    "linger.ms": 20,
    # A sixth of the bytes for the broker to check, to keep for 30 days and to hand out.
    "compression.type": "lz4",
    # With these a transaction begun right after the last does not wait 20 to 30 ms for it.
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 5,
    "message.max.bytes": 5 * 1024 * 1024 + 64 * 1024,  # the broker's limit decides, not ours
    "queue.buffering.max.messages": 100_000,  # a transaction has at most 80,001
    "queue.buffering.max.kbytes": 1_048_576,
    "allow.auto.create.topics": False,  # `wallet topics apply` makes them, with their settings
    "socket.nagle.disable": True,
    "log_level": 0,  # what matters comes as an exception, and is logged once for each change
}


class Sender:
    """What one owner of a part sends.

    Every method may raise KafkaException; `failure.remedy` says what helps. Dropping the object is
    enough to be rid of it: closing would wait for a broker that may be away, and what it left open
    is ended by the next owner's `fence_others`.
    """

    def __init__(self, settings: Settings, *, part: int) -> None:
        topics = Topics(settings.topic_prefix)
        self._part = part
        self._names = real_names(topics)
        self._producer = Producer(
            {
                **settings.kafka_client(),
                **_SETTINGS,
                "transactional.id": topics.transactional_id(part),
            }
        )

    def fence_others(self, stop: Event) -> bool:
        """End whatever an older owner left open, and keep it from writing; False if `stop` came."""
        _again(self._producer.init_transactions, stop)
        return not stop.is_set()

    def check_topics(self) -> None:
        """Raise NotReadyError unless every topic that is written to exists."""
        known = self._producer.list_topics(timeout=_CALL_TIMEOUT_S).topics
        needed = [real for name, real in self._names.items() if name not in INPUTS]
        missing = sorted(set(needed) - known.keys())
        if missing:
            raise NotReadyError(f"no topic {', '.join(missing)}: `wallet topics apply` makes them")
        progress = self._names[WALLET_RELAY_PROGRESS]
        if len(known[progress].partitions) <= self._part:
            raise NotReadyError(f"{progress} has no partition {self._part}, as its part needs")

    def send(self, rows: Sequence[PendingRow], further: Iterable[Record], *, singly: bool) -> None:
        """Begin a transaction and send the rows, the further records, then the progress record.

        It is left open. Success promises no delivery: what can't be delivered fails the commit,
        where it has no name. `singly` waits for each record, so that the one at fault can be
        named. Raises RelayStoppedError for one that can't pass; nothing of the transaction remains
        then.
        """
        self._producer.begin_transaction()
        self._send_rows(rows, singly=singly)
        produce = self._producer.produce
        for topic, value, key, partition, headers in further:
            produce(topic, value, key, partition, None, None, _NOW, headers)
        hashes = [event_hash(event_ids(row.records)) for row in rows]
        value = encode_progress([row.id for row in rows], hashes)
        produce(self._names[WALLET_RELAY_PROGRESS], value, str(self._part).encode(), self._part)

    def commit(self) -> None:
        """Commit: every read_committed reader sees the transaction from here on.

        A commit that timed out is tried again, never aborted: it may go through all the same.
        """
        _again(self._producer.commit_transaction)

    def abort(self) -> None:
        """Abort: nothing of the transaction is ever visible."""
        _again(self._producer.abort_transaction)

    def abort_in(self, places: Iterable[tuple[str, int]]) -> None:
        """Have an aborted transaction reach these partitions, by topic and number.

        Its end also ends there what older transactions of this part's have left open. Raises
        NotReadyError where a partition does not answer.
        """
        self._producer.begin_transaction()
        for topic, partition in places:
            self._producer.produce(topic, None, b"", partition)
        unsent = self._producer.flush(_AGAIN_MAX_S)
        self.abort()
        if unsent:
            raise NotReadyError(f"{unsent} partitions with open records do not answer")

    def _send_rows(self, rows: Sequence[PendingRow], *, singly: bool) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        # The hot loop: no callback for each record where they are not waited for, and arguments by
        # their places, which take an eighth less of the time than two of them by their names. The
        # callback comes first: its other name, `on_delivery`, is not looked at behind a None.
        on_delivery = delivered if singly else None
        names, produce = self._names, self._producer.produce
        for row_id, records, at in rows:
            moment = format_moment(at)
            for record in records:
                topic, value, key, partition, headers = outbox_record(record, moment, names)
                try:
                    produce(topic, value, key, partition, on_delivery, None, _NOW, headers)
                except KafkaException as error:
                    self._refuse(row_id, record, kafka_error(error))
                    raise
                if singly:
                    self._producer.flush(_AGAIN_MAX_S)
                    for failure in failures:
                        self._refuse(row_id, record, failure)

    def _refuse(self, row_id: int, record: OutboxRecord, error: KafkaError) -> None:
        """Raise RelayStoppedError if the record is at fault, with the transaction ended before."""
        if not is_impassable(error) or self._is_there_by_now(record, error):
            return
        self._producer.abort_transaction(_CALL_TIMEOUT_S)
        number = "" if record.partition is None else f", partition {record.partition}"
        raise RelayStoppedError(
            f"{record.event_id}, in row {row_id} of the outbox, can't be published to "
            f"{self._names[record.topic]}{number}: {error.str()}. "
            "It stays first in the outbox, and everything behind it waits."
        )

    def _is_there_by_now(self, record: OutboxRecord, error: KafkaError) -> bool:
        """Whether the record's partition was added since this producer has learnt of its topic: it
        would know in minutes, a new producer knows at once. Raises KafkaException.
        """
        partition = record.partition
        if partition is None or error.code() != KafkaError._UNKNOWN_PARTITION:
            return False
        real = self._names[record.topic]
        known = self._producer.list_topics(real, timeout=_CALL_TIMEOUT_S).topics
        return partition in known[real].partitions


def _again(call: Callable[[float], Any], stop: Event | None = None) -> None:
    """Call for as long as the same call again is what helps, but not for ever."""
    deadline = time.monotonic() + _AGAIN_MAX_S
    while stop is None or not stop.is_set():
        try:
            call(_CALL_TIMEOUT_S)
            return
        except KafkaException as error:
            if remedy(error) is not Remedy.AGAIN or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_PAUSE_S)
