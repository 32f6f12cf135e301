# SPDX-License-Identifier: Apache-2.0
"""Single kernels by name, on operands built here in NumPy and on memory next to a guard page."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from guard import guarded

Array = np.ndarray[Any, np.dtype[Any]]

try:
    core: Any = importlib.import_module("octavo._core")
except ImportError:
    core = None

needs_core = pytest.mark.skipif(core is None, reason="the native module is not built")


def kernel_params(*families: str) -> list[Any]:
    """One pytest parameter per row of the families; rows of tiers missing here are skipped."""
    if core is None:
        return [pytest.param({}, id="no-native-module", marks=needs_core)]
    params = []
    for family in families:
        for row in core.kernels(family):
            missing = pytest.mark.skipif(not row["available"], reason=f"no {row['isa']} here")
            params.append(pytest.param(row, id=row["name"], marks=missing))
    return params


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def pack(weight: Array) -> tuple[Array, int]:
    """(n, k) codes as panels of 16 columns in groups of 4, with slack; and a panel's bytes."""
    n, k = weight.shape
    padded = np.zeros((round_up(n, 16), round_up(k, 4)), np.int8)
    padded[:n, :k] = weight
    groups = padded.shape[1] // 4
    panels = padded.reshape(len(padded) // 16, 16, groups, 4).transpose(0, 2, 1, 3)
    slack = 64 * (round_up(groups, 16) - groups) if n else 0
    return np.concatenate([panels.reshape(-1), np.zeros(slack, np.int8)]), 64 * groups


def orders_of(weight: Array) -> Array:
    """The bytes of the orders that packing (n, k) codes gives."""
    orders: Array = core.kernel_pack_b(weight.T)[1]
    return orders


def in_form(codes: Array, form: str, rows: int) -> tuple[Array, int]:
    """Codes as uint8 rows in a kernel's form, zero-padded to 64; and where |code| starts."""
    m, k = codes.shape
    k_pad = round_up(k, 64)
    out = np.zeros((rows, 2 * k_pad if form == "sign_abs" else k_pad), np.uint8)
    shift = 128 if form == "u8" else 0
    out[:m, :k] = (codes.astype(np.int16) + shift).astype(np.uint8)
    if form == "sign_abs":
        out[:m, :k] = np.where(codes < 0, 255, 0)
        out[:m, k_pad : k_pad + k] = np.abs(codes.astype(np.int16)).astype(np.uint8)
    return out, k_pad


def run_gemm(
    kernel: dict[str, Any],
    codes: Array,
    weight: Array,
    *,
    before: Array | None = None,
    k_chunk: int | None = None,
    ordered: bool = True,
    front: bool = False,
) -> Array:
    """Sums of one gemm_s8 row: codes (m, k) times weight (n, k), added to `before` if given.

    With `ordered` the kernel is told in which order groups of the weight pair.
    """
    (m, k), n = codes.shape, weight.shape[0]
    rows, panels = round_up(m, kernel["m_align"]), round_up(n, 16) // 16
    a, abs_offset = in_form(codes, core.kernel_gemm_s8_form(kernel["name"]), rows)
    b, stride = pack(weight)
    c = np.full((rows, 16 * panels), -7, np.int32)
    if before is not None:
        c[:m, :n] = before
    a, b, c = (guarded(array, front=front) for array in (a, b, c))
    step = k_chunk or max(k, 1)
    for k0 in range(0, max(k, 1), step):
        orders = orders_of(weight[:, k0 : k0 + step])
        core.kernel_gemm_s8(
            kernel["name"],
            a[:, k0:],
            abs_offset,
            b[16 * k0 :],
            stride,
            guarded(orders, front=front) if ordered else None,
            c,
            m,
            panels,
            (min(step, k - k0) + 3) // 4,
            before is not None or k0 > 0,
        )
    return c[:m, :n]


def gemm_reference(kernel: dict[str, Any], codes: Array, weight: Array) -> Array:
    """The exact sums in int64, then modulo 2**32; a kernel that takes u8 sees codes + 128."""
    shift = 128 if core.kernel_gemm_s8_form(kernel["name"]) == "u8" else 0
    exact = (codes.astype(np.int64) + shift) @ weight.astype(np.int64).T
    return (exact & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


@dataclass
class QuantizedRows:
    codes: Array  # int8
    scale: Array
    zero_point: Array
    raw: Array  # all bytes that were there to be written, prefilled with 0xA5


def run_quantize_rows(
    kernel: dict[str, Any],
    x: Array,
    form: str,
    *,
    symmetric: bool = False,
    static: tuple[float, int] | None = None,
    pad: bool = True,
    front: bool = False,
    multiplier: Array | None = None,
) -> QuantizedRows:
    """Codes of one quantize_rows row, taken back out of the kernel's form."""
    m, k = x.shape
    k_pad = round_up(k, 64)
    width = 2 * k_pad if form == "sign_abs" else k_pad
    a = guarded(np.full((m, width), 0xA5, np.uint8), front=front)
    scale = guarded(np.zeros(m, np.float32), front=front)
    zero_point = guarded(np.zeros(m, np.int32), front=front)
    static_scale, static_zero_point = static or (None, 0)
    core.kernel_quantize_rows(
        kernel["name"],
        guarded(x, front=front),
        form,
        symmetric,
        static_scale,
        static_zero_point,
        a,
        k_pad,
        pad,
        scale,
        zero_point,
        None if multiplier is None else guarded(multiplier, front=front),
    )
    shift = 128 if form == "u8" else 0
    codes = (a[:, :k].astype(np.int16) - shift).astype(np.uint8).view(np.int8)
    if form == "sign_abs":
        magnitude = a[:, k_pad : k_pad + k].astype(np.int16)
        codes = np.where(a[:, :k] == 255, -magnitude, magnitude).astype(np.int8)
    return QuantizedRows(codes, scale, zero_point - shift, a)
