"""The commands of `wallet-command`: one class each, and one row in the table at the end."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.envelope import (
    Amount,
    ClientId,
    CommandId,
    Envelope,
    Moment,
    Query,
    Reference,
    Text,
)

# ASCII alone: what `lower()` makes of other letters depends on the database's locale, and the
# same address must be found again by every one of them.
EMAIL_PATTERN = r"^[!-?A-~]+@[!-?A-~]+$"
PHONE_PATTERN = r"^\+[1-9][0-9]{1,14}$"

Email = Annotated[str, Field(pattern=EMAIL_PATTERN, max_length=254)]
Phone = Annotated[str, Field(pattern=PHONE_PATTERN)]


# What an amount that may be left out has to be when it is given.
_AMOUNT = "an amount above zero with at most the currency's decimals; see credit"


class Credit(Envelope):
    """An operator's adjustment: treasury to wallet."""

    type: Literal["credit"]
    amount: Amount


class Debit(Envelope):
    """An operator's adjustment: wallet to treasury."""

    type: Literal["debit"]
    amount: Amount


class Deposit(Envelope):
    """Cash to wallet."""

    type: Literal["deposit"]
    amount: Amount


class Withdraw(Envelope):
    """Wallet to cash."""

    type: Literal["withdraw"]
    amount: Amount


class TopUp(Envelope):
    """Sales to wallet: credits bought with real money."""

    type: Literal["top_up"]
    amount: Amount


class Bonus(Envelope):
    """Promotions to wallet."""

    type: Literal["bonus"]
    amount: Amount


class Loyalty(Envelope):
    """The loyalty programme to wallet."""

    type: Literal["loyalty"]
    amount: Amount


class Spend(Envelope):
    """Wallet to revenue."""

    type: Literal["spend"]
    amount: Amount


class Payment(Envelope):
    """Wallet to a merchant's account."""

    type: Literal["payment"]
    amount: Amount
    merchant_id: CommandId = Field(
        description="1 to 64 of A-Z a-z 0-9 . _ : -; the merchant who is paid"
    )


class Transfer(Envelope):
    """Wallet to another client's wallet of the same currency."""

    type: Literal["transfer"]
    amount: Amount
    to_client_id: ClientId = Field(
        description="1 to 64 of A-Z a-z 0-9 . _ : @ -; the client who receives"
    )


class Refund(Reference):
    """Back along an earlier movement of money out, in part or all that is left of it."""

    type: Literal["refund"]
    amount: Amount | None = Field(None, description=f"{_AMOUNT}. Default: all that is left")
    original_command_id: CommandId = Field(
        description="1 to 64 of A-Z a-z 0-9 . _ : -; the command that is refunded"
    )


class Hold(Envelope):
    """Wallet to held: set aside until it is captured, released or expires."""

    type: Literal["hold"]
    amount: Amount
    hold_id: CommandId | None = Field(
        None,
        description="1 to 64 of A-Z a-z 0-9 . _ : -; unique per client. Default: the command_id",
    )
    expires_at: Moment | None = Field(
        None,
        description="an RFC 3339 time such as 2026-03-01T12:00:00Z; when it releases itself. "
        "Default: never",
    )


class Capture(Reference):
    """Held to revenue, all of it or a part; the rest is released."""

    type: Literal["capture"]
    amount: Amount | None = Field(None, description=f"{_AMOUNT}. Default: all that is held")
    hold_id: CommandId = Field(description="1 to 64 of A-Z a-z 0-9 . _ : -; the hold")


class Release(Reference):
    """Held to wallet, all of it."""

    type: Literal["release"]
    hold_id: CommandId = Field(description="1 to 64 of A-Z a-z 0-9 . _ : -; the hold")


class RegisterClient(Envelope):
    """Make a client, or fill in the profile of one made automatically; opens no wallet."""

    type: Literal["register_client"]
    name: Annotated[Text, Field(min_length=1)] = Field(
        description="text of 1 to 255 characters, none of them a control character"
    )
    email: Email | None = Field(
        None, description="an email address of up to 254 ASCII characters; unique over all clients"
    )
    phone: Phone | None = Field(
        None, description="an E.164 number such as +4915112345678; unique over all clients"
    )


class OpenWallet(Envelope):
    """Open a wallet of one currency for a known client."""

    type: Literal["open_wallet"]


class FreezeWallet(Envelope):
    """Let no more money out of the wallet; what comes in passes."""

    type: Literal["freeze_wallet"]


class UnfreezeWallet(Envelope):
    """Let money out of the wallet again."""

    type: Literal["unfreeze_wallet"]


class CloseWallet(Envelope):
    """Close an empty wallet, for good."""

    type: Literal["close_wallet"]


class GetWallet(Query):
    """The client's balances and last 10 transactions, of one currency or all."""

    type: Literal["get_wallet"]


class GetHistory(Query):
    """A page of the client's transactions, newest first, of one currency or all."""

    type: Literal["get_history"]
    limit: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="a whole number from 1 to 100; transactions on a page. Default: 50"
    )
    before: Annotated[str, Field(pattern=r"^[0-9]{1,19}$")] | None = Field(
        None,
        description="a transaction_id, as a string; the page ends before it. Default: the newest",
    )


COMMANDS: Final[Mapping[str, type[Envelope]]] = {
    "credit": Credit,
    "debit": Debit,
    "deposit": Deposit,
    "withdraw": Withdraw,
    "top_up": TopUp,
    "bonus": Bonus,
    "loyalty": Loyalty,
    "spend": Spend,
    "payment": Payment,
    "transfer": Transfer,
    "refund": Refund,
    "hold": Hold,
    "capture": Capture,
    "release": Release,
    "register_client": RegisterClient,
    "open_wallet": OpenWallet,
    "freeze_wallet": FreezeWallet,
    "unfreeze_wallet": UnfreezeWallet,
    "close_wallet": CloseWallet,
    "get_wallet": GetWallet,
    "get_history": GetHistory,
}
