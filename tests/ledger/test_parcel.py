"""A row of the outbox: what is packed comes out again, a client's records together and in order."""

from collections import defaultdict

import lz4.block
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from ledger.parcel import BUCKETS, RECORDS_MAX, OutboxRecord, pack, unpack

_MAYBE_BYTES = some.none() | some.binary(max_size=20)
_TEXT = some.text(max_size=10)
_RECORDS = some.lists(
    some.builds(
        OutboxRecord,
        topic=_TEXT,
        partition=some.none() | some.integers(0, 2**31 - 1),
        key=some.none() | some.sampled_from([b"", b"anna", b"ben", b"\xff\x00"]),
        value=_MAYBE_BYTES,
        event_id=_TEXT,
        event_type=_TEXT,
        correlation_id=some.none() | _TEXT,
        causation_id=some.none() | _TEXT,
        headers=_MAYBE_BYTES,
        moved=some.booleans(),
    ),
    max_size=30,
)


@given(_RECORDS, some.integers(1, 8))
def test_a_clients_records_come_out_in_order_and_all_from_one_bucket(
    records: list[OutboxRecord], times: int
) -> None:
    many = records * times
    seen, buckets = defaultdict[bytes, list[OutboxRecord]](list), dict[bytes, int]()
    for bucket, count, _, packed in pack(many):
        unpacked = unpack(packed)
        assert 0 < count == len(unpacked) <= RECORDS_MAX
        assert 0 <= bucket < BUCKETS
        for record in unpacked:
            seen[record.key or b""].append(record)
            assert buckets.setdefault(record.key or b"", bucket) == bucket
    expected = defaultdict[bytes, list[OutboxRecord]](list)
    for record in many:
        expected[record.key or b""].append(record)
    assert seen == expected


@pytest.mark.parametrize("damaged", [b"", b"\x91", b"\x91\x93\x01\x02\x03", b"\x90\x00"])
def test_bytes_that_are_no_row_are_refused(damaged: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        unpack(lz4.block.compress(damaged))
    with pytest.raises((lz4.block.LZ4BlockError, ValueError)):
        unpack(damaged)
