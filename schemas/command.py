"""The commands of `wallet-command`: one class each, and one row in the table at the end."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.envelope import Amount, ClientId, Envelope, Query, Text

# ASCII alone: what `lower()` makes of other letters depends on the database's locale, and the
# same address must be found again by every one of them.
EMAIL_PATTERN = r"^[!-?A-~]+@[!-?A-~]+$"
PHONE_PATTERN = r"^\+[1-9][0-9]{1,14}$"

Email = Annotated[str, Field(pattern=EMAIL_PATTERN, max_length=254)]
Phone = Annotated[str, Field(pattern=PHONE_PATTERN)]


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


class Transfer(Envelope):
    """Wallet to another client's wallet of the same currency."""

    type: Literal["transfer"]
    amount: Amount
    to_client_id: ClientId = Field(
        description="1 to 64 of A-Z a-z 0-9 . _ : @ -; the client who receives"
    )


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


class GetWallet(Query):
    """The client's balances and last 10 transactions, of one currency or all."""

    type: Literal["get_wallet"]


COMMANDS: Final[Mapping[str, type[Envelope]]] = {
    "credit": Credit,
    "debit": Debit,
    "deposit": Deposit,
    "withdraw": Withdraw,
    "transfer": Transfer,
    "register_client": RegisterClient,
    "open_wallet": OpenWallet,
    "get_wallet": GetWallet,
}
