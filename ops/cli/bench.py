"""`wallet bench`: how fast this is, here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ops.bench.document import as_document
from ops.bench.figure import Figures
from ops.bench.load import HOT, MIXED
from ops.bench.plan import Plan
from ops.bench.plot import draw_endurance, draw_ladder
from ops.bench.report import show
from ops.bench.run import run_bench
from ops.cli import place
from ops.cli.failure import UsageError
from ops.cli.screen import console, print_json, say
from ops.cli.verb import Json, examples, single

_EPILOG = examples(
    "wallet bench",
    "wallet bench --commands 20000 --no-baseline",
    "wallet bench --mixed --no-baseline",
    "wallet bench --hot --no-baseline",
    "wallet bench --ladder --plot latency.svg",
    "wallet bench --endure 60 --plot endurance.svg --no-baseline",
    "wallet bench --orders 10000 --no-baseline",
    "wallet bench --workers 1,2,4 --no-baseline",
    "wallet bench --preload 10000000 --no-baseline",
    "wallet bench --json | jq .rate.per_s",
)

# A Java that was just started has compiled by then what a broker does most often.
_WARM_UP_MAX = 100_000
_ENDURE_MINUTES_MIN = 0.1

WarmUp = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="COUNT",
        help="Commands of a round before all others that counts for nothing: a broker just started "
        "takes more time at first. Without it as many as a round has, at most 100,000; 0: none.",
        show_default=False,
    ),
]
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
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.svg",
        help="Draw the ladder's latencies over the rate, beside the baseline's, or what piled up "
        "with --endure; with both options FILE-ladder.svg and FILE-endurance.svg.",
        show_default=False,
        dir_okay=False,
    ),
]
Endure = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="MINUTES",
        help="Keep half of the measured rate up for so long, a transaction open in another session "
        "for a sixth of it, and tell what piles up; 0: no such run.",
    ),
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="COUNT[,COUNT…]",
        help="Worker processes, the baseline's too; 1,2,4 measures the rate with each in turns, "
        "and the rest with the first.",
    ),
]
Orders = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="COUNT",
        help="Orders in each of two rounds, fulfilled at once and after 50 ms, from request to "
        "completed; 0: no such rounds.",
    ),
]
Preload = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="COUNT",
        help="Load so many transactions and measure the rate before and after, across a checkpoint "
        "each; 10,000,000 take some minutes and 5 GB of disk. 0: no such rounds.",
    ),
]
PreloadClients = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="COUNT",
        help="How many more clients those transactions are of; without it a tenth as many.",
        show_default=False,
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
    warm_up: WarmUp = None,
    workers: Workers = "1",
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
    endure: Endure = 0,
    plot: Plot = None,
    orders: Orders = 0,
    preload: Preload = 0,
    preload_clients: PreloadClients = None,
    as_json: Json = False,
) -> None:
    """Measure from published to readable: the sustained rate, the latency, and where time goes.

    It makes a database and topics of its own and deletes them. Takes two to three minutes; what
    else runs meanwhile makes the figures worse. Exit 1 if the books do not hold.
    """
    others = [*([MIXED] if mixed else []), *(HOT if hot else [])]
    plan = Plan(
        commands, clients, seconds, latency_rate, latency_seconds, _counts(workers), baseline,
        others, orders, ladder, preload, _preload_clients(preload, preload_clients),
        min(commands, _WARM_UP_MAX) if warm_up is None else warm_up, endure,
    )  # fmt: skip
    if 0 < endure < _ENDURE_MINUTES_MIN:
        raise UsageError(f"--endure takes {_ENDURE_MINUTES_MIN} minutes or more, or 0 for none")
    plots = {} if plot is None else _plots(plot, ladder=ladder, endurance=endure > 0)
    if seconds is not None:
        _check_whole({"--mixed": mixed, "--hot": hot, "--preload": preload > 0,
                      "--workers with several counts": len(plan.workers) > 1})  # fmt: skip
    found = place.both()
    most, partitions = max(plan.workers), found.settings.partitions
    if most > partitions:
        raise UsageError(f"{most} workers can't share {partitions} partitions")
    conditions, figures = run_bench(found, plan)
    if as_json:
        print_json(as_document(conditions, figures))
    else:
        show(conditions, figures, console())
    _draw(plots, figures)
    if not figures.books_hold:
        raise typer.Exit(1)


def _counts(text: str) -> tuple[int, ...]:
    """`1,2,4` as numbers. Raises UsageError."""
    words = [word.strip() for word in text.split(",")]
    counts = tuple(int(word) for word in words if word.isascii() and word.isdigit())
    if len(counts) < len(words) or 0 in counts or len(set(counts)) < len(counts):
        raise UsageError(f"--workers takes a number from 1 on, or several like 1,2,4; not {text}")
    return counts


def _preload_clients(preload: int, given: int | None) -> int:
    """How many clients more, 0 where nothing is loaded. Raises UsageError."""
    clients = max(2, preload // 10) if given is None else given
    if preload == 0 and given is None:
        return 0
    if preload < clients:
        raise UsageError(
            f"--preload {preload} is too few for {clients} clients: each needs a transaction"
        )
    return clients


def _plots(file: Path, *, ladder: bool, endurance: bool) -> dict[str, Path]:
    """Which picture goes into which file: of two, each into one of its name.

    Raises UsageError where there will be nothing to draw, or nowhere to draw it.
    """
    names = [name for name, asked in (("ladder", ladder), ("endurance", endurance)) if asked]
    if not names:
        raise UsageError("--plot draws what --ladder or --endure measures: give one of them, too")
    plots = {name: file.with_stem(f"{file.stem}-{name}") for name in names}
    if len(names) == 1:
        plots = {names[0]: file}
    for each in plots.values():
        if not os.access(each if each.exists() else each.parent, os.W_OK):
            raise UsageError(f"{each} can't be written")
    return plots


def _draw(plots: Mapping[str, Path], figures: Figures) -> None:
    for name, file in plots.items():
        if name == "ladder":
            picture = draw_ladder(figures)
        elif figures.endurance is not None:
            picture = draw_endurance(figures.endurance)
        else:  # without a rate there was no half of it
            say(f"not drawn, as nothing was measured: {file}")
            continue
        file.write_text(picture, encoding="utf-8")
        say(f"drawn: {file}")


def _check_whole(asked: Mapping[str, bool]) -> None:
    """Raise UsageError if something was asked for that needs whole rounds."""
    for option in (option for option, is_asked in asked.items() if is_asked):
        raise UsageError(f"{option} needs whole rounds, which --seconds ends early: leave out one")


application = single(_bench, _EPILOG, "bench")
