"""The edge for commands that refer to an earlier one, and for what few types have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumers.decode import Decoder
from ledger.command import Command
from ledger.currency import Currencies
from schemas.topic import WALLET_COMMAND

_DECODER = Decoder(Currencies(), "USD")


def _decode(value: dict[str, Any]) -> Command:
    wire = json.dumps({"command_id": "c-1", **value}).encode()
    command = _DECODER.decode(WALLET_COMMAND, WALLET_COMMAND, 0, 0, b"ada", wire, None)
    assert isinstance(command, Command)
    return command


def test_the_amount_of_a_capture_waits_for_its_holds_currency() -> None:
    command = _decode({"type": "capture", "hold_id": "h", "amount": "1.500"})
    assert (command.currency, command.amount_minor, command.amount_text) == (None, None, "1.500")
    assert command.refusal is None
    assert _decode({"type": "capture", "hold_id": "h", "amount": 1.5}).amount_text == "1.5"
    assert _decode({"type": "refund", "original_command_id": "o"}).amount_text is None


@pytest.mark.parametrize("amount", ["0", "-1", "1e3", 1e30, True, "", [], "1_0"])
def test_an_amount_that_no_currency_could_have_is_refused_at_once(amount: object) -> None:
    refusal = _decode({"type": "refund", "original_command_id": "o", "amount": amount}).refusal
    assert refusal is not None
    assert refusal.reason == "invalid_amount"


def test_a_hold_is_named_by_its_command_unless_it_has_a_name() -> None:
    unnamed = _decode({"type": "hold", "amount": "1"})
    assert unnamed.hold_id == "c-1"
    assert _decode({"type": "hold", "amount": "1", "hold_id": "h"}).hold_id == "h"
    same = _decode({"type": "hold", "amount": "1.00", "hold_id": "c-1"})
    assert same.fingerprint == unnamed.fingerprint


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "release", "hold_id": "h", "amount": "1"},
        {"type": "capture"},
        {"type": "hold", "amount": "1", "hold_id": "a/b"},
        {"type": "hold", "amount": "1", "expires_at": "tomorrow"},
        {"type": "payment", "amount": "1"},
        {"type": "spend", "amount": "1", "merchant_id": "m"},
        {"type": "refund", "amount": "1"},
        {"type": "get_history", "limit": 0},
        {"type": "get_history", "limit": 101},
        {"type": "get_history", "limit": "5"},
        {"type": "get_history", "before": 5},
        {"type": "get_history", "before": "latest"},
        {"type": "close_wallet", "amount": "1"},
    ],
)
def test_a_field_that_is_missing_foreign_or_out_of_its_rule_is_refused(
    fields: dict[str, Any],
) -> None:
    refusal = _decode(fields).refusal
    assert refusal is not None
    assert refusal.reason == "invalid_request"
