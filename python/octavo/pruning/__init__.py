# SPDX-License-Identifier: Apache-2.0
"""Which weights of a linear layer may be zero: pure functions on (out_features, in_features) arrays.

Functions return boolean masks, True where a weight stays; `sparsegpt` returns the pruned weight,
since it moves the others. The same arguments always give the same result: of equal scores the
first ones in row order go, and counts are exact.

Examples
--------
>>> import numpy as np
>>> from octavo import pruning
>>> weight = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
>>> pruned = weight * pruning.magnitude(weight, 0.75)
>>> int((pruned == 0).sum())
96
"""

from __future__ import annotations

from octavo.pruning.calibrated import sparsegpt, wanda
from octavo.pruning.masks import block, block_global, magnitude, magnitude_global, nm
from octavo.pruning.statistics import InputHessian, InputNorms

__all__ = [
    "InputHessian",
    "InputNorms",
    "block",
    "block_global",
    "magnitude",
    "magnitude_global",
    "nm",
    "sparsegpt",
    "wanda",
]
