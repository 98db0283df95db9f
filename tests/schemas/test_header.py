"""Headers: what goes out, what a dead letter says, what of an input's is handed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.header import (
    DeadLetter,
    correlation,
    dead_letter_headers,
    event_headers,
    pack_headers,
    replay_count,
    trace_headers,
    unpack_headers,
)

NOON = "2026-03-01T12:00:00.000000Z"
headers = st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9) | st.none()), max_size=5)


@pytest.mark.contract
def test_an_event_bears_the_headers_of_cloudevents() -> None:
    further: list[tuple[str, bytes | None]] = [("traceparent", b"00-ab-cd-01")]
    made = event_headers(
        "wallet-command/3/7", "wallet.command.applied.v1", "ada", NOON, "c", "w/1/2", further
    )
    sent = [(name, text.encode() if isinstance(text, str) else text) for name, text in made]
    assert sent == [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"wallet-command/3/7"),
        ("ce_type", b"wallet.command.applied.v1"),
        ("ce_source", b"/wallet"),
        ("ce_time", b"2026-03-01T12:00:00.000000Z"),
        ("ce_subject", b"ada"),
        ("correlation-id", b"c"),
        ("causation-id", b"w/1/2"),
        ("traceparent", b"00-ab-cd-01"),
    ]
    assert len(event_headers("a", "b", "c", NOON, None, None)) == 7


LETTER = DeadLetter("p.wallet-command", 3, 1245, 1_700_000_000_000, "not_json", "No JSON.", 2)


@pytest.mark.contract
def test_a_dead_letter_bears_the_three_families_after_the_inputs_own() -> None:
    own: list[tuple[str, bytes | None]] = [("a", b"\xff"), ("a", None), ("", b"")]
    made = dead_letter_headers(LETTER, own)
    assert made[:3] == own
    assert dict(made[3:]) == {
        "kafka_dlt-original-topic": b"p.wallet-command",
        "kafka_dlt-original-partition": b"3",
        "kafka_dlt-original-offset": b"1245",
        "kafka_dlt-original-timestamp": b"1700000000000",
        "kafka_dlt-exception-fqcn": b"wallet.not_json",
        "kafka_dlt-exception-message": b"No JSON.",
        "__connect.errors.topic": b"p.wallet-command",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"1245",
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.exception.class.name": b"wallet.not_json",
        "__connect.errors.exception.message": b"No JSON.",
        "wallet-dlt-reason": b"not_json",
        "wallet-dlt-attempts": b"2",
        "wallet-dlt-replays": b"0",
    }


@pytest.mark.contract
@given(st.text(max_size=200).map(lambda text: text * 100))
def test_what_is_added_to_a_dead_letter_stays_under_16_kib(detail: str) -> None:
    letter = DeadLetter("t" * 249, 9_999, 2**63 - 1, 2**63 - 1, "poison", detail, 3)
    made = dead_letter_headers(letter, None)
    assert sum(len(name) + len(value or b"") for name, value in made) < 16 * 1024


def test_a_replayed_record_counts_its_replays() -> None:
    assert replay_count([("wallet-dlt-replays", b"1"), ("wallet-dlt-replays", b"2")]) == 2
    assert dead_letter_headers(LETTER, [("wallet-dlt-replays", b"4")])[-1][1] == b"4"
    for value in (None, b"", b"-1", b"x", b"\xff", b"9" * 5_000):
        assert replay_count([("wallet-dlt-replays", value)]) == 0
    assert replay_count(None) == 0


def test_the_stage_tells_key_value_and_our_own_failure_apart() -> None:
    def stage(reason: str) -> bytes | None:
        letter = DeadLetter("t", 0, 0, -1, reason, "x")
        return dict(dead_letter_headers(letter, None))["__connect.errors.stage"]

    assert stage("invalid_key") == b"KEY_CONVERTER"
    assert stage("too_large") == b"VALUE_CONVERTER"
    assert stage("poison") == b"TASK_PUT"


def test_a_correlation_id_is_copied_where_it_is_safe_text() -> None:
    assert correlation([("correlation-id", "ä/1".encode())], "c-1") == "ä/1"
    assert correlation([("correlation-id", b"x" * 255)], "c-1") == "x" * 255
    unsafe = (None, b"", b"\xff", b"a\nb", b"a\x00", b"\x1b[31m", "\x85".encode(), b"x" * 256)
    for value in unsafe:
        assert correlation([("correlation-id", value)], "c-1") == "c-1"
    assert correlation([("other", b"x")], "c-1") == "c-1"
    assert correlation(None, "c-1") == "c-1"


def test_trace_context_is_handed_on_byte_for_byte() -> None:
    given_headers = [("traceparent", b"00-1"), ("x", b"y"), ("tracestate", b"\xff"), ("y", None)]
    assert trace_headers(given_headers) == [("traceparent", b"00-1"), ("tracestate", b"\xff")]
    assert trace_headers([("traceparent", None)]) == []
    assert trace_headers(None) == []


@given(headers)
def test_packed_headers_come_back_byte_for_byte(some: list[tuple[str, bytes | None]]) -> None:
    assert unpack_headers(pack_headers(some)) == some
