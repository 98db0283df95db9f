"""Every kind of bad input has the contract's answer, at the edge."""

import json

import pytest

from consumers.decode import DEAD_REASONS, DeadRecord, Decoder
from ledger.command import Command
from ledger.currency import Currencies
from tests.consumers.bad_input import BAD_INPUTS, BadInput

DECODER = Decoder(Currencies(), "USD")


def decode(bad: BadInput) -> Command | DeadRecord:
    return DECODER.decode(bad.topic_kind, bad.topic_kind, 3, 7, bad.key, bad.value, None)


@pytest.mark.contract
@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_input_has_the_answer_of_the_contract(bad: BadInput) -> None:
    decoded = decode(bad)
    if isinstance(decoded, DeadRecord):
        assert (bad.expected_kind, bad.expected_reason) == ("dead", decoded.reason)
        detail = decoded.detail
    else:
        assert decoded.refusal is not None
        assert (bad.expected_kind, bad.expected_reason) == ("rejected", decoded.refusal.reason)
        assert decoded.command_id == bad.name
        detail = decoded.refusal.detail
    assert detail.isprintable()
    assert 10 < len(detail) < 800


def test_each_kind_of_bad_input_has_a_name_and_a_command_id_of_its_own() -> None:
    assert len(BAD_INPUTS) >= 100
    assert len({bad.name for bad in BAD_INPUTS}) == len(BAD_INPUTS)


def test_every_reason_that_the_edge_can_give_is_among_them() -> None:
    reasons = {(bad.expected_kind, bad.expected_reason) for bad in BAD_INPUTS}
    dead = {("dead", reason) for reason in DEAD_REASONS if reason != "poison"}
    refused = {"invalid_request", "unknown_currency", "invalid_amount"}
    assert reasons == dead | {("rejected", reason) for reason in refused}


@pytest.mark.parametrize(
    "bad", [b for b in BAD_INPUTS if "register" in b.name], ids=lambda bad: bad.name
)
def test_what_a_client_says_of_itself_is_never_in_the_detail(bad: BadInput) -> None:
    decoded = decode(bad)
    assert isinstance(decoded, Command)
    assert decoded.refusal is not None
    assert decoded.profile is None
    value = json.loads(bad.value or b"")
    for field in ("name", "email", "phone"):
        given = value.get(field)
        if given:
            assert str(given) not in decoded.refusal.detail
