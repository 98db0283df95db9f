"""Why a command is refused: codes in the order in which they are looked for."""

from dataclasses import dataclass

# The first that holds is the answer (contract §3). One comment each where the name does not say
# it all.
REASON_CODES: tuple[str, ...] = (
    "unauthorized",  # reserved for signed producers
    "forbidden",  # reserved for signed producers
    "idempotency_conflict",  # the id is known with other content
    "rate_limited",
    "invalid_request",  # a field is missing, unknown, of the wrong type or out of its rule
    "unknown_currency",
    "invalid_amount",
    "client_exists",
    "email_taken",
    "phone_taken",
    "wallet_exists",
    "client_not_found",
    "wallet_not_found",
    "wallet_closed",
    "wallet_frozen",
    "same_wallet",
    "recipient_not_found",  # an unknown client, or a closed wallet there
    "transaction_not_found",
    "not_refundable",
    "exceeds_original",
    "hold_exists",
    "hold_not_found",  # unknown or settled
    "hold_expired",
    "exceeds_hold",
    "order_exists",
    "order_not_found",
    "order_not_cancellable",
    "order_not_retryable",
    "balance_not_zero",
    "balance_limit",  # the receiving balance would pass ledger.money.AMOUNT_MINOR_MAX
    "insufficient_funds",
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal is a value, not an exception.

    `detail` is one safe sentence for a person: no SQL, no trace, no other client's data, no
    profile field.
    """

    reason: str
    detail: str
