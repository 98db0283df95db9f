"""What the broker says of the input topics: their ids, and where their logs begin and end."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # its constructors have no annotations

_TIMEOUT_S = 5.0


class TopicLog:
    """Asks the broker, with a client of its own. Every question raises KafkaException where the
    broker is away or takes more than 5 s.
    """

    def __init__(self, config: dict[str, str | int | float | bool]) -> None:
        self._config = dict(config)
        self._admin = AdminClient(self._config)
        self._asked: dict[str, Future[Any]] | None = None

    def ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The ids of those topics that exist; blocks."""
        return _answered(self._ask(topics))

    def watch(self, topics: Iterable[str]) -> dict[str, str] | None:
        """The ids as an earlier call asked for them, None while the answer is on its way; never
        blocks.

        A topic that is missing from the answer is gone.
        """
        if self._asked is None:
            self._asked = self._ask(topics)
            return None
        if not all(future.done() for future in self._asked.values()):
            return None
        asked, self._asked = self._asked, None
        return _answered(asked)

    def bounds(
        self, partitions: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int, int]]:
        """The first offset and the next one to be written, per partition; blocks."""
        low = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        high = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {key: (low[key], high[key]) for key in partitions}

    def renew(self) -> None:
        """Start over with a new client: one that asked for a topic too early remembers it."""
        self._admin = AdminClient(self._config)
        self._asked = None

    def _ask(self, topics: Iterable[str]) -> dict[str, Future[Any]]:
        names = TopicCollection(list(topics))
        asked: dict[str, Future[Any]] = self._admin.describe_topics(
            names, request_timeout=_TIMEOUT_S
        )
        return asked

    def _offsets(
        self, partitions: Sequence[tuple[str, int]], spec: OffsetSpec
    ) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        asked = self._admin.list_offsets(
            {TopicPartition(*key): spec for key in partitions}, request_timeout=_TIMEOUT_S
        )
        return {(p.topic, p.partition): future.result().offset for p, future in asked.items()}


def _answered(asked: dict[str, Future[Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for topic, future in asked.items():
        try:
            found[topic] = str(future.result().topic_id)
        except KafkaException as error:
            if not _is_unknown(error):
                raise
    return found


def _is_unknown(error: KafkaException) -> bool:
    return bool(error.args[0].name() in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"))
