"""The progress record: read back as it was written, found behind anything, never guessed at."""

from __future__ import annotations

from itertools import accumulate

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from producers.progress import (
    Progress,
    ProgressError,
    decode_progress,
    encode_progress,
    event_hash,
    read_progress,
)
from schemas.topic import WALLET_RELAY_PROGRESS
from tests.producers.world import World

_STEPS = st.lists(st.integers(1, 300) | st.integers(1, 2**50), min_size=1, max_size=300)


@given(_STEPS, st.data())
def test_what_was_written_is_read_back(steps: list[int], data: st.DataObject) -> None:
    ids = list(accumulate(steps))
    hashes = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=len(ids), max_size=len(ids)))
    assert decode_progress(encode_progress(ids, hashes)) == Progress(tuple(ids), tuple(hashes))


@given(_STEPS, st.data())
def test_a_record_cut_short_or_longer_is_refused(steps: list[int], data: st.DataObject) -> None:
    value = encode_progress(list(accumulate(steps)), [7] * len(steps))
    end = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(ProgressError):
        decode_progress(value[:end])
    with pytest.raises(ProgressError):
        decode_progress(value + b"\0")


def test_four_thousand_rows_take_twenty_kilobytes() -> None:
    value = encode_progress(range(10**9, 10**9 + 4000), range(4000))
    assert len(value) < 20_100


@pytest.mark.parametrize("ids", [[2, 1], [1, 1], [0], [-1]])
def test_ids_that_do_not_ascend_from_one_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        encode_progress(ids, [0] * len(ids))


def test_a_hash_for_each_id_is_asked_for() -> None:
    with pytest.raises(ValueError, match="hashes"):
        encode_progress([1, 2], [0])


@pytest.mark.parametrize("value", [None, b"", b"\x02\x00", b"x"])
def test_another_version_is_refused(value: bytes | None) -> None:
    with pytest.raises(ProgressError, match="version"):
        decode_progress(value)


def test_neighbouring_events_have_different_hashes() -> None:
    assert len({event_hash([f"wallet-command/3/{n}"]) for n in range(10_000)}) == 10_000


def test_a_part_that_never_published_has_no_progress(world: World) -> None:
    assert _read(world) is None


def test_progress_is_found_behind_many_aborted_transactions_and_an_open_one(world: World) -> None:
    topic = world.topics.real(WALLET_RELAY_PROGRESS)
    producer = Producer({**world.settings.kafka_client(), "transactional.id": f"{topic}-1"})
    producer.init_transactions(10)
    for ids, commit in [([1], True), ([2, 5], True), *[([9], False)] * 40]:
        producer.begin_transaction()
        producer.produce(topic, encode_progress(ids, [3] * len(ids)), b"0", 0)
        producer.flush(10)
        if commit:
            producer.commit_transaction(10)
        else:
            producer.abort_transaction(10)
    producer.begin_transaction()
    producer.produce(topic, encode_progress([10], [3]), b"0", 0)
    producer.flush(10)
    assert _read(world) == Progress((2, 5), (3, 3))
    producer.abort_transaction(10)
    assert _read(world) == Progress((2, 5), (3, 3))


def _read(world: World) -> Progress | None:
    topic = world.topics.real(WALLET_RELAY_PROGRESS)
    return read_progress(world.settings.kafka_client(), topic, 0, group_id="test-progress")
