"""The fulfillment service of a measurement with orders."""

from threading import Event
from typing import Any

from ops.bench.crew import tell
from ops.fulfillment_stub.behaviour import Behaviour
from ops.fulfillment_stub.server import Stub, serving
from schemas.settings import Settings


def run_stub(_settings: Settings, arguments: dict[str, Any], stop: Event) -> None:
    """Serve a fulfillment API that takes `delay_ms` for each call. Says {"url"}."""
    with serving(Stub(Behaviour(delay_ms=arguments["delay_ms"]))) as url:
        tell({"url": url})
        stop.wait()
