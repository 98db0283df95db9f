"""How the stub behaves: how slow it is, and which share of the calls goes wrong in which way."""

import random
from enum import StrEnum, auto
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(ge=0, le=1)]


class Fault(StrEnum):
    """What becomes of a call. But for the first two the order may be fulfilled all the same."""

    REFUSED = auto()  # 422
    LIMITED = auto()  # 429 with Retry-After
    ERROR = auto()  # 503
    HANG = auto()  # no answer at all
    RESET = auto()  # the connection is reset
    GARBAGE = auto()  # 200 with something that is no answer


class Behaviour(BaseModel):
    """The stub's switches; `/admin` shows them and takes new ones while it runs."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    down: bool = Field(False, description="every call is answered by 503 and fulfills nothing")
    delay_ms: float = Field(0, ge=0, le=600_000, description="how long each call takes")
    refuse_rate: Rate = Field(0, description="share of calls answered by 422")
    limit_rate: Rate = Field(0, description="share of calls answered by 429 with Retry-After")
    error_rate: Rate = Field(0, description="share of calls answered by 503")
    hang_rate: Rate = Field(0, description="share of calls that are never answered")
    reset_rate: Rate = Field(0, description="share of calls whose connection is reset")
    garbage_rate: Rate = Field(0, description="share of calls answered by 200 and no JSON id")
    retry_after_s: int = Field(1, ge=0, le=3_600, description="what a 429 asks for")

    @model_validator(mode="after")
    def _at_most_all(self) -> "Behaviour":
        if sum(rate for _, rate in self._rates()) > 1 + 1e-9:
            raise ValueError("the rates add up to more than 1")
        return self

    def choose(self, chance: random.Random) -> Fault | None:
        """What goes wrong with this call; None where nothing does."""
        dice = chance.random()
        for fault, rate in self._rates():
            dice -= rate
            if dice < 0:
                return fault
        return None

    def changed(self, update: dict[str, Any]) -> "Behaviour":
        """With some switches set anew. Raises pydantic.ValidationError."""
        return Behaviour.model_validate({**self.model_dump(), **update})

    def _rates(self) -> tuple[tuple[Fault, float], ...]:
        return (
            (Fault.REFUSED, self.refuse_rate),
            (Fault.LIMITED, self.limit_rate),
            (Fault.ERROR, self.error_rate),
            (Fault.HANG, self.hang_rate),
            (Fault.RESET, self.reset_rate),
            (Fault.GARBAGE, self.garbage_rate),
        )
