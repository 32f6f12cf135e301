# SPDX-License-Identifier: Apache-2.0
"""How int8 codes are written: as they are, with a bitmap, or with a codebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from octavo.nn.weights.base import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["code_tensors", "form_of", "is_smaller"]

Codes = NDArray[np.int8]

# What reads and writes files is imported when there are some: layers do without.


def is_smaller(codes: Codes) -> bool:
    """Whether codes (N, K) take fewer bytes with a bitmap than without."""
    from octavo.io.bitmap import is_smaller

    return is_smaller(codes)


def form_of(codes: Codes, store: str, allowed: tuple[str, ...]) -> str:
    """Return the form that takes the fewest bytes: "plain", or one of those allowed.

    Parameters
    ----------
    codes : int8 array, shape (N, K)
    store : "plain" or "zstd"
        Compressed, what counts is what is left of each form.
    allowed : tuple of "bitmap", "codebook"
    """
    from octavo.io.codebook import different_codes, index_bits
    from octavo.io.zstd_file import compressed_size

    if not codes.size:
        return "plain"
    size: Callable[[Any], int] = compressed_size if store == "zstd" else _plain_size
    best, least = "plain", size(codes)
    for form in allowed:
        if form == "codebook" and index_bits(len(different_codes(codes))) == 8:
            continue
        # The shape is 16 bytes.
        taken = 16 + sum(size(part) for part in _parts(form, codes).values())
        if taken < least:
            best, least = form, taken
    return best


def code_tensors(key: str, codes: Callable[[], Codes], form: str) -> list[StoredTensor]:
    """List the tensors that hold codes; they are computed when their turn comes.

    Parameters
    ----------
    key : str
        Of the whole: ``"weight"``.
    codes : callable
        Gives them, as often as it is asked.
    form : "plain", "bitmap" or "codebook"
    """
    whole = codes()
    if form == "plain":
        return [StoredTensor(key, whole.dtype, whole.shape, codes)]
    tensors = [StoredTensor.of(f"{key}_shape", np.array(whole.shape, np.int64))]
    for part, value in _parts(form, whole).items():

        def again(part: str = part) -> Any:
            return _parts(form, codes())[part]

        tensors.append(StoredTensor(f"{key}_{part}", value.dtype, value.shape, again))
    return tensors


def _parts(form: str, codes: Codes) -> dict[str, Any]:
    from octavo.io.bitmap import pack_bitmap
    from octavo.io.codebook import different_codes, pack_indices

    if form == "bitmap":
        bitmap, values = pack_bitmap(codes)
        return {"bitmap": bitmap, "values": values}
    codebook = different_codes(codes)
    return {"codebook": codebook, "indices": pack_indices(codes, codebook)}


def _plain_size(array: Any) -> int:
    return int(array.nbytes)
