"""The posting rules: for every type that moves money by itself, from which account to which."""

from dataclasses import dataclass

# Accounts of the command's client.
AVAILABLE = "available"
HELD = "held"
ESCROW = "escrow"
# The counterparty's available account.
PEER = "peer"
# System accounts; they have no row, and may go below zero (the treasury is where money comes from).
TREASURY = "treasury"
CASH = "cash"

CLIENT_KINDS = frozenset({AVAILABLE, HELD, ESCROW, PEER})


@dataclass(frozen=True, slots=True)
class Posting:
    """One movement: `debit` is the account that gives, `credit` the one that receives.

    With `makes_wallet` an applied command makes a missing client and wallet (WALLET_AUTO_CREATE).
    """

    debit: str
    credit: str
    makes_wallet: bool = False


POSTINGS: dict[str, Posting] = {
    "credit": Posting(TREASURY, AVAILABLE, makes_wallet=True),
    "debit": Posting(AVAILABLE, TREASURY),
    "deposit": Posting(CASH, AVAILABLE, makes_wallet=True),
    "withdraw": Posting(AVAILABLE, CASH),
    "transfer": Posting(AVAILABLE, PEER),
}
