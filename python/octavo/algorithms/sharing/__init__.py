# SPDX-License-Identifier: Apache-2.0
"""Weights that share few values (Deep Compression): 1-D clustering, and int8 codes made of it.

A layer with few distinct codes is an ordinary int8 layer: it runs at the full speed of int8, and a
file holds it as a codebook and indices (`octavo.io.codebook`).

Examples
--------
>>> import numpy as np
>>> import octavo
>>> from octavo.algorithms import sharing
>>> weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
>>> shared = sharing.share(weight, 8)
>>> len(shared.codebook), len(np.unique(shared.codes))
(8, 8)
>>> octavo.Linear.from_quantized(shared.codes, shared.scale)
Linear(in_features=32, out_features=64, bias=False)
"""

from __future__ import annotations

from octavo.algorithms.sharing.clusters import cluster
from octavo.algorithms.sharing.codebook import Shared, nearest_codes, share

__all__ = ["Shared", "cluster", "nearest_codes", "share"]
