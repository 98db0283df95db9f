"""`wallet fulfillment-stub`: an HTTP fulfillment service with a switch for faults."""

import threading
from typing import Annotated

import typer
from pydantic import ValidationError

from ops.cli.failure import UsageError, VerbError
from ops.cli.verb import examples, single
from ops.fulfillment_stub.behaviour import Behaviour
from ops.fulfillment_stub.server import Stub, serving
from ops.process import run_until_signalled

_EPILOG = examples(
    "wallet fulfillment-stub",
    "FULFILLMENT_URL=http://127.0.0.1:8900/orders wallet run fulfillment",
    "wallet fulfillment-stub --delay-ms 50 --error-rate 0.1 --hang-rate 0.01",
    "curl -X PUT -d '{\"down\": true}' http://127.0.0.1:8900/admin",
    "curl http://127.0.0.1:8900/admin/orders",
)


def _share(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        min=0, max=1, metavar="SHARE", help=f"Share of calls {what}, 0 to 1."
    )
    return option


def _stub(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port; 0: any that is free.")
    ] = 8_900,
    host: Annotated[str, typer.Option(help="The address to serve on; 0.0.0.0: all.")] = "127.0.0.1",
    delay_ms: Annotated[float, typer.Option(min=0, help="How long each call takes.")] = 0.0,
    refuse_rate: Annotated[float, _share("refused by 422")] = 0.0,
    limit_rate: Annotated[float, _share("put off by 429 with Retry-After: 1")] = 0.0,
    error_rate: Annotated[float, _share("answered by 503")] = 0.0,
    hang_rate: Annotated[float, _share("never answered")] = 0.0,
    reset_rate: Annotated[float, _share("whose connection is reset")] = 0.0,
    garbage_rate: Annotated[float, _share("answered by 200 and no id")] = 0.0,
    down: Annotated[bool, typer.Option("--down", help="Answer every call by 503.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Have the same calls go wrong again.", show_default=False)
    ] = None,
    bound: Annotated[
        bool, typer.Option("--bound", hidden=True, help="End when standard input closes.")
    ] = False,
) -> None:
    """Serve a fulfillment API that remembers its idempotency keys, until Ctrl-C or SIGTERM.

    Orders go by POST to any path but /admin. GET /admin shows the switches and counts, PUT /admin
    sets switches by JSON, GET /admin/orders tells each key's calls and id. Half of the calls that
    go wrong have fulfilled the order all the same. It is for trying things, not for the world.
    """
    try:
        behaviour = Behaviour(
            down=down, delay_ms=delay_ms, refuse_rate=refuse_rate, limit_rate=limit_rate,
            error_rate=error_rate, hang_rate=hang_rate, reset_rate=reset_rate,
            garbage_rate=garbage_rate,
        )  # fmt: skip
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error

    def serve(stop: threading.Event) -> None:
        with serving(Stub(behaviour, seed), host, port) as url:
            typer.echo(f"FULFILLMENT_URL={url}")
            stop.wait()

    try:
        run_until_signalled(serve, bound=bound)
    except OSError as error:
        raise VerbError(f"{host}:{port} can't be served on: {error.strerror}") from error


application = single(_stub, _EPILOG, "fulfillment-stub")
