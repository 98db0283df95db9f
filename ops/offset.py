"""Where the workers stand in their input topics: Postgres's positions beside the broker's logs."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from psycopg import Connection

from consumers.topic_log import TopicLog
from ledger.reset import StoredPosition, stored_positions
from ops import topic
from ops.readiness import MissingError
from ops.reading import Reader
from schemas.settings import Settings
from schemas.topic import Topics

Key = tuple[str, int]

# The markers of upstream transactions are offsets, too. So many offsets at a log's end are looked
# through for records; more of them are worth showing whatever they are.
_MARKERS_MAX = 100
# A new broker's answers while it makes the topic that groups are kept in.
_NOT_YET: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


class PartitionState(NamedTuple):
    """One input partition. `low` and `high` are its first offset and the next to be written.

    `position` is None where no worker ever took it, `kafka_offset` (the group's copy for Kafka's
    own tools) where none was committed. With `is_at_end` no record lies behind the position,
    whatever the offsets say.
    """

    topic: str
    partition: int
    topic_id: str
    low: int
    high: int
    position: StoredPosition | None
    kafka_offset: int | None
    is_at_end: bool = False

    @property
    def next_offset(self) -> int:
        """Where a worker reads on, or would begin."""
        return self.low if self.position is None else self.position.next_offset

    @property
    def lag(self) -> int:
        """Offsets from the position to the end of the log; none of them in a topic made anew."""
        if self.is_made_anew:
            return self.high - self.low
        if self.is_at_end:
            return 0
        return max(0, self.high - self.next_offset)

    @property
    def is_made_anew(self) -> bool:
        """Whether the position was kept for another topic of this name."""
        return self.position is not None and self.position.topic_id != self.topic_id

    @property
    def trouble(self) -> str | None:
        """Why no worker reads here until `wallet offsets reset` has decided; None: all is well."""
        if self.is_made_anew:
            return "the topic was made anew"
        if not self.low <= self.next_offset <= self.high:
            return f"outside the log ({self.low} to {self.high})"
        return None


def partition_states(settings: Settings, connection: Connection) -> list[PartitionState]:
    """All partitions of both input topics, sorted. Blocks for up to 20 s.

    Raises MissingError where a topic is missing, KafkaException, psycopg.Error.
    """
    client = topic.admin_client(settings)
    names = Topics(settings.topic_prefix)
    counts = topic.partition_counts(client)
    missing = [name for name in names.inputs if name not in counts]
    if missing:
        raise MissingError(f"topics are missing ({', '.join(missing)}): run `wallet topics apply`")
    keys = [(name, partition) for name in names.inputs for partition in range(counts[name])]
    ids = TopicLog({**settings.kafka_client(), "log_level": 0}).ids(names.inputs)
    committed = committed_offsets(settings, keys)
    with Reader(settings) as reader:
        low, high = reader.bounds(names.inputs)
        stored = stored_positions(connection)
        states = [
            PartitionState(
                *key, ids[key[0]], low[key], high[key], stored.get(key), committed.get(key)
            )
            for key in keys
        ]
        near = {
            (s.topic, s.partition): s.next_offset
            for s in states
            if s.trouble is None and 0 < s.lag <= _MARKERS_MAX
        }
        at_end = reader.without_records(near, high)
    return [s._replace(is_at_end=(s.topic, s.partition) in at_end) for s in states]


def committed_offsets(settings: Settings, keys: Sequence[Key]) -> dict[Key, int]:
    """The group's offsets on the broker, where there are any. Raises KafkaException.

    By a consumer that never joins the group: asked by an AdminClient, librdkafka ends the process
    with SIGSEGV while the group's coordinator loads, as it does when a broker is first used.
    """
    consumer = Consumer(
        {
            **settings.kafka_client(),
            "group.id": Topics(settings.topic_prefix).group_id,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        found = _committed(consumer, [TopicPartition(*key) for key in keys])
    finally:
        consumer.close()
    return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}


def _committed(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    deadline_s = time.monotonic() + topic.ASK_TIMEOUT_S
    while True:
        try:
            return consumer.committed(partitions, topic.ASK_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline_s:
                raise
        time.sleep(0.1)


def group_state(client: AdminClient, group_id: str) -> str | None:
    """The group's state, such as STABLE or EMPTY; None where there is no such group.

    Listed, not described: the description of a KIP-848 group is another request. Raises
    KafkaException.
    """
    found = client.list_consumer_groups(request_timeout=topic.ASK_TIMEOUT_S).result()
    if found.errors:
        raise found.errors[0]
    states = [group.state.name for group in found.valid if group.group_id == group_id]
    return states[0] if states else None


def copy_to_kafka(client: AdminClient, group_id: str, offsets: Sequence[tuple[Key, int]]) -> None:
    """Give the group, which must be empty, these offsets. Raises KafkaException."""
    partitions = [TopicPartition(*key, offset) for key, offset in offsets]
    asked = client.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group_id, partitions)], request_timeout=topic.ASK_TIMEOUT_S
    )
    for future in asked.values():
        for partition in future.result().topic_partitions:
            if partition.error is not None:
                raise KafkaException(partition.error)
