"""`wallet topics`: the topics on the broker."""

import typer
from rich.text import Text

from ops import topic
from ops.cli import place
from ops.cli.screen import console, print_json, say, table
from ops.cli.verb import Json, examples, group
from ops.topic import Difference, TopicState

application = group(
    "topics",
    "The topics: make what is missing, list them, compare them with what they should be.",
    epilog=examples("wallet topics apply", "wallet topics list --json", "wallet topics diff"),
)


@application.command(
    epilog=examples("wallet topics apply", "WALLET_PARTITIONS=48 wallet topics apply")
)
def apply(as_json: Json = False) -> None:
    """Make the missing topics and mend configs that differ.

    May run again at any time, and by two at once. A partition count is never changed: exit 1
    where it differs from WALLET_PARTITIONS, and nothing is touched.
    """
    settings = place.kafka()
    changed = topic.apply(topic.admin_client(settings), settings)
    if as_json:
        print_json({"changed": [_difference(d) for d in changed]})
    elif not changed:
        say("All topics are as they should be.")
    else:
        for difference in changed:
            say(_sentence(difference))


@application.command("list", epilog=examples("wallet topics list", "wallet topics list --json"))
def list_(as_json: Json = False) -> None:
    """List the topics with their partitions and configs; exit 1 if one is missing."""
    found = _states()
    if as_json:
        print_json([_state(state) for state in found])
    else:
        _print_states(found)
    if any(state.is_missing for state in found):
        raise typer.Exit(1)


@application.command(epilog=examples("wallet topics diff"))
def diff(as_json: Json = False) -> None:
    """Say what differs from what `apply` would make; exit 1 if anything does."""
    found = list(topic.differences(_states()))
    if as_json:
        print_json([_difference(difference) for difference in found])
    elif not found:
        say("All topics are as they should be.")
    else:
        rows = table("Topic", "What", "Is", "Should be")
        for d in found:
            rows.add_row(d.topic, d.what, d.have or "missing", d.want)
        console().print(rows)
    if found:
        raise typer.Exit(1)


def _states() -> list[TopicState]:
    settings = place.kafka()
    return topic.states(topic.admin_client(settings), topic.specs(settings))


def _sentence(difference: Difference) -> str:
    if difference.have is None:
        return f"{difference.topic}: made with {difference.want}"
    return f"{difference.topic}: {difference.what} {difference.have} → {difference.want}"


def _difference(difference: Difference) -> dict[str, str | None]:
    return {
        "topic": difference.topic,
        "what": difference.what,
        "have": difference.have,
        "want": difference.want,
    }


def _state(state: TopicState) -> dict[str, object]:
    return {
        "topic": state.spec.name,
        "partitions": state.partition_count,
        "config": None if state.is_missing else state.config,
    }


def _print_states(found: list[TopicState]) -> None:
    rows = table("Topic", "Partitions", "Cleanup", "Kept", "Record at most", right=("Partitions",))
    for state in found:
        config = state.config
        rows.add_row(
            state.spec.name,
            Text("missing", "red") if state.is_missing else str(state.partition_count),
            config.get("cleanup.policy", ""),
            _kept(config.get("retention.ms"), config.get("cleanup.policy")),
            _mebibytes(config.get("max.message.bytes")),
        )
    console().print(rows)


def _kept(retention_ms: str | None, cleanup: str | None) -> str:
    if cleanup == "compact":
        return "the newest per key"
    if retention_ms is None:
        return ""
    return "for ever" if retention_ms == "-1" else f"{int(retention_ms) / 86_400_000:g} days"


def _mebibytes(value: str | None) -> str:
    return "" if value is None else f"{int(value) / 1024**2:g} MiB"
