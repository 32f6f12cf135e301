# SPDX-License-Identifier: Apache-2.0
"""Which columns of a layer's input are too large to share a scale with the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo import _checks
from octavo.algorithms.smoothing.statistics import InputRanges


def outlier_columns(inputs: InputRanges, threshold: float = 6.0) -> NDArray[Any]:
    """Return the columns that reach a magnitude (Dettmers et al. 2022, "LLM.int8()").

    Parameters
    ----------
    inputs : InputRanges
        Of what the layer reads.
    threshold : float
        Positive; 6.0 is the published one.

    Returns
    -------
    int64 array, shape (count,)
        Ascending, as `octavo.nn.OutlierLinear.from_float` takes them.

    Raises
    ------
    TypeError, ValueError
        For a threshold that is no positive number, or inputs that saw no row.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import smoothing
    >>> inputs = smoothing.InputRanges(3)
    >>> inputs.update(np.array([[0.5, 9.0, -1.0]], np.float32))
    >>> smoothing.outlier_columns(inputs)
    array([1])
    """
    if not isinstance(inputs, InputRanges):
        raise TypeError(f"inputs: expected InputRanges, got {type(inputs).__name__}")
    limit = _checks.real(threshold, "threshold", "(0, inf)")
    inputs.require_rows()
    return np.flatnonzero(inputs.largest >= limit).astype(np.int64)
