"""The calls of a fulfillment process, and how they end with it."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from ledger.fulfillment import Job
from producers import caller
from producers.caller import Caller, Order, Policy
from producers.reply import Outcome, Reply


def test_a_call_that_loses_its_cancellation_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = threading.Event()

    async def deaf(*_: Any) -> Reply:
        begun.set()
        # As asyncio does where a timeout comes at the same moment.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return Reply(Outcome.UNAVAILABLE, error="timeout")

    monkeypatch.setattr(caller, "call", deaf)
    job = Job("anna", "o-1", 1, 0, 0, 0, 1, "USD", 100, None, None, None)
    calling = Caller(Policy("http://127.0.0.1:9/orders", 1, 30.0, 0.1))
    calling.__enter__()
    calling.submit([Order(job, b"{}")], time.monotonic())
    assert begun.wait(5)
    leaving = threading.Thread(target=calling.__exit__, daemon=True)
    leaving.start()
    leaving.join(5)
    assert not leaving.is_alive()
