"""What a Kafka error asks of the relay, and the errors that are its own."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from confluent_kafka import KafkaError, KafkaException


class RelayStoppedError(Exception):
    """The relay can't go on until a person has seen to it; the text says to what.

    Nothing is skipped: a row that can't pass stays first in the outbox.
    """


class NotReadyError(Exception):
    """Something the relay needs is not there yet, such as its topics. It tries again."""


class Remedy(Enum):
    """What helps against an error that a transactional call raised."""

    AGAIN = auto()  # the same call once more; a commit that timed out goes through all the same
    ABORT = auto()  # abort the transaction and read the outbox again
    START_OVER = auto()  # drop the producer and the session, and start from the lock


# The codes of a newer relay's presence: our producer's epoch has been passed.
_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)

# The record itself is at fault, and would be the next time too.
_IMPASSABLE: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._BAD_MSG,
        KafkaError._INVALID_ARG,
        KafkaError._UNKNOWN_PARTITION,
    }
)


def kafka_error(error: KafkaException) -> KafkaError:
    """The error inside the exception."""
    inner = error.args[0]
    if not isinstance(inner, KafkaError):
        raise TypeError(f"a KafkaException without its error: {error!r}") from error
    return inner


def remedy(error: KafkaException) -> Remedy:
    """What the error asks for. Anything that neither flag speaks of is START_OVER.

    But `_STATE`: the transaction failed while more was being sent to it. It hides the reason, and
    has not the flag that the reason has.
    """
    inner = kafka_error(error)
    if inner.txn_requires_abort() or inner.code() == KafkaError._STATE:
        return Remedy.ABORT
    return Remedy.AGAIN if inner.retriable() else Remedy.START_OVER


def is_fenced(error: KafkaException) -> bool:
    """Whether another relay has taken over."""
    return kafka_error(error).code() in _FENCED


def is_impassable(error: KafkaError) -> bool:
    """Whether the record is at fault, so that trying again can't help."""
    return error.code() in _IMPASSABLE


def may_hide_impassable(error: KafkaError) -> bool:
    """Whether some record of a failed transaction may be at fault."""
    return is_impassable(error) or error.code() == KafkaError._STATE
