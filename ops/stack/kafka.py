"""The embedded Apache Kafka: its settings, its storage, its command lines."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.stack import port
from ops.stack.folder import Folder
from ops.stack.java import Java
from ops.stack.report import StackError

TOOLS = {
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
}
"""Kafka's own command-line tools that speak to a broker, and their classes."""

BROKER_CLASS = "kafka.Kafka"
_HERE = Path(__file__).parent
# A command lives for a second or two: the optimising compiler would only cost time.
_TOOL_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    f"-Dlog4j2.configurationFile={_HERE / 'tool-log4j2.properties'}",
    "--sun-misc-unsafe-memory-access=allow",
)
_BROKER_OPTIONS = (
    # Of one size: in 256 MB, of which 90 are in use, G1 marks all of it every 10 to 20 s, which
    # takes a core for 0.1 to 0.4 s.
    "-Xms512m",
    "-Xmx512m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    f"-Dlog4j2.configurationFile={_HERE / 'broker-log4j2.properties'}",
    "--sun-misc-unsafe-memory-access=allow",
)

_SETTINGS = """
process.roles=broker,controller
node.id=1
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
auto.create.topics.enable=false

# One node: nothing can be replicated.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# Few internal partitions: the first group and the first transaction wait for them to be made.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1

# Groups: no waiting for further members, and a dead member is noticed within 6 s.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1500

# A broker that was killed may not register again before its old session has ended.
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000

# A dead relay's open transaction hides all that follows it until it is cleaned up.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000

# What a topic may allow (5 MiB) has to pass the broker.
message.max.bytes=6291456
replica.fetch.max.bytes=6291456

# The cleaner's default buffer is a quarter of this broker's heap.
log.cleaner.dedupe.buffer.size=16777216
log.segment.delete.delay.ms=1000
"""


def settings() -> dict[str, str]:
    """Return the broker's settings that depend on no port, no folder and no machine."""
    lines = (line for line in _SETTINGS.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def write_settings(folder: Folder, broker_port: int, controller_port: int) -> None:
    """Write the broker's settings file for these ports of 127.0.0.1."""
    cores = os.cpu_count() or 2
    text = f"""# Written anew at each start.
{_SETTINGS}
# No more threads than cores: with 8 and 3 on two cores small requests took an eighth more of them.
num.io.threads={max(2, cores)}
num.network.threads={max(1, cores // 2)}

controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{broker_port}
log.dirs={folder.kafka.name}
"""
    folder.kafka_properties.write_text(text, encoding="utf-8")


def format_storage(folder: Folder, java: Java) -> None:
    """Make the broker's data folder, once; settings must be written. Raises StackError."""
    done = folder.kafka / "formatted"
    if done.exists():
        return
    # Whatever a killed attempt left behind was never served from.
    shutil.rmtree(folder.kafka, ignore_errors=True)
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # The id is glued to its option: it may begin with a dash.
    arguments = ["format", f"--cluster-id={cluster_id}", "--config", folder.kafka_properties.name]
    command = [*java.command(_TOOL_OPTIONS, "kafka.tools.StorageTool"), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.root)
    if ran.returncode != 0:
        raise StackError(f"Kafka's storage could not be formatted: {ran.stderr or ran.stdout}")
    done.touch()


def broker_command(folder: Folder, java: Java, *options: str) -> list[str]:
    """Return the command line that runs the broker in the foreground, in the data folder.

    Its paths are relative: Kafka reads its settings as Latin-1 and splits `log.dirs` at commas.
    """
    log = f"-Dwallet.kafka.log={folder.log.name}/kafka.log"
    command = java.command((*_BROKER_OPTIONS, log, *options), BROKER_CLASS)
    return [*command, folder.kafka_properties.name]


def training_command(folder: Folder, class_cache: Path, java: Java) -> list[str]:
    """Return the command line of a broker in an empty folder that ends by writing the cache."""
    write_settings(folder, *port.choose([], 2))
    format_storage(folder, java)
    return broker_command(folder, java, f"-XX:AOTCacheOutput={class_cache}")


def tool_command(
    tool: str, bootstrap_servers: str, arguments: Sequence[str], *, java: Java
) -> list[str]:
    """Return the command line that runs one of Kafka's own tools (see TOOLS) at this broker.

    Raises StackError for a tool that is not there.
    """
    if tool not in TOOLS:
        raise StackError(f"There is no tool {tool!r}; there are {', '.join(TOOLS)}.")
    address = [] if "--bootstrap-server" in arguments else ["--bootstrap-server", bootstrap_servers]
    return [*java.command(_TOOL_OPTIONS, TOOLS[tool]), *address, *arguments]


def admin(bootstrap_servers: str) -> AdminClient:
    """Return a client that looks for the broker often, and quietly while it is not there yet."""
    return AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            "log_level": 0,
        }
    )


def answers(client: AdminClient) -> bool:
    """Say whether the broker serves requests; waits for it up to 0.3 s."""
    try:
        return bool(client.list_topics(timeout=0.3).brokers)
    except KafkaException:
        return False
