"""Command lines that nobody would mean: a sentence, an exit code of the contract, no traceback."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.cli.main import VERBS, _application
from tests.ops.shell import Ran, Shell

# They start servers, or hand their words to another program, when a line happens to be right.
_STARTING = (["demo"], ["stack", "start"], ["stack", "console"], ["bench"], ["fulfillment-stub"])
_words = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
_junk = _words | st.sampled_from(
    [
        "",
        "-",
        "--",
        "---",
        "-1",
        "0",
        "9" * 40,
        "1e9",
        "nan",
        "\x1b[2J",
        "\udcff",
        "%s",
        "[red]",
        "=",
        "*",
    ]
)


def _lines() -> dict[tuple[str, ...], Any]:
    """Every verb that there is, by the words that name it."""
    found: dict[tuple[str, ...], Any] = {}
    for verb in VERBS:
        whole = typer.main.get_command(_application([verb]))
        made = whole.commands[verb]  # type: ignore[attr-defined]
        further = getattr(made, "commands", None)
        found |= {(verb, n): c for n, c in further.items()} if further else {(verb,): made}
    return found


LINES = _lines()
_QUIET = settings(
    max_examples=50,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
    ],
)


@pytest.fixture
def nowhere(tmp_path: Path) -> Shell:
    """No servers named, and no stack in the data directory."""
    return Shell({"WALLET_DATA_DIR": str(tmp_path / "none")})


def _check(ran: Ran) -> None:
    assert "Traceback" not in ran.stderr
    said = ran.stderr + ran.stdout
    assert not [c for c in said if unicodedata.category(c) == "Cc" and c != "\n"], said
    assert said.strip()


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_no_verb_takes_an_option_that_it_has_not(line: tuple[str, ...], nowhere: Shell) -> None:
    if line == ("stack", "console"):  # its options are the tool's
        return
    ran = nowhere.wallet(*line, "--nonsense")
    _check(ran)
    assert (ran.returncode, ran.stdout) == (2, "")


def _options() -> list[tuple[tuple[str, ...], str]]:
    """Every option that takes a value of some kind, not just any text."""
    return [
        (line, option.opts[0])
        for line, command in LINES.items()
        for option in command.params
        if re.search("int|float", str(option.type_descriptor.annotation))
    ]


@pytest.mark.parametrize(("line", "option"), _options(), ids=str)
def test_a_value_of_the_wrong_kind_is_code_2(
    line: tuple[str, ...], option: str, nowhere: Shell
) -> None:
    for wrong in ("", "many", "\x1b[2J", "0x10"):
        ran = nowhere.wallet(*line, option, wrong)
        _check(ran)
        assert (ran.returncode, ran.stdout) == (2, ""), ran


@_QUIET
@given(
    st.sampled_from([line for line in LINES if list(line) not in _STARTING]),
    st.lists(_junk, max_size=4),
)
def test_any_words_behind_a_verb_are_answered_by_a_sentence(
    nowhere: Shell, line: tuple[str, ...], words: list[str]
) -> None:
    ran = nowhere.wallet(*line, *words)
    _check(ran)
    assert ran.returncode in (0, 1, 2, 3), ran


@_QUIET
@given(st.lists(_junk, max_size=4).filter(lambda words: not {*words} & {*VERBS}))
def test_any_words_without_a_verb_are_code_2(nowhere: Shell, words: list[str]) -> None:
    ran = nowhere.wallet(*words)
    _check(ran)
    assert ran.returncode in (0, 2), ran
