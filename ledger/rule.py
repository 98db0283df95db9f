"""What the operator has chosen: the settings that decisions depend on."""

from dataclasses import dataclass, field

from ledger.currency import Currencies
from ledger.rate import RateLimit


@dataclass(frozen=True, slots=True)
class Rules:
    """`auto_create` is WALLET_AUTO_CREATE, `transfer_refund` WALLET_TRANSFER_REFUND, `rate_limit`
    WALLET_RATE_LIMIT, None where there is none. `currencies` gives the scale of an amount whose
    currency its command leaves to the one that it refers to.
    """

    auto_create: bool = True
    transfer_refund: bool = False
    rate_limit: RateLimit | None = None
    currencies: Currencies = field(default_factory=Currencies)
