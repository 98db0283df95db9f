"""A record that is in order becomes a command; none, whatever its bytes, becomes an exception."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.decode import DEAD_REASONS, DeadRecord, Decoder
from consumers.strict_json import parse_json
from ledger.command import Command, Profile, Source
from ledger.currency import Currencies, CurrencyError
from ledger.refusal import REASON_CODES
from schemas.topic import INPUTS, ORDER_REQUEST, WALLET_COMMAND
from tests.consumers.bad_input import BAD_INPUTS

DECODER = Decoder(Currencies({"COIN": 4}), "USD")
CREDIT = {"command_id": "c-1", "type": "credit", "amount": "10.50"}


def decode_bytes(value: bytes, kind: str = WALLET_COMMAND, key: bytes = b"ada") -> Any:
    return DECODER.decode(kind, f"test.{kind}", 3, 1245, key, value, None)


def decode(value: dict[str, Any], kind: str = WALLET_COMMAND) -> Command:
    command = decode_bytes(json.dumps(value).encode(), kind)
    assert isinstance(command, Command)
    return command


def fingerprint(**changes: Any) -> bytes:
    return decode(CREDIT | changes).fingerprint


def reason(command: Command) -> str | None:
    return None if command.refusal is None else command.refusal.reason


def test_a_line_typed_by_a_person_is_enough() -> None:
    command = decode(CREDIT)
    assert command == Command(
        "ada", "c-1", "credit", command.fingerprint, Source("test.wallet-command", 3, 1245),
        "USD", 1050, correlation_id="c-1",
    )  # fmt: skip
    assert len(command.fingerprint) == 32


def test_every_field_arrives() -> None:
    command = decode(
        {
            "command_id": "t.1:a_b-c",
            "type": "transfer",
            "client_id": "ada",
            "currency": "COIN",
            "amount": 0.0001,
            "to_client_id": "bob@example",
            "reference": "Müller \U0001f600",
            "description": "",
            "metadata": {"b": "line\nbreak", "a": "ü"},
            "occurred_at": "2026-03-01T13:30:00.25+01:30",
        }
    )
    assert command.refusal is None
    assert (command.currency, command.amount_minor) == ("COIN", 1)
    assert command.to_client_id == "bob@example"
    assert (command.reference, command.description) == ("Müller \U0001f600", "")
    assert command.metadata == '{"b":"line\\nbreak","a":"ü"}'
    assert command.occurred_at == datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def test_a_registration_carries_the_profile_and_nothing_of_it_elsewhere() -> None:
    command = decode(
        {
            "command_id": "r", "type": "register_client", "name": "Ada Lovelace",
            "email": "Ada@Example.org", "phone": "+4915112345678",
        }
    )  # fmt: skip
    assert command.profile == Profile("Ada Lovelace", "Ada@Example.org", "+4915112345678")
    command.profile = None
    assert "Ada" not in repr(command)


@pytest.mark.parametrize("kind", INPUTS)
def test_a_query_asks_for_one_currency_or_for_all(kind: str) -> None:
    assert decode({"command_id": "q", "type": "get_wallet"}, kind).currency is None
    assert (
        decode({"command_id": "q", "type": "get_wallet", "currency": "KWD"}, kind).refusal is None
    )
    assert (
        decode({"command_id": "q", "type": "get_wallet", "currency": "KWD"}, kind).currency == "KWD"
    )


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ('"1000.50"', "USD", 100_050),
        ("1000.50", "USD", 100_050),
        ("1000", "USD", 100_000),
        ('"0.01"', "USD", 1),
        ('"5"', "JPY", 5),
        ("0.001", "KWD", 1),
        ('"90000000000000.00"', "USD", 9_000_000_000_000_000),
        ("9999999999999.99", "USD", 999_999_999_999_999),
        ("999999999999999", "JPY", 999_999_999_999_999),
        ('"9000000000000000"', "JPY", 9_000_000_000_000_000),
    ],
)
def test_an_amount_is_read_by_its_text(amount: str, currency: str, minor: int) -> None:
    value = f'{{"command_id":"a","type":"credit","amount":{amount},"currency":"{currency}"}}'
    command = decode_bytes(value.encode())
    assert (command.amount_minor, command.refusal) == (minor, None)


def test_a_value_of_exactly_64_kib_is_taken() -> None:
    assert decode_bytes(json.dumps(CREDIT).encode().ljust(64 * 1024)).refusal is None


def test_metadata_of_exactly_4_kib_is_taken() -> None:
    assert decode(CREDIT | {"metadata": {"a": "m" * (4096 - 8)}}).refusal is None
    assert reason(decode(CREDIT | {"metadata": {"a": "m" * (4096 - 7)}})) == "invalid_request"


def test_null_equals_absent() -> None:
    nulls = dict.fromkeys(("client_id", "currency", "reference", "metadata", "unknown"))
    assert decode(CREDIT | nulls) == decode(CREDIT)


def test_what_could_be_read_is_kept_beside_a_refusal() -> None:
    command = decode(
        {
            "command_id": "t", "type": "transfer", "amount": "5.00", "to_client_id": "bob",
            "reference": "INV-7", "description": "a\x00b", "occurred_at": "2026-03-01T12:00:00Z",
        }
    )  # fmt: skip
    assert reason(command) == "invalid_request"
    assert (command.amount_minor, command.currency) == (500, "USD")
    assert (command.to_client_id, command.reference) == ("bob", "INV-7")
    assert command.description is None
    assert command.occurred_at == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_refused_currency_is_named_only_where_it_has_the_form_of_one() -> None:
    unheard_of, no_code = decode(CREDIT | {"currency": "DUCAT"}), decode(CREDIT | {"currency": "$"})
    assert (unheard_of.currency, unheard_of.amount_minor) == ("DUCAT", None)
    assert (no_code.currency, no_code.amount_minor) == (None, None)
    assert reason(unheard_of) == reason(no_code) == "unknown_currency"


def test_a_misspelt_field_is_named_and_a_strange_one_is_not_repeated() -> None:
    refusal = decode(CREDIT | {"ammount": "1", "ada@example.org": 1}).refusal
    assert refusal is not None
    assert "ammount is no field of credit" in refusal.detail
    assert "ada@" not in refusal.detail


def test_a_detail_stays_short_however_much_is_wrong() -> None:
    refusal = decode(CREDIT | {f"field_{n}": n for n in range(3_000)}).refusal
    assert refusal is not None
    assert len(refusal.detail) < 1_000
    assert "and 2995 more" in refusal.detail


def test_the_correlation_id_is_the_inputs_or_else_the_command_id() -> None:
    value = json.dumps(CREDIT).encode()
    headers: list[tuple[str, bytes | None]] = [("correlation-id", b"order-77")]
    command = DECODER.decode(WALLET_COMMAND, WALLET_COMMAND, 0, 0, b"ada", value, headers)
    assert isinstance(command, Command)
    assert command.correlation_id == "order-77"


def test_the_default_currency_must_be_known() -> None:
    with pytest.raises(CurrencyError, match="COIN"):
        Decoder(Currencies(), "COIN")


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 10.5},
        {"amount": "10.5"},
        {"currency": "USD"},
        {"currency": None},
        {"client_id": "ada"},
        {"occurred_at": "2026-03-01T12:00:00Z"},
        {"metadata": {"a": "b"}},
        {"reference": None},
    ],
    ids=repr,
)
def test_the_same_content_has_the_same_fingerprint(changes: dict[str, Any]) -> None:
    assert fingerprint(**changes) == fingerprint()


def test_the_order_and_the_spelling_of_the_json_do_not_count() -> None:
    value = b'{ "amount": 10.50, "type": "credit",\n "command\\u005fid": "c-1" }'
    assert decode_bytes(value).fingerprint == fingerprint()


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"amount": "10.51"},
    {"amount": "10.500"},
    {"amount": 10.500001},
    {"amount": 1050},
    {"amount": ["10.5"]},
    {"amount": {"10.5": 1}},
    {"amount": "x"},
    {"amount": None},
    {"amount": True},
    {"amount": 10**25},
    {"amount": [10**25]},
    {"currency": "EUR"},
    {"currency": "usd"},
    {"currency": 5},
    {"type": "debit"},
    {"type": "deposit"},
    {"reference": ""},
    {"reference": "a"},
    {"description": "a"},
    {"extra": "1"},
    {"extra": 1},
    {"extra": 1.0},
    {"extra": [1.0, 10**25]},
    {"extra": ["1.0"]},
    {"extra": False},
]


def test_other_content_has_another_fingerprint() -> None:
    prints = [fingerprint(**changes) for changes in DIFFERENT]
    assert len(set(prints)) == len(DIFFERENT)


def test_numbers_too_long_for_anybody_are_told_apart() -> None:
    values = [f'{{"command_id":"a","type":"credit","amount":{"1" * 5_000}{d}}}' for d in "12"]
    first, second = (decode_bytes(value.encode()) for value in values)
    assert reason(first) == reason(second) == "invalid_amount"
    assert first.fingerprint != second.fingerprint


def test_a_refused_command_is_the_same_content_after_its_unit_became_known() -> None:
    value = json.dumps(CREDIT | {"currency": "DUCAT"}).encode()
    before = DECODER.decode(WALLET_COMMAND, WALLET_COMMAND, 0, 0, b"ada", value, None)
    later = Decoder(Currencies({"DUCAT": 2}), "USD")
    after = later.decode(WALLET_COMMAND, WALLET_COMMAND, 0, 0, b"ada", value, None)
    assert isinstance(before, Command)
    assert isinstance(after, Command)
    assert (reason(before), reason(after)) == ("unknown_currency", None)
    assert before.fingerprint == after.fingerprint


def test_the_topic_counts_in_a_fingerprint() -> None:
    query = {"command_id": "q", "type": "get_wallet"}
    assert decode(query).fingerprint != decode(query, ORDER_REQUEST).fingerprint


def check(decoded: Command | DeadRecord) -> None:
    """What holds of everything that leaves the edge."""
    if isinstance(decoded, DeadRecord):
        assert decoded.reason in DEAD_REASONS
        return
    assert decoded.refusal is None or decoded.refusal.reason in REASON_CODES
    texts = (decoded.reference, decoded.description, decoded.currency, decoded.to_client_id)
    for text in texts:
        assert text is None or "\x00" not in text.encode().decode()
    assert decoded.metadata is None or "\\u0000" not in decoded.metadata


EXAMPLES = [json.dumps(CREDIT).encode(), *(bad.value for bad in BAD_INPUTS if bad.value)]
SHORT = [value for value in EXAMPLES if len(value) < 400]


@given(st.sampled_from(INPUTS), st.binary(max_size=80) | st.none(), st.binary() | st.none())
def test_no_bytes_make_the_edge_raise(kind: str, key: bytes | None, value: bytes | None) -> None:
    check(DECODER.decode(kind, kind, 0, 0, key, value, [("correlation-id", key)]))


@given(st.sampled_from(SHORT), st.sampled_from(SHORT), st.data())
def test_no_damaged_json_makes_the_edge_raise(
    one: bytes, other: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(one)))
    end = data.draw(st.integers(start, len(one)))
    cut = data.draw(st.integers(0, len(other)))
    middle = data.draw(st.sampled_from([other[:cut], other[cut:], b"1" * 4_400, b'"', b"\\", b""]))
    check(decode_bytes(one[:start] + middle + one[end:]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
fields = st.sampled_from(
    ["amount", "currency", "reference", "description", "metadata", "occurred_at", "to_client_id",
     "name", "email", "phone", "client_id", "type", "x"]
)  # fmt: skip


@given(
    st.sampled_from(["credit", "transfer", "register_client", "open_wallet", "get_wallet"]),
    st.dictionaries(fields, json_values, max_size=6),
)
def test_no_value_of_any_field_makes_the_edge_raise(of: str, members: dict[str, Any]) -> None:
    value = json.dumps({"command_id": "c", "type": of} | members, ensure_ascii=False)
    check(decode_bytes(value.encode("utf-8", "surrogatepass")))


@given(json_values)
def test_strict_json_reads_what_others_write(value: Any) -> None:
    text = json.dumps(value)
    assert json.loads(text) == json.loads(json.dumps(parse_json(text.encode()), default=float))


def test_a_long_number_before_thousands_of_quotes_costs_no_time() -> None:
    value = b'{"a":' + b"1" * 4_400 + b'"' + b'\\"' * 30_000
    assert decode_bytes(value) == decode_bytes(value)
    assert isinstance(decode_bytes(value), DeadRecord)
