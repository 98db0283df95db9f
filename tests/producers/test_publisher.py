"""The publisher of inputs: keyed like every producer, and sure of where a record stands."""

from __future__ import annotations

import pytest

from producers import publisher
from producers.publisher import Input, Publisher, PublishError
from schemas.partition import partition_of
from schemas.topic import WALLET_COMMAND
from tests.conftest import WalletEnv
from tests.producers.world import PARTITIONS, World


@pytest.mark.contract
def test_a_published_record_stands_where_the_publisher_says(world: World) -> None:
    upstream = Publisher(world.settings)
    places = [
        upstream.publish(Input(WALLET_COMMAND, key, b"{}", [("traceparent", b"00")]))
        for key in (b"anna", b"ben", "zoë".encode(), b"anna")
    ]
    assert [place.topic for place in places] == [world.topics.real(WALLET_COMMAND)] * 4
    assert [place.partition for place in places] == [
        partition_of(key, PARTITIONS) for key in (b"anna", b"ben", "zoë".encode(), b"anna")
    ]
    records = {(m.partition(), m.offset()): m for m in world.read(WALLET_COMMAND)}
    last = records[places[3].partition, places[3].offset]
    assert (last.key(), last.value(), last.headers()) == (b"anna", b"{}", [("traceparent", b"00")])
    assert places[3].offset > places[0].offset


def test_many_records_keep_their_order_within_a_client(world: World) -> None:
    inputs = [Input(WALLET_COMMAND, b"anna", str(n).encode()) for n in range(500)]
    places = Publisher(world.settings).publish_all(inputs)
    assert [place.offset for place in places] == list(range(500))
    assert [m.value() for m in world.read(WALLET_COMMAND)] == [i.value for i in inputs]


def test_broken_records_can_be_published_too(world: World) -> None:
    Publisher(world.settings).publish(Input(WALLET_COMMAND, None, None))
    [message] = world.read(WALLET_COMMAND)
    assert (message.key(), message.value()) == (None, None)


def test_a_record_that_is_too_large_is_an_error(world: World) -> None:
    with pytest.raises(PublishError, match="too large"):
        Publisher(world.settings).publish(Input(WALLET_COMMAND, b"anna", b"x" * 4_500_000))
    with pytest.raises(PublishError, match="too large"):
        Publisher(world.settings).publish(Input(WALLET_COMMAND, b"anna", b"x" * 6_000_000))


def test_a_topic_that_is_missing_is_an_error(
    wallet_env: WalletEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(publisher._SETTINGS, "message.timeout.ms", 1000)
    with pytest.raises(PublishError, match=r"timed out|Unknown topic"):
        Publisher(World(wallet_env).settings).publish(Input(WALLET_COMMAND, b"anna", b"{}"))
