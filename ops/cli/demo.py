"""`wallet demo`: everything at once."""

import typer

from ops.cli.verb import examples, single
from ops.demo.play import play_demo

_EPILOG = examples("wallet demo", "make demo")


def _demo() -> None:
    """Tell a story through a real Kafka and PostgreSQL of its own: each command beside its
    result, then the balances and the books' verdict.

    Needs no server and leaves nothing behind. Exit 1 unless everything came as expected.
    """
    if not play_demo():
        raise typer.Exit(1)


application = single(_demo, _EPILOG, "demo")
