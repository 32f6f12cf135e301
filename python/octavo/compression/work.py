# SPDX-License-Identifier: Apache-2.0
"""What the stages of a compression hand to each other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.compression.recipe import Recipe
    from octavo.data.batches import Batches
    from octavo.models.encoder import Encoder

__all__ = ["LayerPlan", "Work"]

Array = NDArray[Any]


@dataclass
class LayerPlan:
    """What the stages found out about one linear layer; the last one makes the layer of it.

    Attributes
    ----------
    pruned : bool
        Whether its zeros are to be made use of.
    multiplier : float32 array, shape (K,), optional
        The layer reads ``x * multiplier``; its weight was divided by it.
    output_scale : float32 array, shape (N,), optional
        Weight and bias were divided by it, and the next layer makes up for that.
    input_scale, input_zero_point : float, int, optional
        Static quantization of what the layer reads, after the multiplier.
    outliers : int array, optional
        Columns that are computed in float.
    codes, scale : int8 array, shape (N, K), and float32 array, shape (N,), optional
        The quantized weight, if not rounded to nearest.
    bias : float32 array, shape (N,), optional
        Goes with the codes, in place of the layer's own.
    dtype : str, optional
        Another form than the recipe's.
    """

    pruned: bool = False
    multiplier: Array | None = None
    output_scale: Array | None = None
    input_scale: float | None = None
    input_zero_point: int = 0
    outliers: Array | None = None
    codes: Array | None = None
    scale: Array | None = None
    bias: Array | None = None
    dtype: str | None = None


@dataclass
class Work:
    """A compression under way.

    Attributes
    ----------
    recipe : Recipe
        Resolved.
    original : Encoder
        The model that came, as it is.
    model : Encoder
        Float. A stage that changes weights replaces it by a changed copy.
    batches : Batches
        The calibration data; each iteration is a pass over it.
    progress : callable
        Gets what is going on and the share of the stage that is done.
    plans : dict
        By layer name.
    """

    recipe: Recipe
    original: Encoder
    model: Encoder
    batches: Batches
    progress: Callable[[str, float], None]
    plans: defaultdict[str, LayerPlan] = field(default_factory=lambda: defaultdict(LayerPlan))
