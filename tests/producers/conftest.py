"""A world for each relay test: its topics are made, its outbox is empty."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from tests.conftest import WalletEnv
from tests.producers.world import World


@pytest.fixture
def world(wallet_env: WalletEnv, admin_client: AdminClient) -> World:
    made = World(wallet_env)
    made.make_topics(admin_client)
    return made
