"""The command line itself: help, where it finds its servers, and what a failure looks like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg.conninfo
import pytest

from ops.cli.main import VERBS, common_options_first
from ops.cli.screen import safe, safe_bytes
from ops.stack import StackAddress
from tests.ops.shell import Shell

NOWHERE = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "DATABASE_URL": "postgresql://wallet:secret@127.0.0.1:1/wallet",
}
LINES = [
    ["demo"],
    ["stack", "start"],
    ["stack", "stop"],
    ["stack", "status"],
    ["stack", "env"],
    ["stack", "console"],
    ["migrate"],
    ["topics", "apply"],
    ["topics", "list"],
    ["topics", "diff"],
    ["run", "worker"],
    ["run", "relay"],
    ["run", "fulfillment"],
    ["run", "all"],
    ["fulfillment-stub"],
    ["order"],
    ["orders"],
    ["send"],
    ["tail"],
    ["show"],
    ["history"],
    ["currencies", "list"],
    ["currencies", "add"],
    ["lag"],
    ["offsets", "show"],
    ["offsets", "reset"],
    ["outbox", "status"],
    ["dlt", "list"],
    ["dlt", "show"],
    ["dlt", "replay"],
    ["doctor"],
    ["verify"],
]


@pytest.fixture
def nowhere(tmp_path: Path) -> Shell:
    """No servers named, no stack running."""
    return Shell({"WALLET_DATA_DIR": str(tmp_path / "none")})


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_every_verb_has_a_help_page_with_examples(line: list[str]) -> None:
    page = Shell({}).fine(*line, "--help")
    assert f"Usage: wallet {' '.join(line)}" in page
    assert "Examples" in page
    assert f"wallet {line[0]}" in page.split("Examples")[1]


def test_the_overview_names_every_verb_and_the_exit_codes() -> None:
    page = Shell({}).fine("--help")
    assert [verb for verb in VERBS if f"│ {verb} " not in page] == []
    assert "3 could not connect" in page


def test_the_overview_imports_no_library_of_kafkas_or_postgres() -> None:
    code = (
        "import sys\nfrom ops.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n"
        "    sys.exit(str({'confluent_kafka', 'psycopg', 'pydantic'} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.stderr.strip() == "set()"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["bogus"], "No such command"),
        (["send"], "Missing argument"),
        (["send", "deposit", "alice"], "deposit needs AMOUNT"),
        (["send", "transfer", "alice", "5"], "transfer needs --to"),
        (["send", "deposit", "alice", "5", "--to", "bob"], "deposit takes no --to"),
        (["send", "get_wallet", "alice", "5"], "get_wallet takes no AMOUNT"),
        (["send", "depositt", "alice", "5"], "there is no type 'depositt'; there are bonus,"),
        (["send", "credit", "a", "5", "--topic", "order-request"], "there are cancel_order"),
        (["send", "credit", "a", "5", "--topic", "orders"], "--topic is one of wallet-command"),
        (["send", "credit", "a", "5", "--metadata", "x"], "--metadata takes KEY=VALUE"),
        (["tail", "--count", "0"], "Invalid value"),
        (["stack", "console", "rm"], "is none of kafka-configs"),
    ],
)
def test_a_line_that_makes_no_sense_is_code_2(line: list[str], sentence: str) -> None:
    ran = Shell({}).wallet(*line)
    assert ran.returncode == 2
    assert sentence in " ".join(ran.stderr.replace("│", " ").split())


def test_all_wrong_settings_are_told_at_once(nowhere: Shell) -> None:
    ran = nowhere.wallet("show", "alice", WALLET_PARTITIONS="many", WALLET_PARTITONS="3")
    assert ran.returncode == 2
    assert "WALLET_PARTITONS is no setting: WALLET_PARTITIONS is meant?" in ran.stderr
    assert "WALLET_PARTITIONS='many'" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "line", [["show", "a"], ["tail"], ["migrate"], ["run", "all"]], ids=" ".join
)
def test_without_servers_and_stack_a_sentence_says_how_to_start_one(
    line: list[str], nowhere: Shell
) -> None:
    ran = nowhere.wallet(*line)
    assert ran.returncode == 3
    assert "is not running" in ran.stderr
    assert "wallet stack start" in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("line", "given"),
    [
        (["run", "worker"], "KAFKA_BOOTSTRAP_SERVERS"),
        (["show", "a"], "KAFKA_BOOTSTRAP_SERVERS"),
        (["run", "worker"], "DATABASE_URL"),
        (["topics", "list"], "DATABASE_URL"),
    ],
)
def test_one_server_given_and_the_other_needed_is_a_wrong_setting(
    line: list[str], given: str
) -> None:
    ran = Shell({given: NOWHERE[given]}).wallet(*line)
    assert ran.returncode == 2
    assert f"{given} is set and" in ran.stderr


def test_postgres_may_be_named_by_libpqs_own_variables(shell: Shell) -> None:
    given = psycopg.conninfo.conninfo_to_dict(shell.env["DATABASE_URL"])
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
    names["password"] = "PGPASSWORD"
    libpq = Shell(
        {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        | {names[k]: str(v) for k, v in given.items() if k in names}
    )
    # The very database that was migrated before, and no other.
    assert libpq.json("migrate") == {"applied": []}
    libpq.fine("verify")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["migrate"], "PostgreSQL can't be reached"),
        (["show", "alice"], "PostgreSQL can't be reached"),
        (["verify"], "PostgreSQL can't be reached"),
        (["topics", "apply"], "Kafka at 127.0.0.1:1 can't be reached"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_server_that_does_not_answer_is_code_3(line: list[str], sentence: str) -> None:
    ran = Shell(NOWHERE).wallet(*line)
    assert ran.returncode == 3
    assert sentence in ran.stderr
    assert "secret" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_database_without_the_schema_is_told_apart(stack: StackAddress) -> None:
    empty = urlsplit(stack.database_url)._replace(path="/postgres").geturl()
    shell = Shell({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": empty})
    for line in (["show", "alice"], ["run", "worker"]):
        ran = shell.wallet(*line)
        assert ran.returncode == 1
        assert "run `wallet migrate`" in ran.stderr


def test_the_traceback_comes_with_debug_wherever_it_stands(nowhere: Shell) -> None:
    assert "Traceback" in nowhere.wallet("show", "alice", "--debug").stderr
    assert "Traceback" in nowhere.wallet("--debug", "show", "alice").stderr
    assert "Traceback" in nowhere.wallet("show", "alice", WALLET_DEBUG="1").stderr


def test_the_data_directory_may_be_named_anywhere(nowhere: Shell, tmp_path: Path) -> None:
    assert (
        str(tmp_path / "b") in nowhere.wallet("stack", "env", "--data-dir", f"{tmp_path}/b").stderr
    )
    assert str(tmp_path / "c") in nowhere.wallet(f"--data-dir={tmp_path}/c", "stack", "env").stderr


def test_options_are_not_taken_from_a_console_tools_line() -> None:
    line = ["stack", "--debug", "console", "kafka-topics", "--debug", "--data-dir", "x"]
    assert common_options_first(line) == [
        *["--debug", "stack", "console", "kafka-topics", "--debug", "--data-dir", "x"]
    ]
    assert common_options_first(["send", "--", "--debug"]) == ["send", "--", "--debug"]


def test_no_record_can_move_a_terminals_cursor() -> None:
    assert safe("a\x1b[2Jb\n\u202ec") == "a\\x1b[2Jb\\n\\u202ec"
    assert safe_bytes(b"\xff\x00ok") == "\\xff\\x00ok"
    assert safe_bytes(None) == "null"
    assert safe_bytes(b"x" * 500, 10) == "xxxxxxxxx…"
