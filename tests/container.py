"""Kafka and PostgreSQL in containers, for runs that ask for them with STACK=containers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from ops.stack import StackAddress, kafka, port
from ops.stack.jar import KAFKA_VERSION

_KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
_POSTGRES_IMAGE = "postgres:18"
_READY_TIMEOUT_S = 90.0


@contextmanager
def containers(progress: Callable[[str], None]) -> Iterator[StackAddress]:
    """Run both images, with the embedded broker's settings, for the length of a block."""
    _do_without_a_reaper_that_cannot_be_had(progress)
    [host_port] = port.choose([], 1)
    with _kafka(host_port), _postgres() as server:
        host, mapped = server.get_container_host_ip(), server.get_exposed_port(5432)
        address = StackAddress(
            kafka_bootstrap_servers=f"localhost:{host_port}",
            database_url=f"postgresql://postgres:postgres@{host}:{mapped}/postgres",
        )
        client = kafka.admin(address.kafka_bootstrap_servers)
        _wait(lambda: kafka.answers(client))
        _wait(lambda: _postgres_answers(address.database_url))
        yield address


def _do_without_a_reaper_that_cannot_be_had(progress: Callable[[str], None]) -> None:
    """Ryuk takes away what a killed run leaves behind, nothing else: the tests don't need it."""
    image = testcontainers_config.ryuk_image
    if testcontainers_config.ryuk_disabled:
        return
    images = DockerClient().client.images
    try:
        if not images.list(image):
            images.pull(image)
    except DockerException as error:
        testcontainers_config.ryuk_disabled = True
        progress(f"Without {image}, which can't be pulled ({error}): kill no run of these tests")


def _kafka(host_port: int) -> DockerContainer:
    settings = {
        **kafka.settings(),
        # With any setting given, the image keeps none of its own defaults.
        "controller.quorum.voters": "1@localhost:9093",
        # The same port inside and out: the broker ends transactions by calling its own address.
        "listeners": f"BROKER://0.0.0.0:{host_port},CONTROLLER://localhost:9093",
        "advertised.listeners": f"BROKER://localhost:{host_port}",
    }
    container = DockerContainer(_KAFKA_IMAGE).with_bind_ports(host_port, host_port)
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    return container


def _postgres() -> DockerContainer:
    container = DockerContainer(_POSTGRES_IMAGE).with_exposed_ports(5432)
    container.with_env("POSTGRES_PASSWORD", "postgres")
    return container.with_command("-c max_connections=200 -c shared_buffers=256MB")


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _wait(answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not answers():
        assert time.monotonic() < deadline, "the containers did not come up in time"
        time.sleep(0.2)
