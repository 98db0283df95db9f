"""The partitions that are ours: assigned by the group, claimed in Postgres, lost by either."""

import random
import time
from collections.abc import Callable, Iterable, Sequence

import psycopg
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumers.topic_log import TopicLog
from ledger import position
from ledger.position import Claim, Position

Key = tuple[str, int]

_log = structlog.get_logger(__name__)

# Takings without a commit between, from which on a partition's records are tried one by one.
TAKINGS_MAX = 3
_TOPIC_CHECK_S = 5.0
_KAFKA_COMMIT_S = 1.0
_RETRY_S = 1.0


class Assignment:
    """Keeps `positions`, the claimed partitions; only their records may be applied.

    A partition is fetched from once it has been claimed: the group's assignment alone gives no
    right to write. The callbacks that `subscribe` registers run inside the consumer's poll and
    never raise: after an exception there, the partitions would run from Kafka's offsets.
    """

    def __init__(
        self,
        consumer: Consumer,
        log: TopicLog,
        connect: Callable[[], psycopg.Connection],
        *,
        singly_count: int,
    ) -> None:
        self._consumer = consumer
        # As many records as the largest batch: the one that kills the process is among them.
        self._singly_count = singly_count
        self._topic_log = log
        self._connect = connect
        self.positions: dict[Key, Position] = {}
        self.stopped_topics: dict[str, str] = {}
        # Partitions to try one record at a time, and for how many records still.
        self.singly: dict[Key, int] = {}
        self.fenced_count = 0
        self._found_fenced: set[Key] = set()  # and counted, until they are ours again or given up
        # Whether the group has given us partitions, or said that there are none for us.
        self.is_assigned = False
        # Offsets between each claimed position and its log's end, a second old at most.
        self.lags: dict[Key, int] = {}
        self._due: dict[Key, float] = {}  # assigned, not claimed: when to try
        self._fetched: set[Key] = set()
        self._topic_ids: dict[str, str] = {}
        self._committed: dict[Key, int] = {}
        self._next_topic_check = 0.0
        self._next_kafka_commit = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether every partition that the group gave us is claimed (none waits for Postgres)."""
        return not self._due

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group. Raises KafkaException."""
        self._topic_names = tuple(topics)
        self._consumer.subscribe(
            list(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def tend(self) -> None:
        """Between batches: claim what is due, watch the topics' ids, tell Kafka the offsets."""
        now = time.monotonic()
        if any(due <= now for due in self._due.values()):
            self._claim_due(now)
        if now >= self._next_topic_check:
            self._check_topics(now)
        if now >= self._next_kafka_commit:
            self._next_kafka_commit = now + _KAFKA_COMMIT_S
            self.tell_kafka(asynchronous=True)
            self.lags = self._measured_lags()

    def forget_fenced(self) -> list[Key]:
        """After a fenced commit: find which positions are another's, forget them, and look again
        in 1 to 2 s, when the group's own word may have come. Raises psycopg.Error.
        """
        stored = position.read(self._connect())
        lost = []
        for key, ours in list(self.positions.items()):
            offset, epoch = stored.get(key, (0, 0))
            if epoch == ours.epoch:
                # Under our own epoch nobody else writes: where it is ahead, a commit went through
                # whose confirmation was lost with the connection.
                ours.next_offset = offset
                continue
            lost.append(key)
            del self.positions[key]
            self._due[key] = time.monotonic() + random.uniform(1.0, 2.0)
        if not lost:
            return lost
        self.fenced_count += len(lost)
        self._found_fenced.update(lost)
        self._pause(lost)
        return lost

    def count_dropped(self, keys: set[Key]) -> None:
        """Count partitions of which records in hand were dropped: those whose loss the group told
        before a commit could find it.
        """
        self.fenced_count += len(keys - self._found_fenced)

    def tell_kafka(self, *, asynchronous: bool) -> None:
        """Commit the positions to the group, for the lag tools; Postgres has the truth."""
        moved = {
            key: p.next_offset
            for key, p in self.positions.items()
            if self._committed.get(key) != p.next_offset
        }
        if not moved:
            return
        offsets = [TopicPartition(*key, offset) for key, offset in moved.items()]
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:  # normal during a rebalance; the next commit repairs it
            _log.debug("kafka offsets not committed", error=str(error))
        else:
            self._committed.update(moved)

    def _measured_lags(self) -> dict[Key, int]:
        """As far as fetches have told the logs' ends; 4 µs each here, in the thread that polls. Any
        other thread would wait for the polls to end.
        """
        lags = {}
        for key, ours in self.positions.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*key), cached=True)
            if high >= 0:
                lags[key] = max(0, high - ours.next_offset)
        return lags

    def seek_to_positions(self) -> None:
        """Have the consumer read on where the positions stand, after it raised."""
        for key, ours in self.positions.items():
            if key in self._fetched:
                self._consumer.seek(TopicPartition(*key, ours.next_offset))

    def release(self) -> None:
        """A clean end: give the partitions back. Raises psycopg.Error."""
        self.tell_kafka(asynchronous=False)
        position.release(self._connect(), self.positions.values())
        self.positions.clear()

    def pause_all(self) -> None:
        """Fetch nothing, so that polling keeps our place in the group and gives no records."""
        self._pause(self._fetched)

    def resume_all(self) -> None:
        """Fetch again from what is claimed."""
        self._consumer.resume(
            [TopicPartition(*key) for key in self.positions if key in self._fetched]
        )

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        now = time.monotonic()
        self.is_assigned = True
        self._due.update({(p.topic, p.partition): now for p in partitions})
        # Even with nothing: else the binding assigns the list by itself, from Kafka's offsets.
        self._consumer.incremental_assign([])
        self._claim_due(now)
        _log.info(
            "partitions assigned", partitions=_named((p.topic, p.partition) for p in partitions)
        )

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        keys = [(p.topic, p.partition) for p in partitions]
        self.tell_kafka(asynchronous=True)
        self._give_back(keys)
        self._drop(keys)
        _log.info("partitions revoked", partitions=_named(keys))

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        keys = [(p.topic, p.partition) for p in partitions]
        self.is_assigned = False
        self._give_back(keys)
        self._drop(keys)
        _log.warning("partitions lost to the group", partitions=_named(keys))

    def _give_back(self, keys: Iterable[Key]) -> None:
        """Say that this taking did not end in a crash; what another has taken is left alone."""
        mine = [self.positions[key] for key in keys if key in self.positions]
        try:
            position.release(self._connect(), mine)
        except psycopg.Error as error:  # it only counts as one more taking
            _log.warning("partitions not given back", error=str(error).strip())

    def _drop(self, keys: Iterable[Key]) -> None:
        """Forget partitions. The consumer must be told even of an empty list, see `_on_assign`."""
        dropped = list(keys)
        for key in dropped:
            self.positions.pop(key, None)
            self.singly.pop(key, None)
            self._due.pop(key, None)
            self._committed.pop(key, None)
        self._found_fenced.difference_update(dropped)
        fetched = [key for key in dropped if key in self._fetched]
        self._fetched.difference_update(fetched)
        self._consumer.incremental_unassign([TopicPartition(*key) for key in fetched])

    def _claim_due(self, now: float) -> None:
        keys = [
            key
            for key, due in self._due.items()
            if due <= now and key[0] not in self.stopped_topics
        ]
        if not keys:
            return
        try:
            self._claim(keys)
        except (psycopg.Error, KafkaException) as error:
            self._topic_log.renew()
            _log.warning(
                "partitions not claimed yet", partitions=_named(keys), error=str(error).strip()
            )
            self._due.update(dict.fromkeys(keys, now + _RETRY_S * random.uniform(0.5, 1.5)))

    def _claim(self, keys: list[Key]) -> None:
        ids = self._topic_log.ids({topic for topic, _ in keys})
        existing = [key for key in keys if key[0] in ids]
        bounds = self._topic_log.bounds(existing)
        claims = [Claim(*key, ids[key[0]], bounds[key][0]) for key in existing]
        claimed = position.claim(self._connect(), claims)
        positions = {(p.topic, p.partition): p for p in claimed}
        suspects = []
        for key in keys:
            ours = positions.get(key)
            trouble = _trouble(key, ours, bounds.get(key))
            if trouble is not None or ours is None:
                self.stop_topic(key[0], str(trouble))
                continue
            self._take(key, ours, ids[key[0]])
            # Where nothing waits, nothing can have killed the process.
            if ours.takings >= TAKINGS_MAX and ours.next_offset < bounds[key][1]:
                self.singly[key] = self._singly_count
                suspects.append(key)
        if suspects:
            _log.warning(
                "taken repeatedly without a commit: their records go one by one",
                partitions=_named(suspects),
            )

    def _take(self, key: Key, ours: Position, topic_id: str) -> None:
        self.positions[key] = ours
        self._topic_ids[key[0]] = topic_id
        self._due.pop(key, None)
        self._found_fenced.discard(key)
        start = TopicPartition(*key, ours.next_offset)
        if key in self._fetched:
            self._consumer.seek(start)
        else:
            self._consumer.incremental_assign([start])
            self._fetched.add(key)
        # Also where it was lost meanwhile: a pause outlives the assignment that it was made in.
        self._consumer.resume([TopicPartition(*key)])

    def _check_topics(self, now: float) -> None:
        """See whether a topic was made anew: that gives no error, reading just goes on."""
        try:
            ids = self._topic_log.watch(self._topic_names)
        except KafkaException as error:
            _log.debug("topics not checked", error=str(error))
            self._next_topic_check = now + _TOPIC_CHECK_S
            return
        if ids is None:
            return
        self._next_topic_check = now + _TOPIC_CHECK_S
        for topic, known in list(self._topic_ids.items()):
            if ids.get(topic) != known:
                self.stop_topic(topic, f"{topic} was deleted or made anew under its position")

    def stop_topic(self, topic: str, trouble: str) -> None:
        """Read nothing more of a topic whose log and position don't fit: a person has to decide."""
        if topic in self.stopped_topics:
            return
        self.stopped_topics[topic] = trouble
        keys = [key for key in self.positions if key[0] == topic]
        self._pause(key for key in self._fetched if key[0] == topic)
        for key in keys:
            del self.positions[key]
        _log.error(
            "topic stopped: nothing of it is read until `wallet offsets reset` has decided and the "
            "worker was started again",
            topic=topic,
            trouble=trouble,
        )

    def _pause(self, keys: Iterable[Key]) -> None:
        self._consumer.pause([TopicPartition(*key) for key in keys if key in self._fetched])


def _trouble(key: Key, ours: Position | None, bounds: tuple[int, int] | None) -> str | None:
    topic, partition = key
    if bounds is None:
        return f"{topic} does not exist"
    if ours is None:
        return f"{topic} was made anew: its id is not the one its position was kept for"
    low, high = bounds
    if not low <= ours.next_offset <= high:
        where = f"{topic}/{partition}"
        return f"the position of {where} is {ours.next_offset}, outside the log ({low} to {high})"
    return None


def _named(keys: Iterable[Key]) -> list[str]:
    """One text a topic for the log: `wallet-command 0 1 2`."""
    partitions: dict[str, list[str]] = {}
    for topic, partition in sorted(keys):
        partitions.setdefault(topic, []).append(str(partition))
    return [f"{topic} {' '.join(numbers)}" for topic, numbers in partitions.items()]
