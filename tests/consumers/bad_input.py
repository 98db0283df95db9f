"""More than a hundred kinds of bad input, and the contract's answer to each.

No entry moves money, makes a client, or is answered by anything but what stands beside it. Those
whose envelope can be read bear a command_id of their own, which is their name.
"""

from dataclasses import dataclass
from typing import Literal

from schemas.topic import ORDER_REQUEST, WALLET_COMMAND

KEY = b"bad-input"


@dataclass(frozen=True, slots=True)
class BadInput:
    """One record, and whether it is `dead` or `rejected`, and why."""

    name: str
    topic_kind: str
    key: bytes | None
    value: bytes | None
    expected_kind: Literal["dead", "rejected"]
    expected_reason: str


def text(name: str, *members: str, of: str = "credit") -> str:
    """A command of this name with further members, each written as JSON."""
    return "{" + ",".join((f'"command_id":"{name}"', f'"type":"{of}"', *members)) + "}"


def dead(
    reason: str, name: str, value: bytes | None, key: bytes | None = KEY, kind: str = WALLET_COMMAND
) -> BadInput:
    return BadInput(name, kind, key, value, "dead", reason)


def rejected(
    reason: str, name: str, *members: str, of: str = "credit", kind: str = WALLET_COMMAND
) -> BadInput:
    value = text(name, *members, of=of).encode()
    return BadInput(name, kind, KEY, value, "rejected", reason)


A = '"amount":"1.00"'
GOOD = text("never-applied", A).encode()


def _nested(depth: int) -> bytes:
    member = '"metadata":' + '{"a":' * depth + "1" + "}" * depth
    return text("nested", A, member).encode()


def _envelopes() -> list[BadInput]:
    return [
        dead("missing_key", "key-null", GOOD, None),
        dead("missing_key", "key-empty", GOOD, b""),
        dead("missing_key", "key-null-and-value-null", None, None),
        dead("invalid_key", "key-with-space", GOOD, b"bad input"),
        dead("invalid_key", "key-with-newline", GOOD, b"bad-input\n"),
        dead("invalid_key", "key-with-nul", GOOD, b"bad\x00input"),
        dead("invalid_key", "key-with-slash", GOOD, b"bad/input"),
        dead("invalid_key", "key-not-utf8", GOOD, b"\xff\xfe"),
        dead("invalid_key", "key-umlaut", GOOD, "bäd".encode()),
        dead("invalid_key", "key-65-long", GOOD, b"k" * 65),
        dead("invalid_key", "key-binary-number", GOOD, b"\x00\x00\x00\x00\x00\x00\x00\x2a"),
        dead("invalid_key", "key-quoted", GOOD, b'"bad-input"'),
        dead("empty_value", "value-null", None),
        dead("empty_value", "value-empty", b""),
        dead("too_large", "value-64-kib-and-1", GOOD.ljust(64 * 1024 + 1)),
        dead("too_large", "value-2-mb", text("x", A, f'"reference":"{"x" * 2_000_000}"').encode()),
        dead("too_large", "value-2-mb-of-noise", b"\x9c" * 2_000_000),
        dead("not_an_object", "a-list", b"[" + GOOD + b"]"),
        dead("not_an_object", "a-string", b'"credit"'),
        dead("not_an_object", "a-number", b"100"),
        dead("not_an_object", "a-null", b"null"),
        dead("not_an_object", "a-true", b"true"),
        dead("key_mismatch", "client-another", text("x", A, '"client_id":"other"').encode()),
        dead("key_mismatch", "client-other-case", text("x", A, '"client_id":"BAD-INPUT"').encode()),
        dead("key_mismatch", "client-empty", text("x", A, '"client_id":""').encode()),
        dead("key_mismatch", "client-a-number", text("x", A, '"client_id":7').encode()),
        dead("key_mismatch", "client-a-list", text("x", A, '"client_id":["bad-input"]').encode()),
        dead("missing_command_id", "an-empty-object", b"{}"),
        dead("missing_command_id", "id-absent", b'{"type":"credit","amount":"1.00"}'),
        dead("missing_command_id", "id-null", b'{"command_id":null,"type":"credit"}'),
        dead("missing_command_id", "id-misspelt", b'{"commandId":"x","type":"credit"}'),
        dead("invalid_command_id", "id-empty", text("", A).encode()),
        dead("invalid_command_id", "id-65-long", text("i" * 65, A).encode()),
        dead("invalid_command_id", "id-with-slash", text("a/b", A).encode()),
        dead("invalid_command_id", "id-with-space", text(" a", A).encode()),
        dead("invalid_command_id", "id-with-at", text("a@b", A).encode()),
        dead("invalid_command_id", "id-with-newline", text("a\\n", A).encode()),
        dead("invalid_command_id", "id-with-nul", text("a\\u0000", A).encode()),
        dead("invalid_command_id", "id-full-width", text("\uff11", A).encode()),
        dead("invalid_command_id", "id-a-number", b'{"command_id":7,"type":"credit"}'),
        dead("invalid_command_id", "id-a-fraction", b'{"command_id":7.5,"type":"credit"}'),
        dead("invalid_command_id", "id-an-object", b'{"command_id":{},"type":"credit"}'),
        dead("unknown_type", "type-absent", b'{"command_id":"x","amount":"1.00"}'),
        dead("unknown_type", "type-null", b'{"command_id":"x","type":null}'),
        dead("unknown_type", "type-empty", text("x", A, of="").encode()),
        dead("unknown_type", "type-upper-case", text("x", A, of="CREDIT").encode()),
        dead("unknown_type", "type-unheard-of", text("x", A, of="print_money").encode()),
        dead("unknown_type", "type-a-number", b'{"command_id":"x","type":1}'),
        dead("unknown_type", "type-a-list", b'{"command_id":"x","type":["credit"]}'),
        dead("unknown_type", "type-of-results", text("x", of="transfer_received").encode()),
        dead("unknown_type", "type-of-commands", text("x", A).encode(), kind=ORDER_REQUEST),
        dead("missing_key", "request-without-key", text("x").encode(), None, ORDER_REQUEST),
        dead("not_json", "request-not-json", b"get_wallet", kind=ORDER_REQUEST),
    ]


