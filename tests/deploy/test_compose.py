"""The whole wallet in containers: healthy, reached from outside, and a restart loses nothing."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest

from producers.publisher import Delivered, Publisher
from schemas.topic import ORDER_REQUEST, ORDER_RESULT
from tests.background import in_background
from tests.deploy.composition import Composition, composition
from tests.ops.shell import Shell
from tests.producers.world import eventually
from tests.scene import Scene, command

# Building and starting is within the first test's time.
pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

_PROCESSES = ("worker", "relay", "fulfillment")
_CLIENTS = 20
_BURST = 40
_BURSTS_MIN = 60
_PAUSE_S = 0.1
# Long, since the machine may be busy, and the engine too.
_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def wallet(request: pytest.FixtureRequest) -> Iterator[Composition]:
    """All of docker-compose.yml, up and healthy; its logs are shown where a test failed."""
    failed = request.session.testsfailed
    with composition(f"wallet-test-{secrets.token_hex(3)}") as made:
        yield made
        if request.session.testsfailed > failed:
            print(made.story())  # noqa: T201 - pytest shows it beside the failure


def test_a_command_from_outside_is_answered(wallet: Composition) -> None:
    scene, shell = wallet.scene, Shell(wallet.scene.env.env)
    client = f"anna-{secrets.token_hex(3)}"
    sent = shell.fine("send", "deposit", client, "100.50", "--id", f"{client}-1", "--wait")
    assert "applied" in sent
    [result] = [r for [r] in scene.answers().results.values() if r["client_id"] == client]
    assert (result["status"], result["balance_after"]) == ("applied", "100.50")
    refused = shell.wallet("send", "debit", client, "1000", "--wait")
    assert refused.returncode == 1
    assert "insufficient_funds" in refused.stdout
    assert "100.50" in wallet.inside("worker", "wallet", "show", client)


def test_an_order_from_outside_is_fulfilled(wallet: Composition) -> None:
    scene, shell = wallet.scene, Shell(wallet.scene.env.env)
    client = f"olga-{secrets.token_hex(3)}"
    shell.fine("send", "deposit", client, "20", "--wait")
    order = {"type": "place_order", "command_id": "c-1", "order_id": "ORD-1", "amount": "12.50"}
    scene.publish(command(client, ORDER_REQUEST, **order))

    def results() -> list[dict[str, Any]]:
        read = [json.loads(message.value() or b"") for message in scene.read(ORDER_RESULT)]
        return [result for result in read if result["client_id"] == client]

    eventually(lambda: len(results()) == 2, _TIMEOUT_S)
    placed, completed = results()
    assert (placed["event"], placed["status"]) == ("order_placed", "pending")
    assert (completed["event"], completed["balance_after"]) == ("order_completed", "7.50")
    assert completed["fulfillment_id"]
    with urlopen(f"http://localhost:{wallet.stub_port}/admin/orders", timeout=10) as answer:
        assert f"{client}/ORD-1" in answer.read().decode()
    assert "completed" in shell.fine("order", "ORD-1", "--client", client)


def test_nothing_is_lost_when_postgres_restarts_under_load(wallet: Composition) -> None:
    scene = wallet.scene
    clients = [f"load-{secrets.token_hex(3)}-{n}" for n in range(_CLIENTS)]
    with _load(scene, clients) as delivered:
        eventually(lambda: scene.positions_count() > 5 * _BURST, _TIMEOUT_S)
        before = len(delivered)
        wallet.compose("restart", "--timeout=30", "postgres")
        assert len(delivered) > before  # commands came in while it was away
        eventually(lambda: len(delivered) >= _BURSTS_MIN * _BURST, _TIMEOUT_S)
    places = {(d.topic, d.partition, d.offset) for d in delivered}
    paid_in = 100 * len(places)
    eventually(lambda: (_paid_in(scene, clients), scene.waiting()) == (paid_in, 0), _TIMEOUT_S)
    answers = scene.answers()
    found = [answers.results[place] for place in places]
    assert {len(results) for results in found} == {1}
    assert {results[0]["status"] for results in found} == {"applied"}
    assert "The books are right." in wallet.inside("worker", "wallet", "verify")


def test_the_processes_are_well_and_see_nothing_wrong(wallet: Composition) -> None:
    for service in _PROCESSES:
        address = wallet.compose("port", service, "9464").strip()
        with urlopen(f"http://{address}/readyz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        assert wallet.inside(service, "id", "-u").strip() == "10001"
    findings = json.loads(wallet.inside("worker", "wallet", "doctor", "--json"))
    eventually(lambda: set(_health(wallet)) == {"healthy"}, _TIMEOUT_S)
    assert [finding for finding in findings["findings"] if finding["level"] != "ok"] == []


def test_the_processes_end_in_order_and_begin_again(wallet: Composition) -> None:
    wallet.compose("stop", *_PROCESSES)
    for service in _PROCESSES:
        assert wallet.inspect(service, "{{.State.ExitCode}}") == ["0"]
        assert "SIGTERM" in wallet.compose("logs", "--no-color", "--tail=5", service)
    wallet.compose("up", "-d", "--wait")
    assert set(_health(wallet)) == {"healthy"}


def _paid_in(scene: Scene, clients: list[str]) -> int:
    return int(scene.scalar("SELECT sum(balance) FROM accounts WHERE client_id = ANY(%s)", clients))


def _health(wallet: Composition) -> list[str]:
    services = ("kafka", "postgres", "fulfillment-stub", *_PROCESSES)
    return [s for name in services for s in wallet.inspect(name, "{{.State.Health.Status}}")]


@contextmanager
def _load(scene: Scene, clients: list[str]) -> Iterator[list[Delivered]]:
    """Deposits of 1.00 as fast as a busy shop's, until the block ends; where they stand so far."""
    delivered: list[Delivered] = []

    def publish(stop: threading.Event) -> None:
        publisher = Publisher(scene.settings)
        while not stop.is_set():
            first = len(delivered)
            burst = [
                command(clients[n % len(clients)], command_id=f"c-{n}", type="deposit", amount="1")
                for n in range(first, first + _BURST)
            ]
            delivered.extend(publisher.publish_all(burst))
            time.sleep(_PAUSE_S)

    with in_background("load", publish):
        yield delivered
