"""The shapes of what goes out: by the letter of the contract, and nothing else fits."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.result import ORDER_RESULT_SHAPE, WALLET_BALANCE_SHAPE, WALLET_RESULT_SHAPE

NOON = "2026-03-01T12:00:00.000000Z"
SOURCE = {"topic": "wallet-command", "partition": 3, "offset": 1245}
WALLET = {
    "currency": "USD", "balance": "5.00", "held": "0.00", "status": "open", "version": 2,
    "updated_at": NOON,
}  # fmt: skip
TRANSACTION = {
    "transaction_id": "7", "command_id": "c-1", "type": "credit", "status": "applied",
    "reason": None, "currency": "USD", "amount": "5.00", "balance_before": "0.00",
    "balance_after": "5.00", "reference": None, "description": None, "counterparty": None,
    "occurred_at": NOON,
}  # fmt: skip
APPLIED = TRANSACTION | {
    "client_id": "ada", "detail": None, "duplicate": False, "held": "0.00", "hold_id": None,
    "merchant_id": None, "original_command_id": None, "source": SOURCE,
}  # fmt: skip
REJECTED = APPLIED | {
    "status": "rejected", "reason": "wallet_not_found", "detail": "There is none.",
    "balance_before": None, "balance_after": None, "held": None,
}  # fmt: skip
RECEIVED = APPLIED | {"type": "transfer_received", "counterparty": "bob", "source": None}
ANSWERED = APPLIED | {
    "status": "answered", "transaction_id": None, "amount": None, "currency": None,
    "wallets": [WALLET], "transactions": [TRANSACTION], "next_before": None,
}  # fmt: skip
REFUSED_REQUEST = {
    "event": "request_rejected", "command_id": "q", "source": SOURCE, "order_id": None,
    "client_id": "ada", "status": None, "amount": None, "currency": None, "fulfillment_id": None,
    "attempts": None, "refunded": None, "reason": "invalid_request", "detail": "No.",
    "duplicate": False, "balance_after": None, "created_at": None, "updated_at": None,
}  # fmt: skip
DETAILS: dict[str, Any] = REFUSED_REQUEST | {
    "event": "wallet_details", "reason": None, "detail": None, "wallets": [], "transactions": [],
}  # fmt: skip
COMPLETED = REFUSED_REQUEST | {
    "event": "order_completed", "command_id": None, "source": None, "order_id": "o",
    "status": "completed", "amount": "5.00", "currency": "USD", "fulfillment_id": "f-1",
    "attempts": 1, "refunded": "0.00", "reason": None, "detail": None, "balance_after": "0.00",
    "created_at": NOON, "updated_at": NOON,
}  # fmt: skip
BALANCE = {"client_id": "ada", "wallets": [WALLET], "updated_at": NOON}

SHAPES = [
    (WALLET_RESULT_SHAPE, APPLIED),
    (WALLET_RESULT_SHAPE, REJECTED),
    (WALLET_RESULT_SHAPE, RECEIVED),
    (WALLET_RESULT_SHAPE, ANSWERED),
    (ORDER_RESULT_SHAPE, REFUSED_REQUEST),
    (ORDER_RESULT_SHAPE, DETAILS),
    (ORDER_RESULT_SHAPE, COMPLETED),
    (WALLET_BALANCE_SHAPE, BALANCE),
]


@pytest.mark.contract
@pytest.mark.parametrize(("shape", "value"), SHAPES)
def test_what_the_contract_says_fits(shape: TypeAdapter[Any], value: dict[str, Any]) -> None:
    assert shape.dump_python(shape.validate_python(value)) == value


@pytest.mark.contract
@pytest.mark.parametrize(("shape", "value"), SHAPES)
def test_a_field_too_many_or_too_few_does_not_fit(
    shape: TypeAdapter[Any], value: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        shape.validate_python(value | {"email": "ada@example.org"})
    for field in value:
        with pytest.raises(ValidationError):
            shape.validate_python({f: v for f, v in value.items() if f != field})


@pytest.mark.contract
@pytest.mark.parametrize("amount", ["-5.00", "5", 5, 5.0, ".50", "1e2", "05.00"])
def test_an_amount_goes_out_as_the_text_it_comes_in_as(amount: object) -> None:
    fits = amount == "5"
    try:
        WALLET_RESULT_SHAPE.validate_python(APPLIED | {"amount": amount})
    except ValidationError:
        assert not fits
    else:
        assert fits


def test_only_a_query_is_answered_and_only_with_the_wallets() -> None:
    with pytest.raises(ValidationError):
        WALLET_RESULT_SHAPE.validate_python(APPLIED | {"status": "answered"})
    with pytest.raises(ValidationError):
        WALLET_RESULT_SHAPE.validate_python(ANSWERED | {"status": "applied"})
