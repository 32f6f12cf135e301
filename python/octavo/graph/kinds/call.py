# SPDX-License-Identifier: Apache-2.0
"""What the rules of a kind of operator are told, and what a kind is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from octavo import _checks
from octavo._text import shown
from octavo._types import Array

Shape = tuple[int, ...]

FLOATS = ("float32", "int8", "uint8", "int16")
"""What an operator takes that computes with real numbers; integers need a quantization."""

NUMBERS = (*FLOATS, "int32", "int64")
BOOLS = ("bool",)
MANY = 2**16
ANY = (*NUMBERS, "float16", "float64", "bool")


@dataclass
class Call:
    """An operator with its inputs' shapes, and those of their values that are known.

    Attributes
    ----------
    name : str
        What messages call it.
    options : dict
    shapes : list of tuples
        Of the inputs; None for one that is left out.
    values : list of arrays
        None for an input that is known at run time only.
    outputs : int
        How many there are.
    """

    name: str
    options: dict[str, Any]
    shapes: list[Shape | None]
    values: list[Array | None]
    outputs: int = 1

    def integer(self, option: str, default: int, low: int = -(2**31)) -> int:
        """Return an option that is an integer of at least `low`."""
        value = self.options.get(option, default)
        return _checks.integer(value, f"{self.name}, {option}", low)

    def flag(self, option: str) -> bool:
        """Return an option that is False where it is left out."""
        return bool(self.options.get(option, False))

    def has(self, position: int) -> bool:
        """Whether an input is given."""
        return position < len(self.shapes) and self.shapes[position] is not None

    def shape(self, position: int, rank: int | None = None) -> Shape:
        """Return the shape of an input, of that rank if one is asked for."""
        shape = self.shapes[position]
        if shape is None:
            raise self.error(f"expected input {position}, got none")
        if rank is not None and len(shape) != rank:
            raise self.error(f"expected input {position} with {rank} axes, got shape {shape}")
        return shape

    def known(self, position: int) -> list[int]:
        """Return the integers that an input holds, which the shape of the result depends on."""
        value = self.values[position]
        if value is None:
            raise self.error(
                f"the shape of its result depends on input {position}, which is no constant and"
                " does not follow from the shapes of inputs"
            )
        if value.dtype.kind not in "iu" or value.ndim > 2:
            raise self.error(
                f"expected integers as input {position}, got {_checks.describe(value)}"
            )
        return [int(number) for number in value.reshape(-1)]

    def one(self, position: int) -> Any:
        """Return the only number that an input holds, which the shape of the result depends on."""
        value = self.values[position]
        if value is None or value.size != 1:
            raise self.error(f"expected one constant number as input {position}")
        return value.reshape(())[()]

    def axis(self, axis: int, rank: int) -> int:
        """Return an axis of so many, which may count from the end, as one that does not."""
        if not -rank <= axis < rank:
            raise self.error(f"expected an axis of {rank}, got {axis}")
        return axis % rank

    def need(self, fits: bool, expected: str, got: object) -> None:
        """Refuse what does not fit."""
        if not fits:
            raise self.error(f"expected {expected}, got {shown(got)}")

    def error(self, message: str) -> ValueError:
        """Return an error that names the operator."""
        return ValueError(f"{self.name}: {message}")


class Kind(NamedTuple):
    """What is known of a kind of operator.

    Attributes
    ----------
    inputs : tuple of int
        How many it needs, and how many it takes at most.
    shapes : function of a `Call`
        It returns the shapes of the outputs.
    run : function of a `Call` and the arrays of all inputs, None for those left out
        It returns the output, or a list of several.
    types : tuple of str
        Types of the elements of its values.
    values : tuple of int
        Which inputs are values of one type; all of them if empty.  The others are axes, shapes, ...
    result : str
        Type of the outputs: "same" as the values, the name of one, or "" if any is fine.
    codes : str
        What becomes of integers with a quantization: "numbers", they are computed with as the real
        numbers they stand for; "moved", they stay as they are where all have one quantization;
        "raw", they are integers like others.
    """

    inputs: tuple[int, int]
    shapes: Callable[[Call], list[Shape]]
    run: Callable[..., Any]
    types: tuple[str, ...] = NUMBERS
    values: tuple[int, ...] = (0,)
    result: str = "same"
    codes: str = "numbers"


def like_first(call: Call) -> list[Shape]:
    """Return the shape of the first input, for one output."""
    return [call.shape(0)]


def broadcast(call: Call, positions: Sequence[int]) -> Shape:
    """Return the shape that inputs have together."""
    shapes = [call.shape(position) for position in positions]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise call.error(f"expected shapes that broadcast, got {shapes}") from None


def count(shape: Shape) -> int:
    """Return how many elements there are in a shape."""
    return math.prod(shape)


def viewing(
    inputs: tuple[int, int], run: Callable[..., Any], values: tuple[int, ...] = (0,)
) -> Kind:
    """Return the kind of what only views its input: shapes of results are those of such views."""

    def shapes(call: Call) -> list[Shape]:
        arrays = list(call.values)
        for position, shape in enumerate(call.shapes):
            if arrays[position] is None and shape is not None:
                # One element that pretends to be all of them: a view of it costs nothing.
                arrays[position] = np.broadcast_to(np.int8(0), shape)
        result = run(call, *arrays)
        return [one.shape for one in (result if isinstance(result, list) else [result])]

    return Kind(inputs, shapes, run, ANY, values, codes="moved")
