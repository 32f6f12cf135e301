# SPDX-License-Identifier: Apache-2.0
"""The linear layer that comes nearest to given outputs, gathered batch by batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array
from octavo.algorithms.pruning.arguments import damped, singular
from octavo.algorithms.pruning.selection import Mask, as_weight
from octavo.algorithms.pruning.statistics import CHUNK, InputHessian, require_rows, rows_of

_ROUNDING = 1e-12
"""Of an input's mean square: a smaller variance is what rounding leaves of none."""


class OutputFit:
    """Inputs of a linear layer together with the outputs that it should have.

    Parameters
    ----------
    inputs, outputs : int
        K and N; takes K x K + K x N float64.
    has_bias : bool
        Whether the layer has a bias, or will get one, that takes up mean errors.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.algorithms import pruning
    >>> fit = pruning.OutputFit(1, 1)
    >>> fit.update(np.array([[1.0], [2.0]]), np.array([[12.0], [14.0]]))
    >>> weight, hessian = fit.solve(np.zeros((1, 1)), damping=0)
    >>> weight
    array([[2.]])
    >>> fit.bias(weight)
    array([10.])
    """

    def __init__(self, inputs: int, outputs: int, *, has_bias: bool = True) -> None:
        self.hessian, self.has_bias = InputHessian(inputs), has_bias
        # Without a bias these stay zero: nothing is centred then.
        self.outputs = _checks.integer(outputs, "outputs", 1)
        self._sum_of_inputs = np.zeros(inputs)
        self._sum_of_outputs = np.zeros(self.outputs)
        self._squares_of_outputs = np.zeros(self.outputs)
        self._cross = np.zeros((self.outputs, inputs))

    def update(self, x: ArrayLike, y: ArrayLike) -> None:
        """Take in rows.

        Parameters
        ----------
        x : float array, shape (..., K), finite
        y : float array, shape (..., N), finite
            What should come out for `x`, as many rows.
        """
        rows, wanted = rows_of(x, self.hessian.width), rows_of(y, self.outputs, "y")
        if len(rows) != len(wanted):
            raise ValueError(f"y: expected {len(rows)} rows, as x has, got {len(wanted)}")
        self.hessian.update(rows)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK].astype(np.float64)
            target = wanted[start : start + CHUNK].astype(np.float64)
            self._cross += target.T @ part
            if self.has_bias:
                self._sum_of_inputs += part.sum(axis=0)
                self._sum_of_outputs += target.sum(axis=0)
            self._squares_of_outputs += np.square(target).sum(axis=0)

    def part(self, start: int, end: int) -> OutputFit:
        """Return what concerns outputs `start` to `end`; inputs are shared, not copied."""
        part = object.__new__(OutputFit)
        part.hessian, part.outputs, part.has_bias = self.hessian, end - start, self.has_bias
        part._sum_of_inputs = self._sum_of_inputs
        part._sum_of_outputs = self._sum_of_outputs[start:end]
        part._squares_of_outputs = self._squares_of_outputs[start:end]
        part._cross = self._cross[start:end]
        return part

    def solve(self, weight: ArrayLike, damping: float) -> tuple[Array, Array]:
        """Return the dense weight that comes nearest to the outputs, and the Hessian around it.

        Parameters
        ----------
        weight : float array, shape (N, K)
            Where the inputs say nothing, the result stays at this one.
        damping : float
            How strongly: this share of the mean of the Hessian's diagonal.

        Returns
        -------
        (weight, hessian) : float64 arrays of shapes (N, K) and (K, K)
            The Hessian is centred if the bias is free; it is what `sparsegpt` and `admm` take.
        """
        mean = self._sum_of_inputs / max(1, self.hessian.rows)
        hessian = self.hessian.matrix() - np.outer(mean, mean)
        cross = self._cross / self.hessian.rows
        cross -= np.outer(self._sum_of_outputs / self.hessian.rows, mean)
        constant = self._constant_inputs()
        for array in (hessian, hessian.T, cross.T):
            array[constant] = 0
        cross[self._is_constant(self._sum_of_outputs, self._squares_of_outputs)] = 0
        full = damped(hessian, damping)
        now = as_weight(weight)
        _checks.check_shape(now, cross.shape, "weight")
        pull = np.diagonal(full) - np.diagonal(hessian)
        try:
            best = np.linalg.solve(full, (cross + pull * now).T).T
        except np.linalg.LinAlgError:
            raise singular(damping) from None
        return best, hessian

    @property
    def is_silent(self) -> bool:
        """Whether the inputs tell no weight from another: a bias makes up for what never varies."""
        return bool(self._constant_inputs().all())

    def _constant_inputs(self) -> Mask:
        squares = np.diagonal(self.hessian.sum_of_products)
        return self._is_constant(self._sum_of_inputs, squares)

    def _is_constant(self, sums: Array, squares: Array) -> Mask:
        """Tell which values, of which these are sums over the rows, never varied."""
        require_rows(self.hessian.rows)
        variance = squares - np.square(sums) / self.hessian.rows
        return variance <= _ROUNDING * squares

    def bias(self, weight: ArrayLike) -> Array | None:
        """Return the bias that makes the mean output of a weight right, (N,); None without one."""
        require_rows(self.hessian.rows)
        if not self.has_bias:
            return None
        mean = self._sum_of_inputs / self.hessian.rows
        return self._sum_of_outputs / self.hessian.rows - as_weight(weight) @ mean
