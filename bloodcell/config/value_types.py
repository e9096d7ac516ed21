"""Types and ranges of values that several settings share."""

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=True)
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(gt=0)]
NonEmpty = Annotated[str, Field(min_length=1)]


def one_of(names: Callable[[], Sequence[str]]) -> AfterValidator:
    """Return a validator that accepts only the given names, which are read when it is used."""

    def check(value: str) -> str:
        known = [repr(name) for name in names()]
        if repr(value) not in known:
            raise PydanticKnownError("literal_error", {"expected": f"{', '.join(known[:-1])} or {known[-1]}"})
        return value

    return AfterValidator(check)