def _not_json() -> list[BadInput]:
    values = {
        "plain-text": b"credit bad-input 10",
        "only-spaces": b"   ",
        "one-nul": b"\x00",
        "cut-off": GOOD[:-1],
        "trailing-comma": GOOD[:-1] + b",}",
        "trailing-text": GOOD + b" x",
        "two-objects": GOOD + GOOD,
        "single-quotes": GOOD.replace(b'"', b"'"),
        "a-comment": b"/* */" + GOOD,
        "xml": b"<credit amount='1.00'/>",
        "avro-magic-byte": b"\x00\x00\x00\x00\x01" + GOOD,
        "byte-order-mark": b"\xef\xbb\xbf" + GOOD,
        "utf-16": GOOD.decode().encode("utf-16"),
        "latin-1": text("x", A, '"reference":"Müller"').encode("latin-1"),
        "overlong-utf8": text("x", A, '"reference":"?"').encode().replace(b"?", b"\xc0\xaf"),
        "raw-newline": text("x", A, '"reference":"a\nb"').encode(),
        "raw-nul": text("x", A, '"reference":"a\x00b"').encode(),
        "bad-escape": text("x", A, r'"reference":"\x41"').encode(),
        "lone-surrogate": text("x", A, r'"reference":"\ud800"').encode(),
        "lone-low-surrogate": text("x", A, r'"reference":"\udc00 "').encode(),
        "raw-surrogate": text("x", A, '"reference":"?"').encode().replace(b"?", b"\xed\xa0\x80"),
        "nan": text("x", '"amount":NaN').encode(),
        "infinity": text("x", '"amount":Infinity').encode(),
        "minus-infinity": text("x", '"amount":-Infinity').encode(),
        "plus-sign": text("x", '"amount":+1').encode(),
        "leading-zero": text("x", '"amount":01').encode(),
        "no-digit-after-point": text("x", '"amount":1.').encode(),
        "no-digit-before-point": text("x", '"amount":.5').encode(),
        "hexadecimal": text("x", '"amount":0x10').encode(),
        "number-with-underscore": text("x", '"amount":1_000').encode(),
        "number-with-comma": text("x", '"amount":1,000').encode(),
        "duplicate-amount": text("x", A, '"amount":"1000000.00"').encode(),
        "duplicate-command-id": text("x", A, '"command_id":"y"').encode(),
        "duplicate-by-escape": text("x", A, r'"\u0061mount":"2.00"').encode(),
        "duplicate-in-metadata": text("x", A, '"metadata":{"a":"1","a":"2"}').encode(),
        "nested-300-objects": _nested(300),
        "nested-30000-lists": b"[" * 30_000 + b"]" * 30_000,
        "5000-digits-and-cut-off": text("x", '"amount":' + "1" * 5_000).encode()[:-1],
        "5000-digits-after-zero": text("x", '"amount":0' + "1" * 5_000).encode(),
    }
    return [dead("not_json", f"json-{name}", value) for name, value in values.items()]


