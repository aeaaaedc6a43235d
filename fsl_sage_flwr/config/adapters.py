"""Check types and bounds with pydantic's adapters."""

from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter


@cache
def adapter(kind: type, ge: float | None, gt: float | None, le: float | None) -> TypeAdapter[Any]:
    """Return the adapter that validates a strict value of a type within bounds.

    A bounded float must be finite; an integer is accepted as a float.
    """
    if kind is float:
        bounded = not (ge is None and gt is None and le is None)
        limits = Field(strict=True, ge=ge, gt=gt, le=le, allow_inf_nan=not bounded)
        return TypeAdapter(Annotated[float, limits])
    if kind is int:
        return TypeAdapter(Annotated[int, Field(strict=True, ge=ge, gt=gt, le=le)])
    if kind is bool:
        return TypeAdapter(Annotated[bool, Field(strict=True)])
    return TypeAdapter(Annotated[str, Field(strict=True)])
