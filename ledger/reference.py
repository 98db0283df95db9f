"""Commands that refer to an earlier one: its currency is theirs, and the amount's scale."""

from msgspec.structs import replace

from ledger.book import Book, Hold, Order, Transaction, Wallet
from ledger.command import Command
from ledger.money import parse_text
from ledger.outcome import CLIENT_NOT_FOUND, check_wallet
from ledger.refusal import Refusal
from ledger.rule import Rules


def check_currency(command: Command, earlier: Hold | Order | Transaction | None) -> Refusal | None:
    """Whether a given currency is the earlier one's."""
    if earlier is None or command.currency in (None, earlier.currency):
        return None
    return _OTHER_CURRENCY


def read_amount(command: Command, currency: str, rules: Rules) -> tuple[Command, Refusal | None]:
    """The command with the currency and its amount in minor units, None where it gave none."""
    command = replace(command, currency=currency)
    if command.amount_text is None:
        return command, None
    scale = rules.currencies.scale_of_amounts(currency)
    amount = parse_text(command.amount_text, scale)
    if amount is None:
        return command, Refusal(
            "invalid_amount",
            f"amount must be above zero, with at most {scale} decimals for {currency}.",
        )
    return replace(command, amount_minor=amount), None


def check_client(
    command: Command, book: Book, wallet: Wallet | None, *, takes: bool
) -> Refusal | None:
    """The wallet's checks, which need a currency; without one it is the client that counts."""
    if command.currency is None:
        return None if command.client_id in book.clients else CLIENT_NOT_FOUND
    return check_wallet(command, book, wallet, takes=takes)


_OTHER_CURRENCY = Refusal(
    "invalid_request", "currency must be that of the command it refers to; it may be left out."
)
