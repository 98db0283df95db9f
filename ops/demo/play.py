"""The demo from beginning to end: sets the stage, tells the story, checks what came of it."""

import time
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from ledger.database import connect
from ledger.verification import verify
from ops.cli.screen import console
from ops.demo.conversation import Conversation
from ops.demo.show import show_balances, show_end, show_received, show_step
from ops.demo.stage import Stage, stage
from ops.demo.story import BALANCES, STORY, Step
from ops.fulfillment_stub.server import Stub
from ops.reading import Record
from ops.verify import show_findings
from producers.publisher import Delivered
from schemas.header import DLT_REASON

# How long a second answer to a record, which there must not be, is waited for.
_SECOND_ANSWER_S = 0.5


def play_demo() -> bool:
    """Play the demo on stdout; whether everything came as expected.

    Takes some 15 s, the first time longer, since Kafka is downloaded. Nothing is left running or
    lying about, however it ends. Raises StackError, VerbError, psycopg.Error, KafkaException.
    """
    screen = console()
    started = time.monotonic()

    def progress(text: str) -> None:
        screen.print(Text(text, "dim"), soft_wrap=True)

    with stage(progress) as made:
        problems = _perform(screen, made)
    codes = {role: code for role, code in made.exit_codes.items() if code != 0}
    if codes:
        problems.append(f"the processes did not end well: {codes}")
    steps = sum(len(chapter.steps) for chapter in STORY)
    duration_s = time.monotonic() - started
    screen.print()
    if problems:
        screen.print(Text("Not as expected:", "bold red"))
        for problem in problems:
            screen.print(Text(f"  {problem}", "red"))
    else:
        told = f"Everything came as expected: {steps} records, each answered once."
        screen.print(Text(told, "bold green"))
    screen.print(Text(f"{duration_s:.0f} s; servers and processes have ended.", "dim"))
    return not problems


def _perform(screen: Console, made: Stage) -> list[str]:
    """Tell the story and check the ends; gives what was not as expected."""
    with Conversation(made) as conversation:
        problems = list(_tell(screen, conversation, made.stub))
        conversation.read_on(_SECOND_ANSWER_S)
        for place, answers in conversation.answers.items():
            if len(answers) != 1:
                problems.append(f"{place} was answered {len(answers)} times")
        _headline(screen, "The balances, from the topic wallet-balance")
        show_balances(screen, conversation.balances)
        if conversation.balances != BALANCES:
            problems.append(f"the balances should be {BALANCES}")
    _headline(screen, "The books")
    return problems + _check_books(screen, made.database_url)


def _tell(screen: Console, conversation: Conversation, stub: Stub) -> Iterator[str]:
    """Send step after step, each when the one before is answered, and show both."""
    for chapter in STORY:
        _headline(screen, chapter.title)
        for step in chapter.steps:
            stub.behaviour = stub.behaviour.changed({"down": step.is_down})
            place = conversation.publish(step)
            answer = conversation.answer(place)
            show_step(screen, step, answer)
            for problem in chain(
                _differences(step, answer),
                _reach(screen, conversation, step, place),
                _end(screen, conversation, step),
            ):
                screen.print(Text(f"      {problem}", "bold red"))
                yield f"{step.client}: {problem}"


def _reach(
    screen: Console, conversation: Conversation, step: Step, place: Delivered
) -> Iterator[str]:
    """Show what the other client of a transfer is told."""
    if step.received is None:
        return
    value = conversation.received(place)
    show_received(screen, value)
    if (value["client_id"], value["balance_after"]) != step.received:
        yield f"{step.received[0]} should be told of a balance of {step.received[1]}"


def _end(screen: Console, conversation: Conversation, step: Step) -> Iterator[str]:
    """Show what became of an order."""
    if step.end is None:
        return
    event_id, balance = step.end
    value = conversation.event(event_id)
    show_end(screen, value)
    if value["balance_after"] != balance:
        yield f"the balance should be {balance}, and is {value['balance_after']}"


def _differences(step: Step, answer: Record) -> Iterator[str]:
    """What the answer says otherwise than expected."""
    reason = answer.headers.get(DLT_REASON)
    value: Mapping[str, Any] = {"status": "dead", "reason": (reason or b"").decode()}
    if reason is None:
        value = orjson.loads(answer.value or b"{}")
    expected = step.expected
    for name, want, have in (
        ("status", expected.status, value["status"]),
        ("reason", expected.reason, value["reason"]),
        ("balance", expected.balance, value.get("balance_after")),
        ("duplicate", expected.duplicate, value.get("duplicate", False)),
        ("wallets", expected.wallets, _balances(value.get("wallets"))),
    ):
        if want != have:
            yield f"{name} should be {want}, and is {have}"


def _balances(wallets: list[dict[str, Any]] | None) -> dict[str, str] | None:
    return None if wallets is None else {w["currency"]: w["balance"] for w in wallets}


def _check_books(screen: Console, database_url: str) -> list[str]:
    with connect(database_url, application_name="wallet-demo", long_queries=True) as connection:
        findings = verify(connection)
    show_findings(findings, screen)
    return [f"the books: {f.sentence}" for f in findings if not f.holds]


def _headline(screen: Console, text: str) -> None:
    screen.print()
    screen.print(Text(text, "bold"))
