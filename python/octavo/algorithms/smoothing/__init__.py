# SPDX-License-Identifier: Apache-2.0
"""Making weights and inputs easier to quantize: functions on the arrays of linear layers.

Scale moved from inputs to weights, channels evened out between layers, mean errors taken up by
biases, outlier columns found. `octavo.compress` does these for whole models; see the fields smooth,
equalize, correct_bias and outliers of `octavo.compression.Quantize`.

Examples
--------
>>> import numpy as np, octavo
>>> from octavo.algorithms import smoothing
>>> rng = np.random.default_rng(0)
>>> x = rng.standard_normal((200, 32)).astype(np.float32)
>>> x[:, 7] *= 40  # a channel that widens every row's range
>>> weight = rng.standard_normal((16, 32)).astype(np.float32)
>>> inputs = smoothing.InputRanges(32)
>>> inputs.update(x)
>>> multiplier = smoothing.smoothing_multiplier(weight, inputs, alpha=0.7)
>>> plain = octavo.Linear.from_float(weight)
>>> smooth = octavo.Linear.from_float(weight / multiplier, input_multiplier=multiplier)
>>> errors = [np.square(layer(x) - x @ weight.T).mean() for layer in (plain, smooth)]
>>> bool(errors[1] < 0.5 * errors[0])
True
"""

from __future__ import annotations

from octavo.algorithms.smoothing.bias import MeanError
from octavo.algorithms.smoothing.fold import equalizing_scale, fold
from octavo.algorithms.smoothing.migrate import best_multiplier, smoothing_multiplier
from octavo.algorithms.smoothing.outliers import outlier_columns
from octavo.algorithms.smoothing.statistics import InputRanges

__all__ = [
    "InputRanges",
    "MeanError",
    "best_multiplier",
    "equalizing_scale",
    "fold",
    "outlier_columns",
    "smoothing_multiplier",
]
