# SPDX-License-Identifier: Apache-2.0
"""Int8 layers whose zeros are worth leaving out."""

from __future__ import annotations

from octavo import nn
from octavo.io.bitmap import is_smaller

__all__ = ["sparse_form"]


def sparse_form(layer: nn.Linear) -> nn.Linear:
    """Return `layer` as a `SparseLinear` if its zeros make the saved model smaller.

    Its format is the one that is the fastest here, which may be "dense"; results have the same
    bits.  Layers with fewer zeros (about one in eight) come back as they are.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> from octavo.compression.sparse import sparse_form
    >>> sparse_form(octavo.Linear.from_float(np.eye(32, dtype=np.float32)))
    SparseLinear(in_features=32, out_features=32, bias=False, sparsity=0.97, format='slots64')
    >>> sparse_form(octavo.Linear.from_float(np.ones((32, 32), np.float32)))
    Linear(in_features=32, out_features=32, bias=False)
    """
    state = layer.state_dict()
    if isinstance(layer, nn.SparseLinear) or not is_smaller(state["weight"]):
        return layer
    return nn.SparseLinear.from_state_dict(state, **layer.config())
