"""A scene for each test of the consumers: topics made, database migrated, nothing running."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from ledger import journal
from tests.conftest import WalletEnv
from tests.scene import Scene


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the batch's statements was called, by name."""
    counts: Counter[str] = Counter()
    plain = journal._call

    def counting(connection: Any, statement: str, *parameters: Any) -> Any:
        counts[statement] += 1
        return plain(connection, statement, *parameters)

    monkeypatch.setattr(journal, "_call", counting)
    return counts


@pytest.fixture
def scene(wallet_env: WalletEnv, admin_client: AdminClient) -> Scene:
    made = Scene(wallet_env, {"WALLET_PARTITIONS": "4", "WALLET_SESSION_TIMEOUT_MS": "2000"})
    made.make_topics(admin_client)
    return made
