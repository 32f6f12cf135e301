# SPDX-License-Identifier: Apache-2.0
"""How far a layer's outputs are off on average."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo.algorithms.smoothing.statistics import rows_of


class MeanError:
    """The mean of wanted minus got outputs, channel by channel: what a bias can make up for.

    Bias correction of Nagel et al. (2019, section 4.2), measured on data instead of derived from
    batch norms. Both outputs are those before the activation.

    Parameters
    ----------
    width : int
        N, the layer's number of outputs.

    Attributes
    ----------
    rows : int
        Rows seen so far.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import smoothing
    >>> error = smoothing.MeanError(2)
    >>> error.update(np.array([[1.0, 2.0]], np.float32), np.array([[1.5, 2.0]], np.float32))
    >>> error.corrected(None)
    array([0.5, 0. ], dtype=float32)
    """

    def __init__(self, width: int) -> None:
        self.width = _checks.integer(width, "width", 1)
        self.rows = 0
        self._sum = np.zeros(self.width)

    def update(self, got: ArrayLike, wanted: ArrayLike) -> None:
        """Take in rows of outputs.

        Parameters
        ----------
        got, wanted : float arrays, shape (..., N), finite
            Without the rows of padding.
        """
        now, goal = rows_of(got, self.width, "got"), rows_of(wanted, self.width, "wanted")
        if now.shape != goal.shape:
            raise ValueError(f"got: expected as many rows as wanted, {len(goal)}, got {len(now)}")
        self._sum += np.subtract(goal, now, dtype=np.float64).sum(axis=0)
        self.rows += len(now)

    def mean(self) -> NDArray[Any]:
        """Return the mean error, float64 of shape (N,); ValueError if no row was seen."""
        if self.rows == 0:
            raise ValueError("outputs: expected at least one row of outputs, got none")
        return self._sum / self.rows

    def corrected(self, bias: ArrayLike | None) -> NDArray[Any]:
        """Return the bias that leaves no mean error.

        Parameters
        ----------
        bias : float array, shape (N,), optional
            The layer's own; none counts as zeros.

        Returns
        -------
        float32 array, shape (N,)
        """
        mean = self.mean()
        if bias is not None:
            mean = mean + rows_of(bias, self.width, "bias")[0]
        return mean.astype(np.float32)
