"""What runs in a thread of its own for the length of a `with` block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(name: str, run: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run it until the block ends, which sets the event; what it raised is raised then."""
    stop, raised = threading.Event(), list[BaseException]()

    def body() -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            raised.append(error)

    thread = threading.Thread(target=body, name=name)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)
        assert not thread.is_alive()
        if raised:  # it may be why the block failed
            raise raised[0]
