"""How processes log: one line an event on stderr, as text for a person or JSON for a machine."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from schemas.settings import Settings


def configure_logging(settings: Settings, *, process: str) -> None:
    """Send our own log and the libraries' to stderr; every line names its `process`.

    WALLET_LOG_FORMAT and WALLET_LOG_LEVEL decide; libraries are heard from warnings on.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(settings),
            ],
        )
    )
    level = settings.log_level.upper()
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # It warns of every pipeline that an error ends; the error itself comes to us.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    for ours in ("consumers", "ledger", "ops", "producers", "schemas"):
        logging.getLogger(ours).setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _named(process: str) -> Processor:
    def add(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    return add


def _rendering(settings: Settings) -> list[Processor]:
    if settings.log_format == "json":
        render = structlog.processors.JSONRenderer(default=str)
        return [structlog.processors.format_exc_info, render]
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
