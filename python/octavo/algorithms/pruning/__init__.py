# SPDX-License-Identifier: Apache-2.0
"""Which weights of a linear layer may be zero: pure functions on (outputs, inputs) arrays.

Functions return boolean masks, True where a weight stays; `sparsegpt` and `admm` return the pruned
weight, since they move the others. The same arguments always give the same result: of equal scores
the first ones in row order go, and counts are exact.

Examples
--------
>>> import numpy as np
>>> from octavo.algorithms import pruning
>>> weight = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
>>> pruned = weight * pruning.magnitude(weight, 0.75)
>>> int((pruned == 0).sum())
96
"""

from __future__ import annotations

from octavo.algorithms.pruning.alternating import admm, refit
from octavo.algorithms.pruning.by_inputs import wanda
from octavo.algorithms.pruning.fit import OutputFit
from octavo.algorithms.pruning.masks import block, block_global, magnitude, magnitude_global, nm
from octavo.algorithms.pruning.second_order import sparsegpt
from octavo.algorithms.pruning.statistics import InputHessian, InputNorms

__all__ = [
    "InputHessian",
    "InputNorms",
    "OutputFit",
    "admm",
    "block",
    "block_global",
    "magnitude",
    "magnitude_global",
    "nm",
    "refit",
    "sparsegpt",
    "wanda",
]
