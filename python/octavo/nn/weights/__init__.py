# SPDX-License-Identifier: Apache-2.0
"""Weights: what a layer multiplies with, each kind in a file of its own."""

from __future__ import annotations

from octavo import _checks
from octavo._scales import GROUPS
from octavo.nn.weights.base import Bound, Layout, Memory, Weight
from octavo.nn.weights.float32 import FloatWeight
from octavo.nn.weights.group_numbers import SteppedScale
from octavo.nn.weights.grouped import GroupedWeight
from octavo.nn.weights.grouped_kinds import Int4Weight, Int5Weight, Int8GroupWeight
from octavo.nn.weights.half import BFloat16Weight, Float16Weight, HalfWeight
from octavo.nn.weights.int8 import Int8Weight
from octavo.nn.weights.stored import Stored, StoredTensor, TensorReader

__all__ = [
    "GROUPS",
    "KINDS",
    "BFloat16Weight",
    "Bound",
    "Float16Weight",
    "FloatWeight",
    "GroupedWeight",
    "HalfWeight",
    "Int4Weight",
    "Int5Weight",
    "Int8GroupWeight",
    "Int8Weight",
    "Layout",
    "Memory",
    "SteppedScale",
    "Stored",
    "StoredTensor",
    "TensorReader",
    "Weight",
    "weight_class",
]

KINDS: dict[str, type[Weight]] = {
    cls.kind: cls
    for cls in (
        *(Int8Weight, Int4Weight, Int5Weight, Int8GroupWeight),
        *(FloatWeight, Float16Weight, BFloat16Weight),
    )
}
"""The classes of weights by kind: the one place that a new one is added to."""


def weight_class(kind: str) -> type[Weight]:
    """Return the class of a kind of weight.

    Raises
    ------
    ValueError
        For a kind that there is not.

    Examples
    --------
    >>> from octavo.nn.weights import weight_class
    >>> weight_class("bfloat16").__name__
    'BFloat16Weight'
    """
    return KINDS[_checks.choice(kind, "kind", tuple(KINDS))]
