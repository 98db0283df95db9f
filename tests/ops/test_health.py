"""Health and metrics of running processes: what probes and Prometheus see."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops import health, probe
from ops.health import serving
from ops.metrics import FIGURES
from producers.relay import Relay
from schemas.settings import load_settings
from tests.ops.shell import Shell, until
from tests.scene import Scene

AWAY = "127.0.0.1:1"


def test_a_process_that_waits_is_alive_and_not_ready(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = _free_port()
    monkeypatch.setenv("WALLET_METRICS_PORT", str(port))
    assert probe.main("/livez") == 1  # as a container's health check asks
    assert "Connection refused" in capsys.readouterr().out
    given = {"WALLET_METRICS_PORT": str(port), "KAFKA_BOOTSTRAP_SERVERS": AWAY}
    with shell.started("run", "worker", **given) as running:
        running.says("Kafka is away")
        assert _get(port, "/livez") == (200, "ok\n")
        assert _get(port, "/readyz") == (503, "waiting for PostgreSQL or Kafka\n")
        assert (probe.main("/livez"), probe.main("/readyz")) == (0, 1)
        assert capsys.readouterr().out == "ok\nwaiting for PostgreSQL or Kafka\n"
        assert _get(port, "/")[0] == 404
        taken = shell.process("run", "relay", **given)
        assert taken.returncode == 1
        assert f"port {port} (WALLET_METRICS_PORT) can't be opened" in taken.stderr
        assert running.end(signal.SIGTERM) == 0


def test_run_all_shows_the_figures_of_both_processes(desk: Shell, scene: Scene) -> None:
    port = _free_port()
    settings = {"WALLET_METRICS_PORT": str(port), "WALLET_BOOKS_CHECK_INTERVAL_S": "1"}
    with desk.started("run", "all", **settings) as running:
        until(lambda: _ready(port) and _ready(port + 1), lambda: running.said)
        for number in range(3):
            scene.command("anna", type_="deposit", command_id=f"d-{number % 2}", amount="1")
        scene.command("anna", type_="nonsense", command_id="n")
        scene.answered(4)
        until(lambda: "wallet_books_imbalance{" in _get(port + 1, "/metrics")[1])
        worker, relay = _figures(port), _figures(port + 1)
        assert running.end(signal.SIGTERM) == 0
    topic = scene.topics.inputs[0]
    assert worker["wallet_records_total", "result", topic] == 2
    assert worker["wallet_records_total", "duplicate", topic] == 1
    assert worker["wallet_records_total", "dead_letter", topic] == 1
    assert worker["wallet_batch_duration_seconds_count", "commit"] >= 1
    assert worker["wallet_end_to_end_seconds_count", "apply"] >= 1
    assert sum(v for k, v in worker.items() if k[0] == "wallet_consumer_lag") == 0
    assert relay["wallet_relay_published_total",] == 4
    assert relay["wallet_relay_owner",] == 1
    assert relay["wallet_outbox_pending",] == 0
    assert relay["wallet_end_to_end_seconds_count", "publish"] >= 1
    assert relay["wallet_books_imbalance", "balances"] == 0
    shown = {key[0] for key in {**worker, **relay}}
    # Without FULFILLMENT_URL `run all` has no fulfillment, and nothing to show of it.
    for figure in (figure for figure in FIGURES if figure.process != "fulfillment"):
        suffix = "_count" if figure.kind == "histogram" else ""
        assert f"{figure.name}{suffix}" in shown


def test_a_relay_that_stands_by_is_ready_and_one_that_hangs_is_not_alive(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene.relay() as owner, scene.relay() as standby:
        until(lambda: {owner.is_owner, standby.is_owner} == {True, False})
        with _served(scene, standby if owner.is_owner else owner) as port:
            assert _get(port, "/readyz") == (200, "ok\n")
            assert _figures(port)["wallet_relay_owner",] == 0
    relay = Relay(scene.settings, database_url=scene.env.database_url)
    monkeypatch.setattr(health, "LIVE_WITHIN_S", 0.01)
    with _served(scene, relay) as port:
        time.sleep(0.02)
        status, text = _get(port, "/livez")
        assert status == 503
        assert "no sign of life" in text
        assert _get(port, "/readyz")[1] == "the relay has not taken its place yet\n"


def test_without_postgres_nothing_is_said_of_the_outbox() -> None:
    settings = load_settings({"KAFKA_BOOTSTRAP_SERVERS": AWAY})
    url = "postgresql://127.0.0.1:1/x"
    port = _free_port()
    with serving(port, url) as monitor:
        assert monitor is not None
        monitor.watch_relay(Relay(settings, database_url=url))
        assert _get(port, "/readyz") == (503, "PostgreSQL does not answer\n")
        figures = _figures(port)
    assert figures["wallet_postgres_up",] == 0
    assert ("wallet_outbox_pending",) not in figures


def test_no_port_opens_nothing() -> None:
    with serving(None, "") as monitor:
        assert monitor is None


@contextmanager
def _served(scene: Scene, relay: Relay) -> Iterator[int]:
    port = _free_port()
    with serving(port, scene.env.database_url) as monitor:
        assert monitor is not None
        monitor.watch_relay(relay)
        yield port


def _free_port() -> int:
    """A port that is free, and the next one too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("", port + 1))
            except OSError:
                continue
            return port


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _ready(port: int) -> bool:
    try:
        return _get(port, "/readyz")[0] == 200
    except OSError:
        return False


def _figures(port: int) -> dict[tuple[str, ...], float]:
    """Name and label values, in the order of the labels' names -> value."""
    families = text_string_to_metric_families(_get(port, "/metrics")[1])
    return {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}
