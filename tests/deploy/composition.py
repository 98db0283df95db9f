"""docker-compose.yml at work, as a project of the tests' own that no other one sees."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from ops.stack import port
from tests.conftest import WalletEnv
from tests.scene import Scene
from tests.test_house import ROOT

_OURS = ("WALLET_", "KAFKA_", "POSTGRES_", "FULFILLMENT", "WORKERS", "RELAYS")
_BUILD_TIMEOUT_S = 420.0
_UP_TIMEOUT_S = 300.0
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Composition:
    """A running compose project with ports, volumes, passwords and an image of its own."""

    project: str
    kafka_port: int
    postgres_port: int
    stub_port: int

    @property
    def ports(self) -> list[int]:
        """The ports of localhost that it takes."""
        return [self.kafka_port, self.postgres_port, self.stub_port]

    @property
    def environ(self) -> dict[str, str]:
        """What `docker compose` is told; the values of a developer's shell are kept out."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        return kept | {
            "DOCKER_IMAGE": self.project,
            "KAFKA_PORT": str(self.kafka_port),
            "POSTGRES_PORT": str(self.postgres_port),
            "FULFILLMENT_STUB_PORT": str(self.stub_port),
            "POSTGRES_APP_PASSWORD": "not-the-default",
            "WALLET_PARTITIONS": "4",
            "WALLET_LOG_FORMAT": "json",
        }

    @property
    def scene(self) -> Scene:
        """The wallet as other teams' programs reach it: by the ports of localhost."""
        password = quote(self.environ["POSTGRES_APP_PASSWORD"])
        url = f"postgresql://wallet_app:{password}@localhost:{self.postgres_port}/wallet"
        servers = f"localhost:{self.kafka_port}"
        env = {"KAFKA_BOOTSTRAP_SERVERS": servers, "DATABASE_URL": url, "WALLET_PARTITIONS": "4"}
        return Scene(WalletEnv(servers, url, topic_prefix="", env=env))

    def compose(self, *line: str, timeout_s: float = _TIMEOUT_S) -> str:
        """Run `docker compose …` to its end; what it printed. Fails where it does."""
        # --env-file: a developer's own .env is not read.
        command = ["docker", "compose", "--progress=plain", "-p", self.project]
        command += ["--env-file=.env.example", *line]
        return _run(command, self.environ, timeout_s)

    def inside(self, service: str, *line: str) -> str:
        """Run a command in a service's container; what it printed. Fails where it does."""
        return self.compose("exec", "-T", service, *line)

    def inspect(self, service: str, form: str) -> list[str]:
        """One line for each of a service's containers, running or not, in Go's template."""
        ids = self.compose("ps", "-aq", service).split()
        return _run(["docker", "inspect", "-f", form, *ids], self.environ, _TIMEOUT_S).split()

    def build(self) -> None:
        """Build the project's image."""
        self.compose("build", timeout_s=_BUILD_TIMEOUT_S)

    def up(self) -> None:
        """Start everything, and wait until all of it is healthy."""
        self.compose("up", "-d", "--wait", timeout_s=_UP_TIMEOUT_S)

    def down(self) -> None:
        """Take everything away: containers, volumes, network, image."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=10")
        _run(["docker", "image", "rm", "--force", self.project], self.environ, _TIMEOUT_S)

    def story(self) -> str:
        """How the containers are, and the ends of their logs."""
        return self.compose("ps", "-a") + self.compose("logs", "--no-color", "--tail=100")


@contextmanager
def composition(project: str) -> Iterator[Composition]:
    """Up for the length of a block. What can't come up says why, with the containers' logs."""
    made = Composition(project, *port.choose([], 3))
    try:
        made.build()
        # That may take minutes, in which others start, too.
        made = Composition(project, *port.choose(made.ports, 3))
        try:
            made.up()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{made.story()}") from None
        yield made
    finally:
        made.down()


def _run(command: list[str], environ: dict[str, str], timeout_s: float) -> str:
    try:
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{error}:\n{error.output}") from None
    assert ran.returncode == 0, f"{' '.join(command)}:\n{ran.stdout}"
    return ran.stdout