_BAD_AMOUNTS = {
    "null": "null",
    "true": "true",
    "false": "false",
    "list": '["1.00"]',
    "object": '{"value":"1.00"}',
    "empty": '""',
    "zero": '"0"',
    "zero-with-decimals": '"0.00"',
    "zero-number": "0",
    "zero-fraction": "0.00",
    "minus-zero": "-0",
    "minus-zero-fraction": "-0.0",
    "minus-zero-text": '"-0"',
    "negative": '"-5.00"',
    "negative-number": "-5",
    "plus": '"+5.00"',
    "tenth-of-a-cent": '"0.001"',
    "tenth-of-a-cent-number": "0.001",
    "three-decimals-of-nought": '"1.000"',
    "three-decimals-of-nought-number": "1.000",
    "almost-ten": "10.000000000000000001",
    "1e400": "1e400",
    "1e2": "1e2",
    "1E2": "1E2",
    "1.5e1": "1.5e1",
    "100e-2": "100e-2",
    "1e-400": "1e-400",
    "exponent-text": '"1e2"',
    "nan-text": '"NaN"',
    "infinity-text": '"Infinity"',
    "17-digits-and-2": "12345678901234567.89",
    "17-digits-and-2-text": '"12345678901234567.89"',
    "16-digits-number": "12345678901234.56",
    "16-digits-whole-number": "1234567890123456",
    "over-the-limit": '"90000000000000.01"',
    "over-64-bits": '"92233720368547758.08"',
    "20-digits-number": "18446744073709551616",
    "4300-digits": "1" * 4_300,
    "5000-digits": "1" * 5_000,
    "5000-digits-text": '"' + "1" * 5_000 + '"',
    "5000-digits-negative": "-" + "1" * 5_000,
    "5000-digits-with-decimals": "1" * 5_000 + ".25",
    "5000-digits-with-exponent": "1" * 5_000 + "e-4999",
    "5000-decimals": "0." + "1" * 5_000,
    "underscore": '"1_000"',
    "thousands": '"1,000.00"',
    "decimal-comma": '"1,50"',
    "spaces": '" 5 "',
    "trailing-newline": '"5\\n"',
    "trailing-nul": '"5\\u0000"',
    "full-width": '"\uff11\uff10"',
    "arabic-digits": '"\u0661\u0660"',
    "superscript": '"\u00b2"',
    "leading-zero": '"05.00"',
    "no-digit-before-point": '".50"',
    "no-digit-after-point": '"5."',
    "two-points": '"1.0.0"',
    "currency-sign": '"$5.00"',
    "with-code": '"5.00 USD"',
    "hexadecimal": '"0x10"',
    "words": '"five"',
}


def _amounts() -> list[BadInput]:
    yen, dinar, euro = ('"currency":"JPY"', '"currency":"KWD"', '"currency":"EUR"')
    return [
        *(
            rejected("invalid_amount", f"amount-{name}", f'"amount":{value}')
            for name, value in _BAD_AMOUNTS.items()
        ),
        rejected("invalid_amount", "amount-absent"),
        rejected("invalid_amount", "amount-yen-with-decimal", '"amount":"5.0"', yen),
        rejected("invalid_amount", "amount-yen-fraction", '"amount":5.0', yen),
        rejected("invalid_amount", "amount-yen-too-much", '"amount":"9000000000000001"', yen),
        rejected("invalid_amount", "amount-dinar-4-decimals", '"amount":"1.0005"', dinar),
        rejected("invalid_amount", "amount-dinar-too-much", '"amount":"9000000000000.001"', dinar),
        rejected("invalid_amount", "amount-euro-3-decimals", '"amount":"1.005"', euro),
        rejected("invalid_amount", "debit-absent", of="debit"),
        rejected("invalid_amount", "deposit-negative", '"amount":"-1.00"', of="deposit"),
        rejected("invalid_amount", "withdraw-zero", '"amount":0', of="withdraw"),
        rejected("invalid_amount", "transfer-absent", '"to_client_id":"other"', of="transfer"),
    ]


