# SPDX-License-Identifier: Apache-2.0
"""``octavo bench quantize``: float32 to int8 and back, against the copy speed and NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from octavo import functional
from octavo._types import Array
from octavo.bench import roofline
from octavo.bench.cases import time_case
from octavo.bench.options import Options, configurations
from octavo.bench.report import Row

SHAPES = ((128, 768), (512, 3072), (4096, 4096))


@dataclass(frozen=True)
class Job:
    """One conversion: ours, the same into `out`, NumPy's, and the bytes it reads and writes."""

    name: str
    ours: Callable[[], Any]
    into: Callable[[], Any]
    numpy: Callable[[], Array]
    nbytes: int


def numpy_quantize(x: Array, scale: Any) -> Array:
    """Return symmetric int8 codes of `x`; `scale` must broadcast."""
    return np.clip(np.rint(x / scale), -128, 127).astype(np.int8)


def numpy_dequantize(codes: Array, scale: Any) -> Array:
    """Return the float32 values of int8 codes."""
    return codes.astype(np.float32) * scale


def numpy_quantize_rows(x: Array) -> Array:
    """Return asymmetric int8 codes of `x` with a range per row."""
    low = np.minimum(x.min(axis=1, keepdims=True), 0)
    high = np.maximum(x.max(axis=1, keepdims=True), 0)
    inverse = np.float32(255) / (high - low)
    zero_point = np.rint(np.float32(-128) - low * inverse)
    return np.clip(np.rint(x * inverse) + zero_point, -128, 127).astype(np.int8)


def make_array(rows: int, columns: int) -> Array:
    """Return the random float32 array that the jobs work on."""
    rng = np.random.default_rng((0, rows, columns))
    return rng.standard_normal((rows, columns), dtype=np.float32)


def tensor_scale(x: Array) -> np.float32:
    """Return the symmetric scale of the whole array."""
    return np.float32(np.abs(x).max() / 127)


def row_scale(x: Array) -> Array:
    """Return the symmetric scale of each row."""
    return (np.abs(x).max(axis=1) / 127).astype(np.float32)


def jobs(rows: int, columns: int) -> list[Job]:
    """Return the conversions of a (rows, columns) array that are timed."""
    x = make_array(rows, columns)
    one, each = tensor_scale(x), row_scale(x)
    column = each[:, None]
    codes, row_codes = numpy_quantize(x, one), numpy_quantize(x, column)
    down, up = functional.quantize_linear, functional.dequantize_linear
    pairs: dict[str, tuple[Callable[..., Any], Callable[[], Array]]] = {
        "quantize tensor": (partial(down, x, one), partial(numpy_quantize, x, one)),
        "quantize axis 0": (partial(down, x, each, axis=0), partial(numpy_quantize, x, column)),
        "quantize dynamic": (
            partial(functional.quantize_dynamic, x),
            partial(numpy_quantize_rows, x),
        ),
        "dequantize tensor": (partial(up, codes, one), partial(numpy_dequantize, codes, one)),
        "dequantize axis 0": (
            partial(up, row_codes, each, axis=0),
            partial(numpy_dequantize, row_codes, column),
        ),
    }
    return [
        Job(name, ours, partial(ours, out=np.empty_like(numpy())), numpy, 5 * x.size)
        for name, (ours, numpy) in pairs.items()
    ]


def check_against(expected: Array, name: str, result: Any, float_bound: float = 1e-6) -> None:
    """Raise unless `result` is `expected` up to one code, or for floats up to a share of the top.

    An engine that made its own codes before it dequantizes them may lie a whole code apart where
    it rounds otherwise: it needs a `float_bound` of 1/127.
    """
    value = np.asarray(result[0] if isinstance(result, tuple) else result)
    if value.shape != expected.shape or value.dtype != expected.dtype:
        wanted, got = (f"{array.dtype} {array.shape}" for array in (expected, value))
        raise ArithmeticError(f"{name}: expected {wanted}, got {got}")
    off = np.abs(value.astype(np.float32) - expected.astype(np.float32)).max(initial=0)
    top = float(np.abs(expected).max(initial=0))
    bound = 1.0 if expected.dtype.kind == "i" else float_bound * top
    if not off <= bound:
        raise ArithmeticError(f"{name}: differs by {off:.3g}, expected <= {bound:.3g}")


def run(options: Options) -> Iterator[Row]:
    """Yield the rows, ours and NumPy's for each conversion, shape, tier and thread count."""
    for _, threads in configurations(options):
        for rows, columns in options.shapes or SHAPES:
            for job in jobs(rows, columns):
                yield from time_case(
                    ("quantize", f"{rows}x{columns} {job.name}", threads),
                    {"octavo": job.ours, "octavo out": job.into, "numpy": job.numpy},
                    (rows * columns, job.nbytes),
                    "numpy",
                    probes={"copy": partial(roofline.copy_speed, job.nbytes // 2)},
                    rounds=options.rounds,
                    seconds=options.seconds,
                    check=partial(check_against, job.numpy()),
                )
