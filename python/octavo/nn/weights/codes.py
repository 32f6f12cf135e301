# SPDX-License-Identifier: Apache-2.0
"""How int8 codes are made, and how they are written: as they are, or with a bitmap or codebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo._types import Array
from octavo.nn.weights.base import Layout
from octavo.nn.weights.stored import StoredTensor
from octavo.qtensor import quantize

Codes = NDArray[np.int8]

# What reads and writes files is imported when there are some: layers do without.


def is_smaller(codes: Codes) -> bool:
    """Whether codes (N, K) take fewer bytes with a bitmap than without."""
    from octavo.io.bitmap import is_smaller

    return is_smaller(codes)


def form_of(codes: Codes, store: str, allowed: tuple[str, ...]) -> str:
    """Return the form that takes the fewest bytes, "plain" or one of those allowed.

    In a "zstd" store, what counts is what is left of each form.
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
    """List the tensors that hold codes in a form; `codes` gives them when their turn comes."""
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


def bitmap_layout(shape: tuple[int | None, int]) -> Layout:
    """Return types and shapes of what `bitmap_parts` gives for codes of a shape."""
    n, k = shape
    return {
        "weight_shape": (np.dtype(np.int64), (2,)),
        "weight_bitmap": (np.dtype(np.uint8), (n, -(-k // 8))),
        "weight_values": (np.dtype(np.int8), (None,)),
    }


def bitmap_parts(codes: Codes) -> dict[str, Any]:
    """Return shape, bitmap and non-zero values of codes, as `octavo.io.bitmap` draws them."""
    parts = {f"weight_{part}": value for part, value in _parts("bitmap", codes).items()}
    return {"weight_shape": np.array(codes.shape, np.int64), **parts}


def from_bitmap(parts: Mapping[str, Any], shape: tuple[int, int]) -> Codes:
    """Return the codes of `bitmap_parts`."""
    from octavo.io.bitmap import check_codes, unpack_bitmap

    k = shape[1]
    if k < 0:
        raise ValueError(f"in_features: expected at least 0, got {k}")
    for key, (dtype, wanted) in bitmap_layout((None, k)).items():
        part = parts[key]
        if part.dtype != dtype:
            raise TypeError(f"{key}: expected {dtype}, got {part.dtype}")
        fits = [want in (None, got) for want, got in zip(wanted, part.shape, strict=False)]
        if len(wanted) != part.ndim or not all(fits):
            text = str(wanted).replace("None", "any")
            raise ValueError(f"{key}: expected shape {text}, got {part.shape}")
    if tuple(parts["weight_shape"]) != shape:
        raise ValueError(
            f"weight_shape: expected {list(shape)}, got {parts['weight_shape'].tolist()}"
        )
    bitmap, values = parts["weight_bitmap"], parts["weight_values"]
    codes: Codes = unpack_bitmap(bitmap, values, k, _fail)
    check_codes(values, _fail)
    return codes


def _fail(part: str, what: str) -> NoReturn:
    raise ValueError(f"weight_{part}: {what}")


def largest_code(codes: Array) -> int:
    """Return the largest magnitude of codes."""
    return max(-int(codes.min(initial=0)), int(codes.max(initial=0)))


def quantized_weight(weight: ArrayLike) -> tuple[Array, Array]:
    """Codes (N, K) and scales (N,) of a float weight."""
    values = _checks.as_float32(weight, "weight", float64=True)
    _checks.check_shape(values, (None, None), "weight")
    _checks.check_finite(values, "weight")
    q = quantize(values, axis=0)
    return q.data, q.scale


def scale_of_rows(scale: ArrayLike, n: int) -> Array:
    """Return the scales as (N,); one value stands for all rows."""
    array = _checks.as_float32(scale, "scale", float64=True)
    if array.shape not in ((n,), (n, 1), (), (1,)):
        raise ValueError(f"scale: expected shape ({n},) or ({n}, 1), got {array.shape}")
    _checks.check_scale(array, "scale")
    return np.array(np.broadcast_to(array.reshape(-1), (n,)))


def rows_of_panels(panels: Array, index: Array, k: int) -> Array:
    """Return some rows of codes (N, k) that lie as (panels, groups, width, group)."""
    _, groups, width, group = panels.shape
    rows = panels[index // width, :, index % width].reshape(index.size, groups * group)
    return np.ascontiguousarray(rows[:, :k])