def _currencies() -> list[BadInput]:
    reason = "unknown_currency"
    return [
        rejected(reason, "currency-lower-case", A, '"currency":"usd"'),
        rejected(reason, "currency-empty", A, '"currency":""'),
        rejected(reason, "currency-unheard-of", A, '"currency":"DUCAT"'),
        rejected(reason, "currency-gold", A, '"currency":"XAU"'),
        rejected(reason, "currency-none", A, '"currency":"XXX"'),
        rejected(reason, "currency-sign", A, '"currency":"$"'),
        rejected(reason, "currency-with-newline", A, '"currency":"USD\\n"'),
        rejected(reason, "currency-with-nul", A, '"currency":"US\\u0000"'),
        rejected(reason, "currency-full-width", A, '"currency":"\uff35\uff33\uff24"'),
        rejected(reason, "currency-2000-long", A, f'"currency":"{"U" * 2_000}"'),
        rejected(reason, "currency-before-amount", '"amount":"-1"', '"currency":"DUCAT"'),
        rejected(reason, "currency-of-wallet", '"currency":"DUCAT"', of="open_wallet"),
        rejected(reason, "currency-of-query", '"currency":"DUCAT"', of="get_wallet"),
        rejected(
            reason, "currency-of-request", '"currency":"eur"', of="get_wallet", kind=ORDER_REQUEST
        ),
    ]


def _fields() -> list[BadInput]:
    members = {
        "misspelt-ammount": ('"ammount":"1.00"',),
        "misspelt-beside-amount": (A, '"ammount":"1.00"'),
        "unknown-field": (A, '"priority":1'),
        "unknown-empty-name": (A, '"":1'),
        "unknown-nul-name": (A, '"\\u0000":1'),
        "unknown-long-name": (A, f'"{"n" * 60_000}":1'),
        "unknown-nested": (A, '"more":' + "[" * 150 + "]" * 150),
        "other-case": ('"Amount":"1.00"',),
        "field-of-transfer": (A, '"to_client_id":"other"'),
        "field-of-hold": (A, '"hold_id":"h"'),
        "field-of-registration": (A, '"email":"a@example.org"'),
        "currency-number": (A, '"currency":840'),
        "currency-list": (A, '"currency":["USD"]'),
        "currency-true": (A, '"currency":true'),
        "reference-number": (A, '"reference":7'),
        "reference-list": (A, '"reference":["a"]'),
        "reference-object": (A, '"reference":{}'),
        "reference-nul": (A, '"reference":"a\\u0000b"'),
        "reference-newline": (A, '"reference":"a\\nb"'),
        "reference-escape": (A, '"reference":"\\u001b[31m"'),
        "reference-c1": (A, '"reference":"\\u0085"'),
        "reference-256-long": (A, f'"reference":"{"r" * 256}"'),
        "description-delete": (A, '"description":"\\u007f"'),
        "description-256-long": (A, f'"description":"{"d" * 256}"'),
        "description-true": (A, '"description":true'),
        "metadata-text": (A, '"metadata":"a=b"'),
        "metadata-list": (A, '"metadata":[]'),
        "metadata-of-numbers": (A, '"metadata":{"a":1}'),
        "metadata-of-fractions": (A, '"metadata":{"a":1.5}'),
        "metadata-of-null": (A, '"metadata":{"a":null}'),
        "metadata-nested": (A, '"metadata":{"a":{"b":"c"}}'),
        "metadata-nul": (A, '"metadata":{"a":"\\u0000"}'),
        "metadata-over-4-kib": (A, f'"metadata":{{"a":"{"m" * 4_090}"}}'),
        "metadata-number-of-5000-digits": (A, '"metadata":{"a":' + "9" * 5_000 + "}"),
        "time-number": (A, '"occurred_at":1700000000'),
        "time-without-offset": (A, '"occurred_at":"2026-03-01T12:00:00"'),
        "time-date-alone": (A, '"occurred_at":"2026-03-01"'),
        "time-no-such-day": (A, '"occurred_at":"2026-02-30T12:00:00Z"'),
        "time-no-such-hour": (A, '"occurred_at":"2026-03-01T25:00:00Z"'),
        "time-week-date": (A, '"occurred_at":"2026-W09-7T12:00:00Z"'),
        "time-before-year-one": (A, '"occurred_at":"0001-01-01T00:00:00+14:00"'),
        "time-words": (A, '"occurred_at":"yesterday"'),
        "before-currency": (A, '"currency":"DUCAT"', '"extra":1'),
        "before-amount": ('"amount":"-1"', '"extra":1'),
        "before-both": ('"amount":-1', '"currency":"usd"', '"reference":1'),
    }
    return [rejected("invalid_request", f"credit-{n}", *m) for n, m in members.items()]


