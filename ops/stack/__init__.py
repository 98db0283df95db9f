"""A real Apache Kafka and a real PostgreSQL, run from Python packages alone."""

from ops.stack.kafka import TOOLS, tool_command
from ops.stack.report import PartStatus, StackAddress, StackError, StackStatus
from ops.stack.stack import Stack, fetch

__all__ = [
    "TOOLS",
    "PartStatus",
    "Stack",
    "StackAddress",
    "StackError",
    "StackStatus",
    "fetch",
    "tool_command",
]
