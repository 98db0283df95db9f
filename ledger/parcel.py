"""What a row of the outbox holds: records of one bucket of keys, in the order readers see.

A row for each record would cost the worker, the relay and PostgreSQL a tenth of all their time.
Compressed to a sixth, such a row stays in its page, and the write-ahead log is shorter.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from zlib import crc32

import lz4.block
from msgspec import msgpack

# A part of the outbox is a set of buckets; there are at most as many parts. A small batch has a row
# for nearly each: 64 took 3 us a command of worker and relay, beside which 16 parts are plenty.
BUCKETS: Final = 16
# Compressed to 90 bytes each they stay in their page; the relay sends so many one by one, well
# within a Kafka transaction's time.
RECORDS_MAX: Final = 80


class OutboxRecord(NamedTuple):
    """A record to publish; `topic` is the name without the prefix.

    `partition` is set for dead letters alone, `headers` are packed, `moved` says that a wallet's
    balance changed by what it tells. Constant and derivable headers are not stored.
    """

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    event_id: str
    event_type: str
    correlation_id: str | None
    causation_id: str | None
    headers: bytes | None
    moved: bool


class Parcel(NamedTuple):
    """A row's bucket, the number of its records and of their bytes before they are compressed, and
    the records packed: MessagePack, an array of arrays of an OutboxRecord's fields, in an LZ4 block
    behind its size.
    """

    bucket: int
    record_count: int
    byte_count: int
    records: bytes


def pack(records: Iterable[OutboxRecord]) -> Iterator[Parcel]:
    """The rows for records in the order in which their clients' readers are to see them."""
    buckets: dict[int, list[OutboxRecord]] = {}
    for record in records:
        buckets.setdefault(crc32(record.key or b"") % BUCKETS, []).append(record)
    for bucket, own in buckets.items():
        for start in range(0, len(own), RECORDS_MAX):
            some = own[start : start + RECORDS_MAX]
            packed = _encode(some)
            yield Parcel(bucket, len(some), len(packed), lz4.block.compress(packed))


def unpack(records: bytes) -> list[OutboxRecord]:
    """The records of a row. Bytes that `pack` has not made raise LZ4BlockError, ValueError or
    msgspec.DecodeError.
    """
    return _decode(lz4.block.decompress(records))


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(list[OutboxRecord]).decode