def _further_types() -> list[BadInput]:
    name = '"name":"A. Person"'
    members: dict[str, tuple[str, tuple[str, ...]]] = {
        "without-recipient": ("transfer", (A,)),
        "recipient-null": ("transfer", (A, '"to_client_id":null')),
        "recipient-empty": ("transfer", (A, '"to_client_id":""')),
        "recipient-number": ("transfer", (A, '"to_client_id":7')),
        "recipient-with-space": ("transfer", (A, '"to_client_id":"an other"')),
        "recipient-65-long": ("transfer", (A, f'"to_client_id":"{"t" * 65}"')),
        "recipients": ("transfer", (A, '"to_client_id":["a","b"]')),
        "recipient-misspelt": ("transfer", (A, '"to_client":"other"')),
        "with-amount": ("open_wallet", (A,)),
        "without-name": ("register_client", ('"email":"a@example.org"',)),
        "name-empty": ("register_client", ('"name":""',)),
        "name-number": ("register_client", ('"name":7',)),
        "name-nul": ("register_client", ('"name":"A\\u0000"',)),
        "name-256-long": ("register_client", (f'"name":"{"n" * 256}"',)),
        "email-without-at": ("register_client", (name, '"email":"example.org"')),
        "email-with-two-ats": ("register_client", (name, '"email":"a@b@example.org"')),
        "email-with-space": ("register_client", (name, '"email":"a b@example.org"')),
        "email-with-newline": ("register_client", (name, '"email":"a@example.org\\n"')),
        "email-with-umlaut": ("register_client", (name, '"email":"\u00e4@example.org"')),
        "email-without-name": ("register_client", (name, '"email":"@example.org"')),
        "email-255-long": ("register_client", (name, f'"email":"{"e" * 243}@example.org"')),
        "email-number": ("register_client", (name, '"email":7')),
        "phone-national": ("register_client", (name, '"phone":"015112345678"')),
        "phone-with-spaces": ("register_client", (name, '"phone":"+49 151 12345678"')),
        "phone-too-long": ("register_client", (name, '"phone":"+1234567890123456"')),
        "phone-plus-zero": ("register_client", (name, '"phone":"+0151123456"')),
        "phone-number": ("register_client", (name, '"phone":4915187654321')),
        "balance-given": ("register_client", (name, '"balance":"5.00"')),
        "amount-in-query": ("get_wallet", (A,)),
        "limit-in-query": ("get_wallet", ('"limit":5',)),
    }
    return [
        *(
            rejected("invalid_request", f"{of}-{n}", *further, of=of)
            for n, (of, further) in members.items()
        ),
        rejected("invalid_request", "request-with-amount", A, of="get_wallet", kind=ORDER_REQUEST),
        rejected(
            "invalid_request", "request-limit", '"limit":5', of="get_wallet", kind=ORDER_REQUEST
        ),
    ]


BAD_INPUTS: tuple[BadInput, ...] = (
    *_envelopes(),
    *_not_json(),
    *_amounts(),
    *_currencies(),
    *_fields(),
    *_further_types(),
)
