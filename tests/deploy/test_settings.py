"""docker-compose.yml, .env.example and the settings tell of the same variables."""

from __future__ import annotations

import re

from ops.stack import kafka
from schemas.settings import VARIABLES, load_settings
from tests.test_house import ROOT

COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = dict(
    line.removeprefix("#").split("=", 1)
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    if re.match(r"#?[A-Z_]+=", line)
)
# Where the servers are is for compose to say, and containers have no embedded stack; their share of
# the cores is `cpu_shares`.
OF_COMPOSE = {
    "WALLET_DATA_DIR", "WALLET_MIGRATE_DATABASE_URL", "WALLET_METRICS_PORT", "WALLET_WORKER_NICE",
}  # fmt: skip


def test_compose_hands_every_setting_on() -> None:
    handed_on = set(re.findall(r"^  (WALLET_[A-Z_]+):$", COMPOSE, re.MULTILINE))
    assert handed_on == {v for v in VARIABLES if v.startswith("WALLET_")} - OF_COMPOSE


def test_the_example_has_every_variable_with_its_default() -> None:
    used = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
    assert used == {v: default for v, default in EXAMPLE.items() if not v.startswith("WALLET_")}
    assert set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)) == used.keys()
    settings = {v: default for v, default in EXAMPLE.items() if v.startswith("WALLET_")}
    assert settings.keys() == {v for v in VARIABLES if v.startswith("WALLET_")} - OF_COMPOSE
    assert load_settings(settings) == load_settings({})


def test_the_broker_is_set_as_the_embedded_one() -> None:
    embedded = {f"KAFKA_{n.upper().replace('.', '_')}": v for n, v in kafka.settings().items()}
    composed = dict(re.findall(r"^      (KAFKA_[A-Z_]+): \"?([^\"\n]*)\"?$", COMPOSE, re.MULTILINE))
    shared = (embedded.keys() & composed.keys()) - {name for name in embedded if "LISTENER" in name}
    assert len(shared) > 10
    assert {name: composed[name] for name in shared} == {name: embedded[name] for name in shared}
