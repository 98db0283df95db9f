"""The topics on the broker: what is there, what differs from what should be, and mending it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from schemas.settings import Settings
from schemas.topic import WALLET_RELAY_PROGRESS, Topics, TopicSpec

ASK_TIMEOUT_S = 5.0
# One that has just answered is there: making 85 partitions took a busy one 13 s.
_CHANGE_TIMEOUT_S = 60.0
_VISIBLE_TIMEOUT_S = 30.0
_POLL_S = 0.1


class PartitionCountError(Exception):
    """A topic has another number of partitions than the settings say; the text says what to do."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it should be and as it is; `partition_count` is None where it is missing.

    `config` holds the broker's values of the configs that the spec names.
    """

    spec: TopicSpec
    partition_count: int | None
    config: dict[str, str]

    @property
    def is_missing(self) -> bool:
        """Whether the broker has no such topic."""
        return self.partition_count is None

    @property
    def wrong_config(self) -> dict[str, str]:
        """The configs to change, with the values they should have."""
        if self.is_missing:
            return {}
        wanted = self.spec.config.items()
        return {name: value for name, value in wanted if self.config.get(name) != value}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about a topic that is not as it should be; `have` is None where it is missing."""

    topic: str
    what: str
    have: str | None
    want: str


def admin_client(settings: Settings) -> AdminClient:
    """An administrator of the settings' brokers, silent about connections that fail."""
    return AdminClient({**settings.kafka_client(), "log_level": 0})


def specs(settings: Settings) -> tuple[TopicSpec, ...]:
    """All topics as the settings want them."""
    return Topics(settings.topic_prefix).specs(settings.partitions, settings.relay_part_count)


def states(client: AdminClient, wanted: Iterable[TopicSpec]) -> list[TopicState]:
    """How each topic is. Blocks up to 10 s; raises KafkaException where the broker is away."""
    counts = partition_counts(client)
    wanted = list(wanted)
    there = [spec.name for spec in wanted if spec.name in counts]
    configs = _configs(client, there)
    return [
        TopicState(spec, counts.get(spec.name), _named_in(spec, configs.get(spec.name, {})))
        for spec in wanted
    ]


def partition_counts(client: AdminClient, timeout_s: float = ASK_TIMEOUT_S) -> dict[str, int]:
    """The number of partitions of every topic on the broker. Raises KafkaException."""
    found = client.list_topics(timeout=timeout_s).topics
    return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}


def differences(found: Iterable[TopicState]) -> Iterator[Difference]:
    """What `apply` would change or refuse to change, topic by topic."""
    for state in found:
        spec = state.spec
        if state.is_missing:
            yield Difference(spec.name, "topic", None, f"{spec.partition_count} partitions")
            continue
        if state.partition_count != spec.partition_count:
            have = str(state.partition_count)
            yield Difference(spec.name, "partitions", have, str(spec.partition_count))
        for name, value in state.wrong_config.items():
            yield Difference(spec.name, name, state.config.get(name), value)


def check_partition_counts(found: Iterable[TopicState]) -> None:
    """Raises PartitionCountError where a topic has another number than its spec."""
    progress: list[str] = []
    keyed: dict[int, list[str]] = {}
    wanted = 0
    for state in found:
        have, wanted_here = state.partition_count, state.spec.partition_count
        if have is None or have == wanted_here:
            continue
        if state.spec.name.endswith(WALLET_RELAY_PROGRESS):
            progress.append(_progress_sentence(state.spec.name, have, wanted_here))
        else:
            wanted = wanted_here
            keyed.setdefault(have, []).append(state.spec.name)
    sentences = [_keyed_sentence(names, have, wanted) for have, names in keyed.items()] + progress
    if sentences:
        raise PartitionCountError("\n".join(sentences))


def apply(client: AdminClient, settings: Settings) -> list[Difference]:
    """Make the missing topics, mend configs that differ, and return what was changed.

    May run again at any time, and by two at once. Raises PartitionCountError, before anything is
    changed, where a number of partitions differs; KafkaException.
    """
    wanted = specs(settings)
    before = states(client, wanted)
    check_partition_counts(before)
    changed = list(differences(before))
    missing = [state.spec for state in before if state.is_missing]
    if missing:
        _create(client, missing, settings.replication_factor)
        # Another `apply` may have made them otherwise in the meantime.
        check_partition_counts(_until(client, wanted, lambda state: not state.is_missing))
    wrong = [state for state in states(client, wanted) if state.wrong_config]
    if wrong:
        _mend(client, wrong)
        _until(client, wanted, lambda state: not state.wrong_config)
    return changed


def _create(client: AdminClient, missing: Sequence[TopicSpec], replication_factor: int) -> None:
    new = [
        NewTopic(
            spec.name,
            num_partitions=spec.partition_count,
            replication_factor=replication_factor,
            config=spec.config,
        )
        for spec in missing
    ]
    for future in client.create_topics(new, request_timeout=_CHANGE_TIMEOUT_S).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _until(
    client: AdminClient, wanted: Sequence[TopicSpec], seen: Callable[[TopicState], bool]
) -> list[TopicState]:
    """Wait until the change is seen in every topic: brokers learn of it a moment later."""
    deadline = time.monotonic() + _VISIBLE_TIMEOUT_S
    while True:
        found = states(client, wanted)
        if all(map(seen, found)) or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_S)


def _mend(client: AdminClient, wrong: Sequence[TopicState]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            state.spec.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in state.wrong_config.items()
            ],
        )
        for state in wrong
    ]
    asked = client.incremental_alter_configs(resources, request_timeout=_CHANGE_TIMEOUT_S)
    for future in asked.values():
        future.result()


def _configs(client: AdminClient, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    asked = cast(
        dict[ConfigResource, Future[dict[str, Any]]],
        client.describe_configs(resources, request_timeout=ASK_TIMEOUT_S),
    )
    return {resource.name: future.result() for resource, future in asked.items()}


def _named_in(spec: TopicSpec, entries: dict[str, Any]) -> dict[str, str]:
    return {name: entries[name].value for name in spec.config if name in entries}


def _keyed_sentence(names: Sequence[str], have: int, want: int) -> str:
    return (
        f"{', '.join(names)}: {have} partitions, and WALLET_PARTITIONS is {want}. A number of "
        "partitions is never changed, since clients would move to other ones: set "
        f"WALLET_PARTITIONS={have}"
    )


def _progress_sentence(name: str, have: int, want: int) -> str:
    return (
        f"{name}: {have} partitions, and WALLET_RELAY_PART_COUNT is {want}. Set it to {have}, or "
        "stop every relay once the outbox is empty, delete this topic and run `wallet topics apply`"
    )
