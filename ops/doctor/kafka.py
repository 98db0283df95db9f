"""Kafka's side: topics, partitioner, rights, settings, and what hangs open."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import (
    IsolationLevel,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported without saying so
    AclOperation,
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.admin._listoffsets import OffsetSpec  # its constructors have no annotations

from ops import topic
from ops.doctor.finding import Finding, error, warning, well
from ops.reading import Reader
from schemas.partition import partition_of
from schemas.settings import Settings
from schemas.topic import INPUTS, TOPICS, WALLET_RELAY_PROGRESS, Topics

# Of each partition so many of the newest records are looked at.
_SAMPLE = 100
_AHEAD_S_MAX = 5.0
_SECOND_LOOK_S = 3.0
_CLEANUP_MS_MAX = 1_000
_CLEANUP = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
_SESSION_MIN = "group.min.session.timeout.ms"

Key = tuple[str, int]


def examine_kafka(settings: Settings) -> Iterator[Finding]:
    """Look at the broker and its topics; blocks for some seconds. Raises KafkaException."""
    client = topic.admin_client(settings)
    cluster = client.describe_cluster(request_timeout=topic.ASK_TIMEOUT_S).result()
    library = f"librdkafka {confluent_kafka.libversion()[0]}"
    yield well("broker", f"{len(cluster.nodes)} broker(s) answer; {library}.")
    states = topic.states(client, topic.specs(settings))
    yield from _topics(states)
    if any(state.is_missing for state in states):
        return
    yield from _rights(client, Topics(settings.topic_prefix))
    yield from _broker_settings(client, settings, cluster.controller.id)
    yield from _samples(settings)
    yield from _hanging(client, settings)


def _topics(states: list[topic.TopicState]) -> Iterator[Finding]:
    wrong = list(topic.differences(states))
    for found in wrong:
        is_config = found.what not in {"topic", "partitions"}
        judge = warning if is_config else error
        what = "is missing" if found.have is None else f"has {found.what} {found.have}"
        remedy = "`wallet topics apply` makes or mends it."
        if found.what == "partitions":
            remedy = f"It never changes: set WALLET_PARTITIONS={found.have} everywhere."
        yield judge("topics", f"{found.topic} {what}, wanted: {found.want}.", remedy)
    if not wrong:
        yield well("topics", f"All {len(states)} topics have their partitions and their configs.")


def _rights(client: AdminClient, names: Topics) -> Iterator[Finding]:
    real = [names.real(name) for name in TOPICS]
    asked = client.describe_topics(
        TopicCollection(real),
        include_authorized_operations=True,
        request_timeout=topic.ASK_TIMEOUT_S,
    )
    lacking = []
    for name, future in asked.items():
        allowed = future.result().authorized_operations
        logical = names.logical(name)
        needed = {AclOperation.READ} if logical in INPUTS else {AclOperation.WRITE}
        if logical == WALLET_RELAY_PROGRESS:
            needed.add(AclOperation.READ)
        if allowed is not None:
            lacking += [f"{op.name} {name}" for op in needed - set(allowed)]
    if lacking:
        yield error(
            "rights", f"This account lacks rights: {', '.join(sorted(lacking))}.",
            "Add them by kafka-acls.sh; the worker reads the inputs, the relay writes all others.",
        )  # fmt: skip
    else:
        yield well("rights", "This account may read the inputs and write the outputs.")


def _broker_settings(client: AdminClient, settings: Settings, node: int) -> Iterator[Finding]:
    resource = ConfigResource(ResourceType.BROKER, str(node))
    try:
        [future] = client.describe_configs([resource], request_timeout=10).values()
        found: Mapping[str, Any] = future.result()
    except KafkaException as refusal:
        yield warning(
            "settings", f"The broker does not show its settings: {refusal.args[0].str()}",
            "Let this account DescribeConfigs on the cluster, or look at them yourself.",
        )  # fmt: skip
        return
    cleanup_ms = int(found[_CLEANUP].value) if _CLEANUP in found else _CLEANUP_MS_MAX
    session_ms = int(found[_SESSION_MIN].value) if _SESSION_MIN in found else 0
    if cleanup_ms > _CLEANUP_MS_MAX:
        yield warning(
            "settings", f"The broker looks for timed-out transactions every {cleanup_ms:,} ms: a "
            "relay's that died hides what stands behind it for as long.",
            f"Set {_CLEANUP}={_CLEANUP_MS_MAX} on the brokers, or let a second relay stand by.",
        )  # fmt: skip
    if settings.group_protocol == "classic" and settings.session_timeout_ms < session_ms:
        yield error(
            "settings", f"WALLET_SESSION_TIMEOUT_MS is {settings.session_timeout_ms:,}, and the "
            f"broker takes no less than {session_ms:,}: workers can't join.",
            f"Set it to {session_ms} or more, or lower {_SESSION_MIN} on the brokers.",
        )  # fmt: skip
    elif cleanup_ms <= _CLEANUP_MS_MAX:
        yield well("settings", "The broker's timeouts fit ours.")


def _samples(settings: Settings) -> Iterator[Finding]:
    """Whether the newest inputs stand where murmur2 says, and are not of the future."""
    names = Topics(settings.topic_prefix).inputs
    with Reader(settings) as reader:
        low, high = reader.bounds(names)
        counts = {name: sum(key[0] == name for key in low) for name in names}
        starts = {k: max(low[k], end - _SAMPLE) for k, end in high.items() if end > low[k]}
        records = list(reader.records_to_end(starts))
    now_ms = time.time() * 1000
    keyed = [record for record in records if record.key]
    misplaced = [r for r in keyed if partition_of(r.key or b"", counts[r.topic]) != r.partition]
    if misplaced:
        at = misplaced[-1]
        yield error(
            "partitioner", f"{len(misplaced)} of the {len(keyed)} newest inputs stand where "
            f"murmur2 does not put their key, such as {at.topic}/{at.partition}/{at.offset}: the "
            "order of these clients' commands is lost.",
            "Set partitioner=murmur2_random in that producer (librdkafka's default is CRC-32).",
        )  # fmt: skip
    else:
        yield well("partitioner", f"The {len(keyed)} newest inputs stand where murmur2 says.")
    ahead_s = max((r.timestamp_ms - now_ms for r in records), default=0.0) / 1000
    if ahead_s > _AHEAD_S_MAX:
        yield warning(
            "clock", f"An input's timestamp is {ahead_s:,.0f} s ahead of this machine's clock.",
            "Synchronise the producer's clock, or this one's.",
        )  # fmt: skip


def _hanging(client: AdminClient, settings: Settings) -> Iterator[Finding]:
    """A transaction that stays open hides everything behind it from read_committed readers."""
    names = Topics(settings.topic_prefix)
    counts = topic.partition_counts(client)
    keys = [(real, p) for real in map(names.real, TOPICS) for p in range(counts[real])]
    first = _open_at(client, keys)
    if first:
        time.sleep(_SECOND_LOOK_S)
    still = {k: at for k, at in _open_at(client, list(first)).items() if first[k] == at}
    for (name, partition), offset in still.items():
        yield error(
            "transactions", f"A transaction hangs open in {name}/{partition} since offset "
            f"{offset}: read_committed readers, our workers too, see nothing behind it.",
            "It ends by its producer's transaction.timeout.ms. If it stays: kafka-transactions.sh "
            f"describe-producers --topic {name} --partition {partition}, then abort.",
        )  # fmt: skip
    if not still:
        yield well("transactions", "No transaction hangs open in a topic.")


def _open_at(client: AdminClient, keys: list[Key]) -> dict[Key, int]:
    """The last stable offset of each partition that has an open transaction."""
    if not keys:
        return {}
    stable = _ends(client, keys, IsolationLevel.READ_COMMITTED)
    ends = _ends(client, keys, IsolationLevel.READ_UNCOMMITTED)
    return {key: stable[key] for key in keys if stable[key] < ends[key]}


def _ends(client: AdminClient, keys: list[Key], level: IsolationLevel) -> dict[Key, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = client.list_offsets(
        {TopicPartition(*key): latest for key in keys},
        isolation_level=level,
        request_timeout=topic.ASK_TIMEOUT_S,
    )
    return {(p.topic, p.partition): future.result().offset for p, future in asked.items()}
