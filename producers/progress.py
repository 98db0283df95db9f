"""What the relay has published, as it says so itself: the last record of each of its transactions.

The record's value: a version byte; the number of rows and their ascending ids as varints (the first
as it is, the others as the distance from the one before); then a CRC-32 of each row's `ce_id`, four
bytes, little-endian. An id alone would not do: ids come again when the database is restored from a
backup, with other events behind them.
"""

from __future__ import annotations

import struct
import time
from binascii import crc32
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from confluent_kafka import Consumer, Message, TopicPartition

from producers.log_end import Client, log_reader, read_to_end

VERSION = 1
# Each transaction leaves two offsets, the record and the broker's marker.
_WINDOW_OFFSETS = 16
_READ_TIMEOUT_S = 8.0


class ProgressError(Exception):
    """A progress record that this version can't read; passing it over could publish rows twice."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The rows of one relay transaction: ascending ids, and the hash of each one's `ce_id`s."""

    ids: tuple[int, ...]
    hashes: tuple[int, ...]


def event_hash(event_ids: Iterable[str]) -> int:
    """The short hash of a row's `ce_id`s, in order. Two rows of which one differs within four bytes
    in a row never share it.
    """
    return crc32("\n".join(event_ids).encode())


def encode_progress(ids: Sequence[int], hashes: Sequence[int]) -> bytes:
    """The record's value. Raises ValueError unless the ids ascend from 1 and have a hash each."""
    if len(ids) != len(hashes):
        raise ValueError(f"{len(ids)} ids and {len(hashes)} hashes")
    steps = [*ids[:1], *(after - before for before, after in pairwise(ids))]
    if steps and min(steps) < 1:
        raise ValueError("the ids must ascend from 1")
    numbers = [len(ids), *steps]
    return b"".join(
        (bytes((VERSION,)), _varints(numbers), struct.pack(f"<{len(hashes)}I", *hashes))
    )


def decode_progress(value: bytes | None) -> Progress:
    """The rows a record names. Raises ProgressError for another version or a damaged record."""
    if not value or value[0] != VERSION:
        found = f"version {value[0]}" if value else "an empty value"
        raise ProgressError(f"the progress record has {found}; this relay reads version {VERSION}")
    try:
        count, at = _varint(value, 1)
        ids, last = [], 0
        for _ in range(count):
            step, at = _varint(value, at)
            last += step
            ids.append(last)
        hashes = struct.unpack(f"<{count}I", value[at:])
    except (IndexError, struct.error) as error:
        raise ProgressError(f"the progress record is damaged: {error}") from error
    return Progress(tuple(ids), hashes)


def read_progress(client: Client, topic: str, part: int, *, group_id: str) -> Progress | None:
    """The newest progress record of the part, or None where there is none.

    To be called after `init_transactions()` has returned: then no older transaction is open, and
    the last stable offset is past every one that was committed. Blocks for up to about 8 s.
    Raises KafkaException where the broker does not answer, ProgressError for a record that can't
    be read.
    """
    consumer = log_reader(client, group_id=group_id, isolation="read_committed")
    try:
        message = _last_message(consumer, TopicPartition(topic, part))
    finally:
        consumer.close()
    return None if message is None else decode_progress(message.value())


def _last_message(consumer: Consumer, partition: TopicPartition) -> Message | None:
    """Look behind the last stable offset in windows that double until a record is found."""
    deadline = time.monotonic() + _READ_TIMEOUT_S
    low, stable = consumer.get_watermark_offsets(partition, timeout=_READ_TIMEOUT_S)
    window = _WINDOW_OFFSETS
    while low < stable:
        start = max(low, stable - window)
        begin = TopicPartition(partition.topic, partition.partition, start)
        found = None
        for message in read_to_end(consumer, [begin], deadline):
            found = message
        if found is not None or start == low:
            return found
        window *= 2
    return None


def _varints(numbers: Sequence[int]) -> bytes:
    """Little-endian base 128, as in Protocol Buffers."""
    if max(numbers) < 0x80:
        return bytes(numbers)
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at this place, and the place after it. Raises IndexError where the data ends."""
    number, shift = 0, 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
