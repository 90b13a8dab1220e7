"""Types for the constructors of methods, which say what a parameter may be.

A value from YAML is checked against the annotation of its parameter before anything runs
(:mod:`histobench.training.parameters`); nothing else has to be declared. Any annotation that pydantic knows
will do; these are the ones that methods need most::

    def __init__(self, epochs: Count = 50, learning_rate: Positive = 1e-3,
                 loss: Annotated[str, one_of(LOSSES)] = "mse") -> None:
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from histobench.errors import near

Count = Annotated[int, Field(ge=1, le=100_000_000)]
"""A whole number of at least 1: epochs, widths, trees, patches of a batch."""
Counts = Annotated[Sequence[Count], Field(min_length=1)]
"""Whole numbers of at least 1."""
Whole = Annotated[int, Field(ge=0, le=100_000_000)]
"""A whole number that may be 0."""
Pixels = Annotated[int, Field(ge=1, le=4096)]
"""Side of an image in pixels."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A number above 0: learning rates, penalties, lengths."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number that may be 0: weights of a loss, weight decay."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, from 0 to 1."""
PositiveShare = Annotated[float, Field(gt=0, le=1)]
"""A part of a whole that is not nothing."""
Rate = Annotated[float, Field(ge=0, lt=1)]
"""A part of a whole that is not all of it: dropout, momentum."""
Grey = Annotated[float, Field(ge=0, le=255)]
"""A brightness of 8 bits."""
Views = Annotated[int, Field(ge=1, le=8)]
"""How many of the eight symmetries of a patch."""
Folds = Annotated[int, Field(ge=2, le=10_000)]
"""Parts of which each is held out once."""
Triple = Annotated[Sequence[Positive], Field(min_length=3, max_length=3)]
"""A number above 0 for each of red, green and blue."""
Shares = Annotated[Sequence[PositiveShare], Field(min_length=1)]
"""Parts of a whole."""
Fractions = Annotated[Sequence[Share], Field(min_length=1)]
"""Parts of a whole, of which one may be nothing."""
Penalties = Annotated[Sequence[Positive], Field(min_length=1)]
"""Numbers above 0 of which a method chooses one."""


def one_of(names: Iterable[Any]) -> AfterValidator:
    """Allow only these values; a misspelt one is told the nearest."""
    known = list(names)

    def check(value: Any) -> Any:
        if value not in known:
            raise ValueError(f"one of {', '.join(map(str, known))}; {near(str(value), map(str, known))}")
        return value

    return AfterValidator(check)


PRECISIONS = ("float32", "tf32", "bf16")
Precision = Annotated[str, one_of(PRECISIONS)]
"""The numbers that a network computes with.

"float32" is IEEE single precision; "tf32" rounds what a GPU multiplies, in convolutions and linear layers
alike, to ten bits of mantissa and adds in single precision; "bf16" besides runs the forward pass of a
training in bfloat16 where that is safe. Weights, losses and results are single precision in all of them,
and on a CPU "tf32" is "float32".
"""


def some_of(names: Iterable[Any]) -> AfterValidator:
    """Allow a list of these values, not empty."""
    one = one_of(names).func

    def check(values: Any) -> Any:
        if not values:
            raise ValueError("a list of at least 1")
        return [one(value) for value in values]  # type: ignore[call-arg]

    return AfterValidator(check)


@dataclass(frozen=True)
class ParametersOf:
    """Mark a mapping as parameters of another method.

    Attributes
    ----------
    entry
        ``package.module:Class``, or the name of the parameter that holds such an entry.
    """

    entry: str


def parameters_of(annotation: Any) -> ParametersOf | None:
    """Return the mark of an annotation that holds one, at any depth."""
    if isinstance(annotation, ParametersOf):
        return annotation
    inner = [*getattr(annotation, "__args__", ()), *getattr(annotation, "__metadata__", ())]
    return next((found for each in inner if (found := parameters_of(each))), None)
