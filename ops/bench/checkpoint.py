"""A checkpoint in the middle of a round: it slows down what is measured, as it does in life."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from psycopg import Connection


class Checkpoint:
    """Has PostgreSQL make checkpoints by a thread of its own. A context manager: leaving it waits.

    Where the login may not, none is made, and `left_out` says so.
    """

    def __init__(self, session: Connection[Any]) -> None:
        self._session = session
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._running: Future[float] | None = None
        row = session.execute("SELECT pg_has_role('pg_checkpoint', 'USAGE')").fetchone()
        self.left_out = (
            None
            if row and row[0]
            else "checkpoints in the middle of rounds: this login lacks pg_checkpoint"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._thread.shutdown(wait=True)

    def begin(self) -> None:
        """Have one made from now on, as quickly as the disk takes it."""
        if self.left_out is None:
            self._running = self._thread.submit(self._make)

    def end(self) -> float | None:
        """Wait until it is made: how long it took in seconds, None where none began."""
        running, self._running = self._running, None
        return None if running is None else running.result()

    def make(self) -> None:
        """Have one made, and wait until it is."""
        self.begin()
        self.end()

    def _make(self) -> float:
        began = time.monotonic()
        self._session.execute("CHECKPOINT")
        return time.monotonic() - began
