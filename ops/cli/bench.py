"""`wallet bench`: how fast this is, here."""

from typing import Annotated

import typer

from ops.bench.load import HOT, MIXED
from ops.bench.measure import Plan
from ops.bench.report import as_document, show
from ops.bench.run import run_bench
from ops.cli import place
from ops.cli.failure import UsageError
from ops.cli.screen import console, print_json
from ops.cli.verb import Json, examples, single

_EPILOG = examples(
    "wallet bench",
    "wallet bench --commands 20000 --no-baseline",
    "wallet bench --mixed --no-baseline",
    "wallet bench --hot --no-baseline",
    "wallet bench --ladder",
    "wallet bench --orders 10000 --no-baseline",
    "wallet bench --workers 2 --json | jq .rate.per_s",
)

# What is measured beside the plain rate.
Mixed = Annotated[
    bool,
    typer.Option(
        "--mixed/--no-mixed",
        help="Measure the rate of a mix of all types too, in turns; off to keep the run short.",
    ),
]
Hot = Annotated[
    bool,
    typer.Option(
        "--hot/--no-hot",
        help="Measure the rate with all on one wallet, one recipient, one merchant, too.",
    ),
]
Ladder = Annotated[
    bool,
    typer.Option(
        "--ladder/--no-ladder",
        help="Measure the latency at rising rates, to saturation, too; takes some minutes.",
    ),
]


def _bench(
    *,
    commands: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Commands in each round of the rate.")
    ] = 100_000,
    clients: Annotated[
        int, typer.Option(min=2, metavar="COUNT", help="Clients that the commands are for.")
    ] = 10_000,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="End a round so long after its first result, if commands still wait.",
            show_default=False,
        ),
    ] = None,
    latency_rate: Annotated[
        int, typer.Option(min=1, metavar="PER_SECOND", help="Commands a second for the latency.")
    ] = 100,
    latency_seconds: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long the latency is measured.")
    ] = 20,
    workers: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Worker processes, the baseline's too.")
    ] = 1,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline",
            help="Compare with one record per transaction and a polling relay, in turns.",
        ),
    ] = True,
    mixed: Mixed = False,
    hot: Hot = False,
    ladder: Ladder = False,
    orders: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="COUNT",
            help="Orders in each of two rounds, fulfilled at once and after 50 ms, from request to "
            "completed; 0: no such rounds.",
        ),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Measure from published to readable: the sustained rate, the latency, and where time goes.

    It makes a database and topics of its own and deletes them. Takes a minute or two; what else
    runs meanwhile makes the figures worse. Exit 1 if the books do not hold.
    """
    found = place.both()
    if workers > found.settings.partitions:
        raise UsageError(f"{workers} workers can't share {found.settings.partitions} partitions")
    others = [*([MIXED] if mixed else []), *(HOT if hot else [])]
    if others and seconds is not None:
        option = "--mixed" if mixed else "--hot"
        raise UsageError(f"{option} needs whole rounds, which --seconds ends early: leave out one")
    plan = Plan(
        commands, clients, seconds, latency_rate, latency_seconds, workers, baseline, others,
        orders, ladder,
    )  # fmt: skip
    conditions, figures = run_bench(found, plan)
    if as_json:
        print_json(as_document(conditions, figures))
    else:
        show(conditions, figures, console())
    if not figures.books_hold:
        raise typer.Exit(1)


application = single(_bench, _EPILOG, "bench")
