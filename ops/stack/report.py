"""What the embedded stack tells: where it listens, how it is, why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


class StackError(Exception):
    """The embedded stack could not do what was asked; the text is for a person."""


@dataclass(frozen=True, slots=True)
class StackAddress:
    """Where a running stack is reached, in the words of the contract's environment."""

    kafka_bootstrap_servers: str
    database_url: str

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point our own programs at this stack."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "DATABASE_URL": self.database_url,
        }


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One server of the stack; `log_tail` is empty unless it crashed."""

    name: str
    state: Literal["running", "crashed", "stopped"]
    pid: int | None
    detail: str
    log_path: Path
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The stack of one data folder; `address` is None unless both servers answer."""

    data_dir: Path
    state: Literal["running", "starting", "crashed", "stopped"]
    address: StackAddress | None
    parts: tuple[PartStatus, ...] = ()

    def sentence(self) -> str:
        """Say in a line, and after a crash with the ends of the logs, how the stack is."""
        lines = [f"The stack in {self.data_dir} {_STATE_TEXT[self.state]}."]
        for part in self.parts:
            if part.state == "crashed":
                lines.append(f"{part.name} {part.detail}; the end of {part.log_path}:")
                lines.extend(f"    {line}" for line in part.log_tail)
        return "\n".join(lines)


_STATE_TEXT = {
    "running": "is running",
    "starting": "is starting",
    "crashed": "has crashed",
    "stopped": "is not running",
}
