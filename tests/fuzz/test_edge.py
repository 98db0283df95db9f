"""Whatever bytes arrive: one answer, of the published shape, for a reason of the contract."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.topic import INPUTS
from tests.fuzz.edge import check, record_of
from tests.fuzz.mutation import mutations
from tests.fuzz.seed import GOOD, good_values, seeds

_QUICK_COUNT = 3_000

_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300) | st.sampled_from(["", "0", "-1", "1.005", "9" * 17, "USD", "bob"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(
    st.sampled_from(INPUTS),
    st.binary(max_size=80) | st.none() | st.just(b"alice"),
    st.binary() | st.none(),
    st.lists(
        st.tuples(
            st.sampled_from(["correlation-id", "traceparent", "wallet-dlt-replays"]) | st.text(),
            st.binary(max_size=300) | st.none(),
        ),
        max_size=4,
    ),
)
def test_any_bytes_are_answered_once(
    kind: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    check(kind, key, value, headers)


@given(
    st.sampled_from(good_values()),
    st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(max_size=50), _junk, max_size=3),
    st.sets(st.sampled_from(["command_id", *GOOD]), max_size=2),
)
def test_any_value_of_any_field_is_answered_once(
    good: tuple[int, dict[str, Any]], changes: dict[str, Any], left_out: set[str]
) -> None:
    choice, value = good
    value = {name: given for name, given in (value | changes).items() if name not in left_out}
    text = json.dumps(value, ensure_ascii=False)
    check(INPUTS[choice], b"alice", text.encode("utf-8", "surrogatepass"))


def test_mutated_records_are_answered_once_and_reach_far() -> None:
    outcomes = Counter(check(*record_of(data)) for data in mutations(1, _QUICK_COUNT))
    assert {"applied", "answered", "not_json", "invalid_request", "order_retried"} <= set(outcomes)


def test_every_known_input_is_answered_those_that_were_at_fault_once_too() -> None:
    for data in seeds():
        check(*record_of(data))
