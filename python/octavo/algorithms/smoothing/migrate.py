# SPDX-License-Identifier: Apache-2.0
"""Moving scale from a layer's inputs to its weight, column by column."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._float_mode import in_default_mode
from octavo._types import Array
from octavo.algorithms.observers import MinMax
from octavo.algorithms.rounding import (
    dequantized,
    nearest_groups,
    nearest_rows,
    rounded_inputs,
)
from octavo.algorithms.smoothing.fold import geometric_means
from octavo.algorithms.smoothing.statistics import InputRanges, floats

STATISTICS = ("max", "rms")

# On all-MiniLM-L6-v2 the root mean square wins in all of 36 layers (one takes no multiplier), with
# alpha from 0.3 to 0.5; the largest magnitude is at best equal, and far worse where values of one
# sign are rare and large (inputs of narrowing layers).
_TRIED = (*(("rms", alpha / 10) for alpha in range(2, 8)), ("max", 0.5))
# Beyond this a column's weight or input would vanish beside the others.
_WIDEST = np.float32(2.0**20)


def smoothing_multiplier(
    weight: ArrayLike,
    inputs: InputRanges,
    alpha: float = 0.5,
    statistic: str = "max",
    *,
    alike: ArrayLike | None = None,
) -> Array:
    """Return what to multiply each input channel by, so that less is lost in quantizing it.

    With ``s = |x|^alpha / |w|^(1 - alpha)`` for each channel (Xiao et al. 2023, "SmoothQuant"), the
    layer computes ``(x / s) @ (weight * s).T``, which is the same product: what is returned is
    1 / s, and the new weight is ``weight / multiplier``.

    Parameters
    ----------
    weight : float array, shape (N, K), finite
        Of one layer, or of all that read the same input, one under the other.
    inputs : InputRanges
        Of what the layer reads.
    alpha : float
        In (0, 1]: how much of the inputs' spread goes to the weight.
    statistic : "max" or "rms"
        What stands for the size of a channel: its largest magnitude, as published, or its root mean
        square, which a few large values move less.
    alike : int array, shape (K,), optional
        Channels of equal numbers get the same multiplier: the geometric mean of their own.

    Returns
    -------
    float32 array, shape (K,)
        Positive, of geometric mean 1. A channel that is zero in all inputs or all weights counts
        with the smallest size that another one has.

    Raises
    ------
    TypeError, ValueError
        For another alpha or statistic, a weight of another width or that is not finite, or inputs
        that saw no row.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import smoothing
    >>> inputs = smoothing.InputRanges(3)
    >>> inputs.update(np.array([[1.0, 64.0, -1.0]], np.float32))
    >>> smoothing.smoothing_multiplier(np.ones((2, 3), np.float32), inputs)
    array([2.  , 0.25, 2.  ], dtype=float32)
    """
    share = _checks.real(alpha, "alpha", "(0, 1]")
    kind = _checks.choice(statistic, "statistic", STATISTICS)
    values = _weight(weight, inputs)
    of_inputs = inputs.largest if kind == "max" else inputs.rms()
    if kind == "max":
        of_weight = np.abs(values).max(axis=0, initial=0)
    else:
        of_weight = np.sqrt(np.square(values, dtype=np.float64).mean(axis=0))
    # In float64: neither power can overflow there.
    log = share * _log_sizes(of_inputs) - (1 - share) * _log_sizes(of_weight)
    multiplier = np.clip(np.exp(log.mean() - log), 1 / _WIDEST, _WIDEST).astype(np.float32)
    if alike is None:
        return multiplier
    numbers = _checks.as_ids(alike, "alike")
    _checks.check_shape(numbers, (inputs.width,), "alike")
    return geometric_means(multiplier, numbers)


@in_default_mode
def best_multiplier(
    weight: ArrayLike,
    inputs: InputRanges,
    *,
    symmetric: bool = False,
    static: bool = False,
    bits: int = 8,
    group: int | None = None,
    alike: ArrayLike | None = None,
) -> Array | None:
    """Return the smoothing multiplier with which the layer in codes comes closest to the float one.

    Tries `smoothing_multiplier` with root mean squares and alpha from 0.2 to 0.7, with largest
    magnitudes and alpha 0.5, and no multiplier, on the rows that `inputs` kept. What is compared is
    the squared error of the layer's output; AWQ (Lin et al. 2024) searches alpha that way for
    weights alone.

    Parameters
    ----------
    weight, inputs
        As in `smoothing_multiplier`.
    symmetric : bool
        Whether the layer will quantize its inputs symmetrically.
    static : bool
        Whether it will quantize them with one scale for all rows.
    bits : int
        Of the layer's weight, 2 to 8.
    group : 32, 64 or 128, optional
        How many inputs share a scale, in the weight and in each row of inputs; these are then
        symmetric and not static.
    alike
        As in `smoothing_multiplier`.

    Returns
    -------
    float32 array, shape (K,), or None
        None if the plain layer is best.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import smoothing
    >>> rng = np.random.default_rng(0)
    >>> inputs = smoothing.InputRanges(64)
    >>> x = rng.standard_normal((100, 64)).astype(np.float32)
    >>> x[:, 5] *= 50
    >>> inputs.update(x)
    >>> weight = rng.standard_normal((32, 64)).astype(np.float32)
    >>> multiplier = smoothing.best_multiplier(weight, inputs)
    >>> int(multiplier.argmin())
    5
    """
    values = _weight(weight, inputs)
    inputs.require_rows()
    x = inputs.sample()
    wanted = x @ values.T
    levels = _checks.integer(bits, "bits", 2, 8)
    layer: Callable[..., Array]
    if group is None:
        layer = partial(_in_rows, bits=levels, symmetric=symmetric, static=static)
    else:
        layer = partial(_in_groups, bits=levels, group=group)

    def error_with(multiplier: Array | None) -> float:
        weight = values if multiplier is None else values / multiplier
        return float(np.square(layer(x, weight, multiplier) - wanted).sum(dtype=np.float64))

    best, least = None, error_with(None)
    for statistic, alpha in _TRIED:
        multiplier = smoothing_multiplier(values, inputs, alpha, statistic, alike=alike)
        error = error_with(multiplier)
        if error < least:
            best, least = multiplier, error
    return best


def _in_rows(
    x: Array, weight: Array, multiplier: Array | None, *, bits: int, symmetric: bool, static: bool
) -> Array:
    """Return what an int8 layer gives, with a scale for each row of its weight."""
    scale, point = None, 0
    if static:
        seen = MinMax()
        seen.update(x if multiplier is None else x * multiplier)
        scale, point = seen.scale_zero_point(symmetric)
    layer = _backend.backend.PackedLinear(
        *nearest_rows(weight, bits),
        bias=None,
        activation="none",
        symmetric=symmetric,
        input_scale=scale,
        input_zero_point=point,
        output_scale=None,
        output_zero_point=0,
        input_multiplier=multiplier,
    )
    return layer.run(x)


def _in_groups(
    x: Array, weight: Array, multiplier: Array | None, *, bits: int, group: int
) -> Array:
    """Return what a layer with a scale for each group of inputs gives."""
    read = x if multiplier is None else x * multiplier
    size = np.square(read, dtype=np.float64).mean(axis=0)
    codes, scale = nearest_groups(weight, group, bits, importance=size)
    product: Array = rounded_inputs(read, group) @ dequantized(codes, scale, group).T
    return product


def _weight(weight: ArrayLike, inputs: InputRanges) -> Array:
    if not isinstance(inputs, InputRanges):
        raise TypeError(f"inputs: expected InputRanges, got {type(inputs).__name__}")
    inputs.require_rows()
    return floats(weight, (None, inputs.width), "weight")


def _log_sizes(sizes: Array) -> Array:
    """Return logarithms; a zero counts as the smallest size that is not one."""
    wide = sizes.astype(np.float64)
    smallest = wide[wide > 0].min(initial=np.inf)
    floor = smallest if np.isfinite(smallest) else 1.0
    return np.log(np.where(wide > 0, wide, floor))
