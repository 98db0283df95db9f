"""A scene for each fault: topics made, database migrated, nothing running."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from tests.conftest import WalletEnv
from tests.scene import Scene


@pytest.fixture
def scene(wallet_env: WalletEnv, admin_client: AdminClient) -> Scene:
    made = Scene(wallet_env, {"WALLET_PARTITIONS": "4", "WALLET_SESSION_TIMEOUT_MS": "2000"})
    made.make_topics(admin_client)
    return made
