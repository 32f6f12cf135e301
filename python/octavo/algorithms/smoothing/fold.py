# SPDX-License-Identifier: Apache-2.0
"""Evening out the channels between two layers, with no trace left in what they compute."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._float_mode import in_default_mode
from octavo._types import Array
from octavo.algorithms.smoothing.statistics import floats

_WIDEST = np.float32(2.0**20)


def equalizing_scale(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the scales that even out the ranges of the channels between two linear layers.

    For channel i, with the largest magnitudes r of its row in `first` and its column in `second`,
    the scale is s = sqrt(r_first / r_second); divided by it, and multiplied on the other side, both
    are sqrt(r_first * r_second) (Nagel et al. 2019, equation 11). `fold` does that. No data needed.

    Parameters
    ----------
    first : float array, shape (N, K), finite
        The weight whose outputs the channels are.
    second : float array, shape (M, N), finite
        The weight that reads them.

    Returns
    -------
    float32 array, shape (N,)
        Positive; 1 for a channel that is zero on either side.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import smoothing
    >>> first = np.array([[8.0, 0.0], [1.0, 1.0]], np.float32)
    >>> second = np.array([[2.0, 1.0]], np.float32)
    >>> smoothing.equalizing_scale(first, second)
    array([2., 1.], dtype=float32)
    """
    rows = floats(first, (None, None), "first")
    columns = floats(second, (None, rows.shape[0]), "second")
    made = np.abs(rows).max(axis=1, initial=0).astype(np.float64)
    read = np.abs(columns).max(axis=0, initial=0).astype(np.float64)
    used = (made > 0) & (read > 0)
    ratio = np.divide(made, read, out=np.ones_like(made), where=used)
    return np.clip(np.sqrt(ratio), 1 / _WIDEST, _WIDEST).astype(np.float32)


@in_default_mode
def fold(
    first: ArrayLike, bias: ArrayLike | None, second: ArrayLike, scale: ArrayLike
) -> tuple[Array, Array | None, Array]:
    """Divide the outputs of one linear layer by `scale`, and make up for it in the next one.

    Exact, up to rounding, where what lies between leaves a positive factor of a channel alone:
    nothing, ReLU, attention's mean over values. Not with GELU, SiLU or tanh.

    Parameters
    ----------
    first : float array, shape (N, K), finite
    bias : float array, shape (N,), optional
        Of the first layer.
    second : float array, shape (M, N), finite
    scale : positive float array, shape (N,)

    Returns
    -------
    first, bias, second : float32 arrays
        ``first / scale[:, None]``, ``bias / scale`` and ``second * scale``.

    Raises
    ------
    ValueError
        For shapes that do not fit each other, or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import smoothing
    >>> smoothing.fold([[8.0]], [4.0], [[1.0]], [2.0])
    (array([[4.]], dtype=float32), array([2.], dtype=float32), array([[2.]], dtype=float32))
    """
    rows = floats(first, (None, None), "first")
    n = rows.shape[0]
    columns = floats(second, (None, n), "second")
    factors = floats(scale, (n,), "scale")
    _checks.check_scale(factors, "scale")
    shifted = None if bias is None else floats(bias, (n,), "bias") / factors
    return rows / factors[:, None], shifted, columns * factors


def geometric_means(values: Array, alike: Array) -> Array:
    """Return for each positive value the geometric mean of those with its number in `alike`."""
    numbers, counts = np.unique(alike, return_inverse=True, return_counts=True)[1:]
    log = np.log(values.astype(np.float64))
    means: Array = np.exp(np.bincount(numbers, log) / counts)[numbers]
    return means.astype(np.float32)
