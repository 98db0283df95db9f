"""A finding: what was looked at, how it is, and what to do."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """`remedy` is None where all is well. An error breaks a promise, a warning may come to."""

    level: Literal["ok", "warning", "error"]
    check: str
    sentence: str
    remedy: str | None = None


def well(check: str, sentence: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", check, sentence)


def warning(check: str, sentence: str, remedy: str) -> Finding:
    """It works, and should be seen to."""
    return Finding("warning", check, sentence, remedy)


def error(check: str, sentence: str, remedy: str) -> Finding:
    """Something promised does not hold, or won't for long."""
    return Finding("error", check, sentence, remedy)
