# SPDX-License-Identifier: Apache-2.0
"""The codes of a linear layer as tensors: all of them, or a bitmap and the non-zero ones.

The second form is octavo's own on disk, `octavo.io.bitmap`: in state dicts the tensors
``weight_shape``, ``weight_bitmap`` and ``weight_values``.  Every linear layer reads both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch

from octavo.io.bitmap import check_codes, pack_bitmap, unpack_bitmap
from octavo.torch._module import has_shape, take

if TYPE_CHECKING:
    from octavo.torch._tensors import Array

__all__ = ["DENSE", "SPARSE", "codes_of", "names_in", "parts_of", "take_codes"]

DENSE = ("weight",)
SPARSE = ("weight_shape", "weight_bitmap", "weight_values")


def parts_of(codes: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Return bitmap (N, ceil(K / 8)) uint8 and non-zero values int8 of codes (N, K)."""
    bitmap, values = map(torch.from_numpy, pack_bitmap(codes))
    return bitmap, values


def codes_of(bitmap: torch.Tensor, values: torch.Tensor, in_features: int) -> Array:
    """Return the codes (N, K) int8 of a bitmap and its values.

    Raises
    ------
    TypeError, ValueError
        If a part has another type or shape, or they contradict each other.
    """
    if in_features < 0:
        raise ValueError(f"in_features: expected at least 0, got {in_features}")
    for name, part, dtype, shape in (
        ("bitmap", bitmap, torch.uint8, (None, -(-in_features // 8))),
        ("values", values, torch.int8, (None,)),
    ):
        if part.dtype != dtype:
            raise TypeError(f"{name}: expected {dtype}, got {part.dtype}")
        if not has_shape(part, shape):
            wanted = str(shape).replace("None", "any")
            raise ValueError(f"{name}: expected shape {wanted}, got {tuple(part.shape)}")
    found: Array = unpack_bitmap(bitmap.numpy(), values.numpy(), in_features, _fail)
    check_codes(values.numpy(), _fail)
    return found


def _fail(part: str, what: str) -> NoReturn:
    raise ValueError(f"{part}: {what}")


def names_in(state: dict[str, Any], prefix: str, own: tuple[str, ...]) -> tuple[str, ...]:
    """Return by which names a state dict holds the codes: a layer's own, unless it has others."""
    other = SPARSE if own == DENSE else DENSE

    def has_any(names: tuple[str, ...]) -> bool:
        return any(prefix + name in state for name in names)

    return other if has_any(other) and not has_any(own) else own


def take_codes(
    state: dict[str, Any],
    prefix: str,
    names: tuple[str, ...],
    shape: tuple[int, int],
    errors: list[str],
) -> torch.Tensor | None:
    """Return the codes (N, K) int8 that a state dict holds by `names`, as `take` does."""
    if names == DENSE:
        return take(state, f"{prefix}weight", shape, (torch.int8,), errors)
    n, k = shape
    sizes = take(state, f"{prefix}weight_shape", (2,), (torch.int64,), errors)
    if sizes is not None and sizes.tolist() != [n, k]:
        errors.append(f"{prefix}weight_shape: expected {[n, k]}, got {sizes.tolist()}")
        return None
    bitmap = take(state, f"{prefix}weight_bitmap", (n, -(-k // 8)), (torch.uint8,), errors)
    values = take(state, f"{prefix}weight_values", (None,), (torch.int8,), errors)
    if sizes is None or bitmap is None or values is None:
        return None
    try:
        return torch.from_numpy(codes_of(bitmap.contiguous(), values.contiguous(), k))
    except ValueError as error:
        errors.append(f"{prefix}weight_{error}")
        return None
