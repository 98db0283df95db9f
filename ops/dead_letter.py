"""Dead letters: read from their topics, and made into inputs again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg import Connection

from consumers.topic_log import TopicLog
from ledger.replay import replayed
from ops.readiness import MissingError
from ops.reading import Reader, Record, UnknownTopicError, dead_letter_source
from producers.publisher import Delivered, Input
from schemas.header import (
    DLT_ATTEMPTS,
    DLT_REASON,
    DLT_REPLAYS,
    SPRING,
    DeadLetter,
    dead_letter_headers,
    replay_count,
)
from schemas.settings import Settings
from schemas.topic import DEAD_LETTERS, INPUTS, Topics

REPLAYS_MAX = 3

# Every name that a dead letter adds to the input's own headers.
_ADDED = tuple(name for name, _ in dead_letter_headers(DeadLetter("", 0, 0, 0, "", ""), None))
_OURS = frozenset({DLT_REASON, DLT_ATTEMPTS, DLT_REPLAYS})


class LetterPlace(NamedTuple):
    """Where a letter stands: the real topic, partition and offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Letter(NamedTuple):
    """A dead letter. `source` is the input that nobody could answer, `replays` how often it had
    come back from here before, `is_replayed` whether this very letter was sent again.
    """

    record: Record
    place: LetterPlace
    reason: str
    message: str
    source: Delivered | None
    attempts: int
    replays: int
    is_replayed: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant: all that fit every part that is given.

    `topics` are real names; `places`, if any, are the only ones.
    """

    topics: Sequence[str]
    reason: str | None = None
    partition: int | None = None
    offset: int | None = None
    places: frozenset[LetterPlace] = field(default_factory=frozenset)

    def fits(self, letter: Letter) -> bool:
        """Whether this letter is meant."""
        place = letter.place
        return (
            (not self.places or place in self.places)
            and self.reason in {None, letter.reason}
            and self.partition in {None, place.partition}
            and self.offset in {None, place.offset}
        )


class LetterBox:
    """The dead letter topics, and the list of what was sent again from them."""

    def __init__(self, settings: Settings, connection: Connection, reader: Reader) -> None:
        self._reader = reader
        self._topics = Topics(settings.topic_prefix)
        names = [self._topics.real(name) for name in DEAD_LETTERS]
        self.topic_ids = TopicLog({**settings.kafka_client(), "log_level": 0}).ids(names)
        self._replayed = {
            topic: replayed(connection, topic, topic_id)
            for topic, topic_id in self.topic_ids.items()
        }

    def letters(self, choice: Choice) -> Iterator[Letter]:
        """The letters that are meant, each partition's in their order.

        Raises MissingError where a topic is not there, KafkaException.
        """
        try:
            low, high = self._reader.bounds(choice.topics)
        except UnknownTopicError as error:
            raise MissingError(f"{error}: run `wallet topics apply`") from error
        for record in self._reader.records_to_end(_starts(choice, low, high)):
            letter = self._letter(record)
            if choice.fits(letter):
                yield letter

    def input_topic(self, letter: Letter) -> str:
        """The input topic that the letter came from, without the prefix."""
        logical = self._topics.logical(letter.place.topic)
        [name] = [name for name in INPUTS if f"{name}-dlt" == logical]
        return name

    def _letter(self, record: Record) -> Letter:
        headers = record.headers
        place = LetterPlace(record.topic, record.partition, record.offset)
        return Letter(
            record,
            place,
            _text(headers, DLT_REASON),
            _text(headers, f"{SPRING}exception-message"),
            dead_letter_source(record),
            int(_text(headers, DLT_ATTEMPTS) or 1),
            replay_count(record.header_list),
            (place.partition, place.offset) in self._replayed.get(place.topic, set()),
        )


def as_input(letter: Letter, topic: str, key: bytes | None, value: bytes | None) -> Input:
    """The letter as a new input for `topic`: the first input's own headers, and one more return."""
    returns = (DLT_REPLAYS, str(letter.replays + 1).encode())
    return Input(topic, key, value, [*own_headers(letter), returns])


def own_headers(letter: Letter) -> list[tuple[str, bytes | None]]:
    """The headers that the input came with, without its count of returns.

    Of a name that a dead letter adds and the input had, too, only the last one is taken away.
    """
    last = {name: index for index, (name, _) in enumerate(letter.record.header_list)}
    added = {last[name] for name in _ADDED if name in last}
    return [
        (name, content)
        for index, (name, content) in enumerate(letter.record.header_list)
        if index not in added and name not in _OURS
    ]


def _starts(
    choice: Choice,
    low: Mapping[tuple[str, int], int],
    high: Mapping[tuple[str, int], int],
) -> dict[tuple[str, int], int]:
    """Where to read from: as little as the choice allows."""
    first: dict[tuple[str, int], int] = {}
    for place in choice.places:
        key = place.topic, place.partition
        first[key] = min(place.offset, first.get(key, place.offset))
    starts = {}
    for key, offset in low.items():
        if choice.partition not in {None, key[1]} or (choice.places and key not in first):
            continue
        start = max(offset, first.get(key, choice.offset or 0))
        if start < high[key]:
            starts[key] = start
    return starts


def _text(headers: Mapping[str, bytes | None], name: str) -> str:
    return (headers.get(name) or b"").decode("utf-8", "replace")
