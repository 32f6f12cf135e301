# SPDX-License-Identifier: Apache-2.0
"""How the codes of a layer are written: as they are, with a bitmap, or with a codebook."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from octavo import nn
from octavo.io.bitmap import pack_bitmap
from octavo.io.codebook import different_codes, index_bits, pack_indices
from octavo.io.safetensors import TensorPlan
from octavo.io.zstd_file import compressed_size

__all__ = ["code_plans", "form_of"]


def form_of(layer: Any, store: str, allowed: tuple[str, ...]) -> str:
    """Return the form that takes the fewest bytes: "plain", or one of those allowed.

    Parameters
    ----------
    layer : Linear or Embedding
        Only a `SparseLinear` may have a bitmap: that is how loading knows it.
    store : "plain" or "zstd"
        Compressed, what counts is what is left of each form.
    allowed : tuple of "bitmap", "codebook"
    """
    codes = layer.weight_codes
    if not codes.size:
        return "plain"
    size = compressed_size if store == "zstd" else _plain_size
    best, least = "plain", size(codes)
    for form in allowed:
        if form == "bitmap" and not isinstance(layer, nn.SparseLinear):
            continue
        if form == "codebook" and index_bits(len(different_codes(codes))) == 8:
            continue
        # The shape is 16 bytes.
        taken = 16 + sum(size(part) for part in _parts(form, codes).values())
        if taken < least:
            best, least = form, taken
    return best


def code_plans(name: str, layer: Any, form: str) -> list[TensorPlan]:
    """List the tensors that hold the codes of a layer; they are computed when their turn comes.

    Parameters
    ----------
    name : str
        Of the whole: ``"X.weight"``.
    layer : Linear or Embedding
    form : "plain", "bitmap" or "codebook"
    """
    if form == "plain":
        codes = layer.weight_codes
        make = partial(getattr, layer, "weight_codes")
        return [TensorPlan(name, codes.dtype, codes.shape, make)]
    codes = layer.weight_codes
    shape = np.array(codes.shape, np.int64)
    plans = [TensorPlan(f"{name}_shape", shape.dtype, shape.shape, lambda: shape)]
    for part, value in _parts(form, codes).items():

        def again(part: str = part) -> Any:
            return _parts(form, layer.weight_codes)[part]

        plans.append(TensorPlan(f"{name}_{part}", value.dtype, value.shape, again))
    return plans


def _parts(form: str, codes: Any) -> dict[str, Any]:
    if form == "bitmap":
        bitmap, values = pack_bitmap(codes)
        return {"bitmap": bitmap, "values": values}
    codebook = different_codes(codes)
    return {"codebook": codebook, "indices": pack_indices(codes, codebook)}


def _plain_size(array: Any) -> int:
    return int(array.nbytes)
