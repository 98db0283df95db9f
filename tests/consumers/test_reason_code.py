"""Every reason code, reached through Kafka: one row each, and a missing one shows."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import pytest

from ledger.refusal import REASON_CODES
from producers.publisher import Delivered, Input
from schemas.topic import ORDER_REQUEST, WALLET_COMMAND
from tests.ledger.bookkeeper import topic_of
from tests.scene import Scene, command

# Signed producers are not there yet.
_LATER = {"unauthorized", "forbidden"}


class Row(NamedTuple):
    """Commands of the client `alice`, or of the one named; the last of them is refused so.

    Requests about orders come last, since nothing holds the order between the two topics.
    """

    reason: str
    commands: tuple[dict[str, Any], ...]


def _c(type_: str, amount: str | None = None, **fields: Any) -> dict[str, Any]:
    made = {"type": type_, **fields}
    return made if amount is None else made | {"amount": amount}


_MONEY = _c("credit", "100")
_ONCE = _c("credit", "1", command_id="x")
_LIMIT = "90000000000000.00"
_HELD = _c("hold", "10", hold_id="h")
_PAID = _c("payment", "10", merchant_id="m", command_id="paid")
_ORDER = _c("place_order", "10", order_id="o")
_CANCEL = _c("cancel_order", order_id="o")
TABLE = (
    Row("idempotency_conflict", (_ONCE, _c("debit", "1", command_id="x"))),
    Row("rate_limited", (*[_MONEY] * 15,)),
    Row("invalid_request", (_c("credit", "1", ammount="2"),)),
    Row("unknown_currency", (_c("credit", "1", currency="ZZZ"),)),
    Row("invalid_amount", (_c("credit", "0"),)),
    Row("client_exists", (_c("register_client", name="A"), _c("register_client", name="B"))),
    Row("email_taken", (
        _c("register_client", name="A", email="a@b.org", client="bob"),
        _c("register_client", name="B", email="A@b.org"),
    )),
    Row("phone_taken", (
        _c("register_client", name="A", phone="+4915", client="bob"),
        _c("register_client", name="B", phone="+4915"),
    )),
    Row("wallet_exists", (_MONEY, _c("open_wallet"))),
    Row("client_not_found", (_c("debit", "1"),)),
    Row("wallet_not_found", (_MONEY, _c("debit", "1", currency="EUR"))),
    Row("wallet_closed", (_c("credit", "1"), _c("spend", "1"), _c("close_wallet"), _MONEY)),
    Row("wallet_frozen", (_MONEY, _c("freeze_wallet"), _c("spend", "1"))),
    Row("same_wallet", (_MONEY, _c("transfer", "1", to_client_id="alice"))),
    Row("recipient_not_found", (_MONEY, _c("transfer", "1", to_client_id="nobody"))),
    Row("transaction_not_found", (_MONEY, _c("refund", original_command_id="none"))),
    Row("not_refundable", (_ONCE, _c("refund", original_command_id="x"))),
    Row("exceeds_original", (_MONEY, _PAID, _c("refund", "10.01", original_command_id="paid"))),
    Row("hold_exists", (_MONEY, _HELD, _HELD)),
    Row("hold_not_found", (_MONEY, _HELD, _c("release", hold_id="h"), _c("capture", hold_id="h"))),
    Row("hold_expired", (_MONEY, _c("hold", "1", expires_at="2020-01-01T00:00:00Z"))),
    Row("exceeds_hold", (_MONEY, _HELD, _c("capture", "10.01", hold_id="h"))),
    Row("order_exists", (_MONEY, _ORDER, _ORDER)),
    Row("order_not_found", (_MONEY, _CANCEL)),
    Row("order_not_cancellable", (_MONEY, _ORDER, _CANCEL, _CANCEL)),
    Row("order_not_retryable", (_MONEY, _ORDER, _c("retry_order", order_id="o"))),
    Row("balance_not_zero", (_MONEY, _c("close_wallet"))),
    Row("balance_limit", (_c("credit", _LIMIT), _c("bonus", "0.01"))),
    Row("insufficient_funds", (_MONEY, _c("spend", "100.01"))),
)  # fmt: skip


@pytest.mark.contract
def test_the_table_has_every_reason_code_in_the_ledgers_order() -> None:
    assert [row.reason for row in TABLE] == [code for code in REASON_CODES if code not in _LATER]


@pytest.mark.contract
def test_each_row_is_refused_for_its_reason(scene: Scene) -> None:
    scene.extra["WALLET_RATE_LIMIT"] = "14/day"
    last: dict[str, Input] = {}
    records: list[Input] = []
    for row in TABLE:
        for number, given in enumerate(row.commands):
            fields = {"command_id": f"{number}", **given}
            client = f"{row.reason}-{fields.pop('client', 'alice')}"
            if fields.get("to_client_id") == "alice":
                fields["to_client_id"] = client
            fields["type_"] = fields.pop("type")
            last[row.reason] = command(client, topic_of(given["type"]), **fields)
            records.append(last[row.reason])
    ends = {id(record) for record in last.values()}
    place_of: dict[int, Delivered] = {}
    with scene.running():
        # Between topics and partitions nothing keeps an order: what must come first is waited for.
        for topic, is_end in product((WALLET_COMMAND, ORDER_REQUEST), (False, True)):
            batch = [r for r in records if r.topic == topic and (id(r) in ends) is is_end]
            places = scene.publish(*batch)
            place_of |= {id(r): place for r, place in zip(batch, places, strict=True)}
            scene.answered(len(place_of))
        answers = scene.answers()
    met = {reason: answers.only(place_of[id(record)]) for reason, record in last.items()}
    assert {reason: answer["reason"] for reason, answer in met.items()} == {r: r for r in met}
    assert all(_is_refused(answer) and answer["detail"] for answer in met.values())
    refused = [r["reason"] for [r] in answers.results.values() if _is_refused(r)]
    assert sorted(refused) == sorted(row.reason for row in TABLE)


def _is_refused(answer: dict[str, Any]) -> bool:
    return "rejected" in (answer["status"], answer.get("event", "").removeprefix("request_"))


@pytest.mark.contract
@pytest.mark.parametrize("kind", ["top_up", "bonus", "loyalty"])
def test_money_that_is_given_makes_client_and_wallet_in_the_operators_own_unit(
    scene: Scene, kind: str
) -> None:
    with scene.connect() as session:
        session.execute("INSERT INTO currencies (code, scale) VALUES ('COIN', 0)")
    with scene.running():
        given = scene.command("zoe", command_id="1", type_=kind, amount="5", currency="COIN")
        asked = scene.command("zoe", command_id="2", type_="get_wallet")
        answers = scene.answered(2)
    assert answers.only(given)["balance_after"] == "5"
    assert [w["balance"] for w in answers.only(asked)["wallets"]] == ["5"]
