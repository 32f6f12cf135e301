# SPDX-License-Identifier: Apache-2.0
"""What compressing a model computes, as functions on arrays: no layer or model is known here.

`pruning` says which weights may be zero, `smoothing` makes weights and inputs easier to quantize,
`rounding` chooses codes, `sharing` lets weights share few values, `observers` find static scales,
and `measures` say how near results are. `octavo.compress` does all of it for whole models.
"""

from __future__ import annotations

from octavo.algorithms import measures, observers, pruning, rounding, sharing, smoothing

__all__ = ["measures", "observers", "pruning", "rounding", "sharing", "smoothing"]
