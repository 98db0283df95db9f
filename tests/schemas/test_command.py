"""The models of what comes in: one per type, and JSON Schemas that say what they take."""

import pytest
from pydantic import BaseModel

from schemas.command import COMMANDS
from schemas.request import REQUESTS

MODELS = [*COMMANDS.items(), *REQUESTS.items()]


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_a_table_row_leads_to_the_model_of_its_type(name: str, model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    assert schema["properties"]["type"]["const"] == name
    assert schema["additionalProperties"] is False
    assert {"command_id", "type"} <= set(schema["required"])
    assert schema["description"] == model.__doc__


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_every_field_but_the_type_has_its_rule(name: str, model: type[BaseModel]) -> None:
    for field, info in model.model_fields.items():
        assert field == "type" or info.description


def test_an_amount_is_required_where_money_moves() -> None:
    required = {n for n, m in COMMANDS.items() if "amount" in m.model_json_schema()["required"]}
    optional = {n for n, m in COMMANDS.items() if "amount" in m.model_fields} - required
    assert required == {
        "credit", "debit", "deposit", "withdraw", "top_up", "bonus", "loyalty", "spend", "payment",
        "transfer", "hold",
    }  # fmt: skip
    assert optional == {"capture", "refund"}
