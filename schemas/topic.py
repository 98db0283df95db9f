"""The topics: their logical names, their real ones under a prefix, and how each is configured."""

from dataclasses import dataclass
from typing import Final

WALLET_COMMAND: Final = "wallet-command"
ORDER_REQUEST: Final = "order-request"
WALLET_RESULT: Final = "wallet-result"
ORDER_RESULT: Final = "order-result"
WALLET_BALANCE: Final = "wallet-balance"
WALLET_COMMAND_DLT: Final = "wallet-command-dlt"
ORDER_REQUEST_DLT: Final = "order-request-dlt"
WALLET_RELAY_PROGRESS: Final = "wallet-relay-progress"

INPUTS: Final = (WALLET_COMMAND, ORDER_REQUEST)
DEAD_LETTERS: Final = (WALLET_COMMAND_DLT, ORDER_REQUEST_DLT)
# All topics that are keyed by the client and have one number of partitions.
KEYED: Final = (*INPUTS, WALLET_RESULT, ORDER_RESULT, WALLET_BALANCE, *DEAD_LETTERS)
TOPICS: Final = (*KEYED, WALLET_RELAY_PROGRESS)

_RETENTION_MS = 30 * 24 * 60 * 60 * 1000
_INPUT_BYTES_MAX = 4 * 1024 * 1024
# Whatever came in fits out again, with the headers of a dead letter added.
_OUTPUT_BYTES_MAX = 5 * 1024 * 1024


def _config(cleanup: str, message_bytes_max: int, retention_ms: int | None) -> dict[str, str]:
    config = {"cleanup.policy": cleanup, "max.message.bytes": str(message_bytes_max)}
    if retention_ms is not None:
        config["retention.ms"] = str(retention_ms)
    return config


_CONFIGS: Final = {
    **dict.fromkeys(INPUTS, _config("delete", _INPUT_BYTES_MAX, _RETENTION_MS)),
    WALLET_RESULT: _config("delete", _OUTPUT_BYTES_MAX, _RETENTION_MS),
    ORDER_RESULT: _config("delete", _OUTPUT_BYTES_MAX, _RETENTION_MS),
    WALLET_BALANCE: _config("compact", _OUTPUT_BYTES_MAX, None),
    **dict.fromkeys(DEAD_LETTERS, _config("delete", _OUTPUT_BYTES_MAX, -1)),
    WALLET_RELAY_PROGRESS: _config("compact", _OUTPUT_BYTES_MAX, None),
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be: its real name, what differs from the broker's defaults, its size."""

    name: str
    config: dict[str, str]
    partition_count: int


@dataclass(frozen=True, slots=True)
class Topics:
    """The names behind one prefix: topics, the workers' group, the relays' transactional ids."""

    prefix: str = ""

    def real(self, logical: str) -> str:
        """The name on the broker. `logical` is one of TOPICS; KeyError otherwise."""
        if logical not in _CONFIGS:
            raise KeyError(logical)
        return self.prefix + logical

    def logical(self, real: str) -> str | None:
        """The constant behind a name on the broker, None where the topic is none of ours."""
        name = real.removeprefix(self.prefix)
        return name if name in _CONFIGS and self.prefix + name == real else None

    def dead_letter(self, real_input: str) -> str:
        """The real name of an input's dead letter topic. ValueError where it is no input."""
        if self.logical(real_input) not in INPUTS:
            raise ValueError(f"{real_input!r} is no input topic")
        return f"{real_input}-dlt"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The real names of what the workers read."""
        return tuple(self.prefix + name for name in INPUTS)

    @property
    def group_id(self) -> str:
        """The workers' consumer group."""
        return f"{self.prefix}wallet-worker"

    def transactional_id(self, part: int) -> str:
        """The id that fences the other relays of this part of the outbox."""
        return f"{self.prefix}wallet-relay-{part}"

    def specs(self, partition_count: int, relay_part_count: int) -> tuple[TopicSpec, ...]:
        """All topics as they should be; the progress topic has one partition per relay part."""
        return tuple(
            TopicSpec(
                self.prefix + name,
                dict(_CONFIGS[name]),
                relay_part_count if name == WALLET_RELAY_PROGRESS else partition_count,
            )
            for name in TOPICS
        )
