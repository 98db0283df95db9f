"""Settings that nobody would mean: every mistake is told in a sentence, and no secret is."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.settings import SECRETS, VARIABLES, Settings, SettingsError, load_settings
from tests.ops.shell import Shell

_MARK = "s3cr3t"
# What an environment can hold: no NUL, and bytes that are no UTF-8 as Python has them.
_texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)
_TEMPTING = """0 -1 1 1e3 true no / ~nobody SSL SASL_SSL PLAIN 5/s postgresql://u:p@h/d host=x a=b
USD .. [] {}"""
_junk = _texts | st.sampled_from([*_TEMPTING.split(), " ", "\n", "9" * 30, "\udcff"])


def _variable() -> st.SearchStrategy[tuple[str, str]]:
    plain = st.tuples(st.sampled_from(sorted(set(VARIABLES) - SECRETS)), _junk)
    secret = st.tuples(st.sampled_from(sorted(SECRETS)), _junk.map(lambda text: text + _MARK))
    url = st.tuples(
        st.sampled_from([name for name in sorted(SECRETS) if name.endswith("_URL")]),
        _junk.map(lambda text: f"postgresql://wallet:{_MARK}@{text}"),
    )
    file = st.tuples(st.sampled_from([f"{name}_FILE" for name in sorted(SECRETS)]), _junk)
    unknown = st.tuples(_texts.map(lambda text: f"WALLET_{text.replace('=', '')}"), _junk)
    return st.one_of(plain, secret, url, file, unknown)


environs = st.lists(_variable(), max_size=6).map(dict)


def _told(environ: dict[str, str]) -> str | None:
    """What is told of the mistakes; None where there are none."""
    try:
        found = load_settings({**environ, "HOME": "/nowhere"})
    except SettingsError as error:
        return str(error)
    assert isinstance(found, Settings)
    assert _MARK not in repr(found)
    return None


@given(environs)
def test_any_environment_is_taken_or_refused_and_shows_no_secret(environ: dict[str, str]) -> None:
    told = _told(environ)
    assert told is None or told.strip()
    assert _MARK not in (told or "")


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@example({"WALLET_\x1f": "", "KAFKA_SECURITY_PROTOCOL": "SASL_\x1b[2J"})  # repeated as they were
@example({"WALLET_DEBUG": "1", "KAFKA_SECURITY_PROTOCOL": "SASL_\x1b[2J"})  # by the traceback, too
@given(environs.filter(lambda environ: _told(environ) is not None))
def test_wrong_settings_are_code_2_of_any_verb(environ: dict[str, str]) -> None:
    ran = Shell({"HOME": "/nowhere", **environ}).wallet("show", "alice")
    assert ran.returncode == 2, ran
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr or "WALLET_DEBUG" in environ  # which asks for it
    assert _MARK not in ran.stderr
    assert not [c for c in ran.stderr if not c.isprintable() and c != "\n"], ran.stderr


@pytest.mark.parametrize("variable", sorted(VARIABLES))
def test_every_variable_says_what_would_be_right(variable: str) -> None:
    for wrong in ("\n", "no such thing", "-9"):
        told = _told({variable: wrong})
        assert told is None or variable in told
