# SPDX-License-Identifier: Apache-2.0
"""Arguments described in JSON: arrays of any type, shape, layout and content, and other things."""

from __future__ import annotations

import copy
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    import random

Array = np.ndarray[Any, np.dtype[Any]]
Spec = Any
"""A dict that describes an array, ``{"value": ...}``, or ``{"alias": name}``."""

DTYPES = (
    *("f4", "i1", "u1", "f2", "i4", "i8", "u2", "i2", "f8"),
    *("?", "u8", "c8", "S1", "M8[s]", ">f4"),
)
LAYOUTS = (
    *("fortran", "reversed", "step", "broadcast", "overlap", "misaligned", "read-only"),
    *("masked", "matrix", "record"),
)
_SUBCLASSES = ("masked", "matrix", "record")
# The sanitizer's `new` ends the process where there is no memory, instead of throwing.
_SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
_HUGE = (4096,) if _SANITIZED else (2**31 - 1, 2**31, 2**40, 2**60, 2**62)
JUNK = (
    *(None, True, -1, 0, 1, 2, 3, 127, 128, 255, 65_793, *_HUGE, 2**63, -(2**63), 10**30),
    *(0.0, -1.5, 1e-45, 1e38, 1e308, math.inf, math.nan, "", "none", "gelu", "\0", [], {}),
)
_LARGEST = 1 << 16
_BYTES = np.random.default_rng(1).integers(0, 256, 2 * _LARGEST * 8, np.uint8)


class _Record(np.ndarray[Any, np.dtype[Any]]):
    """A subclass like any other."""


def array(dtype: str, shape: tuple[int, ...], fill: str = "normal", top: Any = 0) -> Spec:
    """Describe an array; `top` belongs to some kinds of content."""
    return {"dtype": dtype, "shape": list(shape), "fill": fill, "top": top, "layout": "plain"}


def spoil(rng: random.Random, arguments: dict[str, Spec]) -> None:
    """Make one of the arguments something that no checked function would pass."""
    name = rng.choice(list(arguments))
    spec = arguments[name]
    kind = rng.random()
    if kind < 0.06:
        arguments[name] = {"alias": rng.choice(list(arguments))}
    elif "dtype" not in spec or kind < 0.1:
        arguments[name] = {"value": rng.choice(JUNK)}
    elif kind < 0.35:
        spec["layout"] = rng.choice(LAYOUTS)
    elif kind < 0.5:
        spec["fill"] = rng.choice(("wild", "normal", "zero", "nan", "lowest", "below"))
        spec["top"] = rng.choice((1, 2, 5, 200))
    elif kind < 0.65:
        spec["dtype"] = rng.choice(DTYPES)
    else:
        spec["shape"] = _other_shape(rng, spec["shape"])


def _other_shape(rng: random.Random, shape: list[int]) -> list[int]:
    shape = copy.copy(shape)
    if not shape or rng.random() < 0.2:
        return rng.choice(([], [1, *shape], [*shape, 1], shape[1:], shape[::-1]))
    at = rng.randrange(len(shape))
    shape[at] = rng.choice((0, 1, shape[at] + 1, max(0, shape[at] - 1), 2 * shape[at]))
    if rng.random() < 0.2:
        shape[at] = rng.choice(_HUGE)
        if len(shape) > 1 and rng.random() < 0.5:
            shape[at - 1] = 0
    return shape


def build(arguments: dict[str, Spec], *, plain: bool = False) -> dict[str, Any]:
    """Make the arguments; with `plain`, arrays of no subclass."""
    made: dict[str, Any] = {}
    for name, spec in arguments.items():
        if "alias" not in spec:
            made[name] = _array(spec, plain) if "dtype" in spec else spec["value"]
    return {
        name: made.get(spec["alias"]) if "alias" in spec else made[name]
        for name, spec in arguments.items()
    }


def _array(spec: Spec, plain: bool) -> Array:
    dtype, shape, layout = np.dtype(spec["dtype"]), tuple(spec["shape"]), spec["layout"]
    if plain and layout in _SUBCLASSES:
        layout = "plain"
    count = math.prod(shape)
    if count > _LARGEST or max(shape, default=0) > _LARGEST:
        # All elements in one place: a shape may claim anything.
        whole = np.zeros((), dtype)
        return as_strided(whole, shape, (0,) * len(shape)) if _is_possible(shape, dtype) else whole
    values = _content(spec, dtype, count)
    if layout == "plain":
        return values.reshape(shape)
    return _laid_out(values.reshape(shape), layout)


def _is_possible(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether NumPy has arrays of so many bytes, empty axes counted as one."""
    return math.prod(size or 1 for size in shape) * max(1, dtype.itemsize) < 2**63


def _content(spec: Spec, dtype: np.dtype[Any], count: int) -> Array:
    fill, top = spec["fill"], spec["top"]
    if fill == "zero":
        return np.zeros(count, dtype)
    if fill == "lowest":
        return np.full(count, 0x80, np.uint8).repeat(dtype.itemsize).view(dtype)
    if fill == "given":
        return np.resize(np.array(top), count).astype(dtype)
    if fill == "nan" and dtype.kind == "f":
        return np.full(count, np.nan, dtype)
    start = (count * 7919 + spec.get("at", 0)) % _LARGEST
    raw = _BYTES[8 * start : 8 * start + count * dtype.itemsize].copy()
    if dtype.kind == "b":
        return raw % 2 == 0
    if fill == "wild" or dtype.kind not in "fiu":
        return raw.view(dtype)
    noise = _BYTES[start : start + count].astype(np.int64) - 128
    if fill == "below":
        return (noise % max(1, int(top))).astype(dtype)
    if fill == "starts":
        return np.linspace(0, top, count).astype(dtype)
    if fill == "order":  # each once
        return np.arange(count)[::-1].astype(dtype)
    if fill == "columns":  # rising within rows of `top`
        return (np.arange(count) % max(1, int(top))).astype(dtype)
    if dtype.kind == "f":
        return (noise / (64 if fill == "normal" else 1)).astype(dtype)
    if fill == "codes":
        return (noise % (2 * int(top) + 1) - int(top)).astype(dtype)
    return noise.astype(dtype)


def _laid_out(values: Array, layout: str) -> Array:
    if layout == "fortran":
        return np.asfortranarray(values)
    if layout == "reversed":
        every = (slice(None, None, -1),) * values.ndim
        return np.ascontiguousarray(values[every])[every]
    if layout == "step" and values.ndim:
        return values.repeat(2, axis=-1)[..., ::2]
    if layout == "broadcast" and values.ndim and len(values):
        return np.broadcast_to(values[:1], values.shape)
    if layout == "overlap" and values.size:
        steps = tuple(values.itemsize if size > 1 else 0 for size in values.shape)
        return as_strided(np.ascontiguousarray(values), values.shape, steps)
    if layout == "misaligned":
        memory = np.zeros(values.nbytes + 64, np.uint8)
        odd = memory[1 : 1 + values.nbytes].view(values.dtype).reshape(values.shape)
        odd[...] = values
        return odd
    if layout == "read-only":
        values.flags.writeable = False
    if layout == "masked":
        return np.ma.masked_array(values, np.zeros(values.shape, bool))
    if layout == "matrix" and values.ndim == 2:
        return values.view(np.matrix)
    return values.view(_Record) if layout == "record" else values
