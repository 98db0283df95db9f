"""The posting rules: for every type that moves money by itself, from which account to which."""

from dataclasses import dataclass

# Accounts of the command's client.
AVAILABLE = "available"
HELD = "held"
ESCROW = "escrow"
# The counterparty's available account.
PEER = "peer"
# The account of the merchant whom a payment names.
MERCHANT = "merchant"
# System accounts; they have no row, and may go below zero (the treasury is where money comes from).
TREASURY = "treasury"
CASH = "cash"
SALES = "sales"
PROMOTIONS = "promotions"
LOYALTY = "loyalty"
REVENUE = "revenue"

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
    "top_up": Posting(SALES, AVAILABLE, makes_wallet=True),
    "bonus": Posting(PROMOTIONS, AVAILABLE, makes_wallet=True),
    "loyalty": Posting(LOYALTY, AVAILABLE, makes_wallet=True),
    "spend": Posting(AVAILABLE, REVENUE),
    "payment": Posting(AVAILABLE, MERCHANT),
    "transfer": Posting(AVAILABLE, PEER),
}

# Movements of a hold: made, captured, and released by a command or by its expiry.
HOLD = Posting(AVAILABLE, HELD)
CAPTURE = Posting(HELD, REVENUE)
RELEASE = Posting(HELD, AVAILABLE)

# Movements of an order: paid, fulfilled, and given back when it is cancelled or has failed.
PLACE = Posting(AVAILABLE, ESCROW)
COMPLETE = Posting(ESCROW, REVENUE)
GIVE_BACK = Posting(ESCROW, AVAILABLE)

# Types whose money a refund takes back along the way it went; a transfer's only where the operator
# allows it, since it takes from the recipient; an order's once it is completed.
REFUNDABLE = frozenset({"spend", "payment", "debit", "withdraw", "capture", "place_order"})
REFUNDABLE_TRANSFER = "transfer"
REFUNDABLE_ORDER = "place_order"
