"""`wallet tail`: records as they come."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer

from ops.cli import line, place
from ops.cli.failure import VerbError
from ops.cli.screen import console, print_json_line, say
from ops.cli.verb import examples, single
from ops.reading import Reader, Record, UnknownTopicError
from schemas.topic import DEAD_LETTERS, ORDER_RESULT, TOPICS, WALLET_RESULT, Topics

_DEFAULT = (WALLET_RESULT, ORDER_RESULT, *DEAD_LETTERS)

_EPILOG = examples(
    "wallet tail",
    "wallet tail wallet-command wallet-result",
    "wallet tail wallet-result --from-beginning --json | jq .value.status",
    "wallet tail wallet-command-dlt --from-beginning --count 1",
)


def _tail(
    topics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC...",
            help="Topics, with or without the prefix. "
            "Default: both results and both dead letter topics.",
            show_default=False,
        ),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="All that is there first, not from now on.")
    ] = False,
    count: Annotated[
        int | None,
        typer.Option(min=1, metavar="COUNT", help="End after so many records.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, headers and all.")
    ] = False,
) -> None:
    """Show records as they come, a line each, as a read_committed reader sees them."""
    settings = place.kafka()
    names = Topics(settings.topic_prefix)
    wanted = list(dict.fromkeys(_real(names, topic) for topic in topics or _DEFAULT))
    screen = console()
    try:
        with Reader(settings, lambda: say("Kafka is away, waiting for it.")) as reader:
            first, ends = reader.bounds(wanted)
            reader.start(first if from_beginning else ends)
            if not from_beginning:
                say(f"Waiting for records of {', '.join(wanted)}; Ctrl-C ends it.")
            for record in _counted(reader.records(), count):
                if as_json:
                    print_json_line(line.as_json(record))
                else:
                    text = line.as_text(record, names, with_topic=len(wanted) > 1)
                    screen.print(text, soft_wrap=True)
    except UnknownTopicError as error:
        known = ", ".join(TOPICS)
        raise VerbError(
            f"{error}. Ours are {known}; `wallet topics apply` makes the missing ones."
        ) from error


def _real(names: Topics, topic: str) -> str:
    """A name without the prefix means ours; any other is taken as it is."""
    return names.real(topic) if topic in TOPICS else topic


def _counted(records: Iterator[Record], count: int | None) -> Iterator[Record]:
    return records if count is None else islice(records, count)


application = single(_tail, _EPILOG, "tail")
