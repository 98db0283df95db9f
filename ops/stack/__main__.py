"""Fetches what the embedded stack needs, so that no start and no test has to wait for it."""

from __future__ import annotations

import sys

from ops.stack.report import StackError
from ops.stack.stack import fetch


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    try:
        fetch(_say)
    except StackError as error:
        sys.exit(str(error))
