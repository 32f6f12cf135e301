# SPDX-License-Identifier: Apache-2.0
"""Every quantize_rows, epilogue and spmm_f32 row against the reference, on guarded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reference
from guard import guarded, guarded_empty
from raw_kernels import core, kernel_params, round_up, run_quantize_rows
from reference import assert_same_bits

Kernel = dict[str, Any]
Array = np.ndarray[Any, np.dtype[Any]]
quantizers = pytest.mark.parametrize("kernel", kernel_params("quantize_rows"))
products = pytest.mark.parametrize("kernel", kernel_params("spmm_f32"))
epilogues = pytest.mark.parametrize("kernel", kernel_params("epilogue"))
fronts = pytest.mark.parametrize("front", [False, True])
forms = pytest.mark.parametrize("form", ["s8", "sign_abs", "u8"])
WIDTHS = [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130]
ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh"]


def special_rows(rng: np.random.Generator, k: int) -> Array:
    """Rows that reach every branch of the quantizer."""
    top = np.finfo(np.float32).max
    i = np.arange(k)
    rows = [
        rng.normal(0, 2, k),
        np.zeros(k),
        np.full(k, -0.0),
        np.where(i % 2, top, -top),
        rng.normal(0, 1e-39, k),
        rng.integers(-254, 256, k) / 2,
        np.abs(rng.normal(0, 3, k)),
        -np.abs(rng.normal(0, 3, k)) - 5,
        np.where(i == k - 1, np.nan, 1.0),
        np.where(i == 0, np.inf, 1.0),
        np.where(i == k // 2, -np.inf, 1.0),
    ]
    return np.array(rows, np.float32)


def check_forms(raw: Array, codes: Array, form: str, pad: bool) -> None:
    """The signs and absolute values, and the padding behind k."""
    k, k_pad = codes.shape[1], round_up(codes.shape[1], 64)
    padding = np.full((len(codes), k_pad - k), 0 if pad else 0xA5, np.uint8)
    np.testing.assert_array_equal(raw[:, k:k_pad], padding)
    if form == "sign_abs":
        np.testing.assert_array_equal(raw[:, :k], np.where(codes < 0, 255, 0))
        absolute = np.abs(codes.astype(np.int16)).astype(np.uint8)
        np.testing.assert_array_equal(raw[:, k_pad : k_pad + k], absolute)
        np.testing.assert_array_equal(raw[:, k_pad + k :], padding)


@quantizers
@forms
@fronts
@pytest.mark.parametrize("symmetric", [False, True])
def test_dynamic_rows(
    rng: np.random.Generator, kernel: Kernel, form: str, front: bool, symmetric: bool
) -> None:
    for k in WIDTHS:
        x, pad = special_rows(rng, k), k % 2 == 0
        wanted = reference.quantize_dynamic(x, symmetric)
        got = run_quantize_rows(kernel, x, form, symmetric=symmetric, pad=pad, front=front)
        assert_same_bits(got.codes, wanted[0])
        assert_same_bits(got.scale, wanted[1])
        assert_same_bits(got.zero_point, wanted[2])
        check_forms(got.raw, wanted[0], form, pad)


@quantizers
@forms
@fronts
def test_static_rows(rng: np.random.Generator, kernel: Kernel, form: str, front: bool) -> None:
    for k in WIDTHS:
        x = special_rows(rng, k)
        scale, point = np.float32(0.037), -9
        wanted = reference.quantize_linear(
            x, np.full(x.shape, scale), np.full(x.shape, point, np.int8), "int8"
        )
        got = run_quantize_rows(kernel, x, form, static=(float(scale), point), front=front)
        assert_same_bits(got.codes, wanted)
        assert (got.scale == scale).all()
        assert (got.zero_point == point).all()
        check_forms(got.raw, wanted, form, pad=True)


@quantizers
@forms
@fronts
@pytest.mark.parametrize("static", [None, (0.037, -9)])
def test_multiplied_rows(
    rng: np.random.Generator, kernel: Kernel, form: str, front: bool, static: Any
) -> None:
    for k in WIDTHS:
        x = special_rows(rng, k)
        multiplier = rng.uniform(0, 2, k).astype(np.float32)
        multiplier[::5] = 0
        with np.errstate(all="ignore"):
            product = x * multiplier
        wanted = run_quantize_rows(kernel, product, form, static=static)
        got = run_quantize_rows(kernel, x, form, static=static, front=front, multiplier=multiplier)
        assert_same_bits(got.raw, wanted.raw)
        assert_same_bits(got.scale, wanted.scale)
        assert_same_bits(got.zero_point, wanted.zero_point)


@epilogues
@fronts
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("out_scale", [None, 0.05])
def test_epilogue(
    rng: np.random.Generator,
    kernel: Kernel,
    activation: str,
    out_scale: float | None,
    front: bool,
) -> None:
    for m, n in ((1, 1), (2, 15), (1, 16), (3, 17), (2, 35)):
        acc = rng.integers(-30000, 30000, (m, round_up(n, 16))).astype(np.int32)
        point = rng.integers(-128, 256, m).astype(np.int32)
        col_sum = rng.integers(-9000, 9000, n).astype(np.int32)
        row_scale = rng.uniform(1e-3, 1e-2, m).astype(np.float32)
        col_scale = rng.uniform(1e-3, 1e-2, n).astype(np.float32)
        if n == 35:
            row_scale[-1] = np.nan
        for options in range(8):
            bias = rng.normal(0, 1, n).astype(np.float32) if options & 1 else None
            residual = rng.normal(0, 1, (m, n)).astype(np.float32) if options & 2 else None
            addend = rng.normal(0, 1, (m, n)).astype(np.float32) if options & 4 else None
            inputs = (acc, point, col_sum, row_scale, col_scale, bias, addend, residual)
            guards = [None if a is None else guarded(a, front=front) for a in inputs]
            out = guarded_empty((m, n), "int8" if out_scale else "float32", front=front)
            core.kernel_epilogue(kernel["name"], *guards, activation, out, out_scale, 4)
            wanted = expected_epilogue(*inputs, activation)
            if out_scale:
                scales = np.full(wanted.shape, out_scale, np.float32)
                points = np.full(wanted.shape, 4, np.int8)
                wanted = reference.quantize_linear(wanted, scales, points, "int8")
            assert_same_bits(out, wanted)


def expected_epilogue(
    acc: Array,
    point: Array,
    col_sum: Array,
    row_scale: Array,
    col_scale: Array,
    bias: Array | None,
    addend: Array | None,
    residual: Array | None,
    activation: str,
) -> Array:
    n = len(col_sum)
    sums = acc[:, :n].astype(np.int64) - point[:, None].astype(np.int64) * col_sum
    assert np.abs(sums).max() < 2**31
    y = sums.astype(np.float32) * (row_scale[:, None] * col_scale)
    if bias is not None:
        y = y + bias
    if addend is not None:
        y = y + addend
    y = reference.activation(y, activation)
    return y if residual is None else y + residual


def slices_of(weight: Array) -> tuple[Array, Array, Array, Array]:
    """Count, row, column and value of one block, built from the drawing in its kernel.h."""
    rows = [(np.flatnonzero(weight[r]), r) for r in range(len(weight)) if weight[r].any()]
    rows.sort(key=lambda pair: -len(pair[0]))
    count, row = (np.zeros(round_up(len(rows), 8), dtype) for dtype in (np.uint16, np.uint8))
    columns, values = [np.zeros(0, np.uint8)], [np.zeros(0, np.float32)]
    for first in range(0, len(rows), 8):
        length = len(rows[first][0])
        column, value = np.zeros((length, 8), np.uint8), np.full((length, 8), np.nan, np.float32)
        for lane, (places, r) in enumerate(rows[first : first + 8]):
            count[first + lane], row[first + lane] = len(places), r
            column[: len(places), lane] = places
            value[: len(places), lane] = weight[r, places]
        columns.append(column.reshape(-1))
        values.append(value.reshape(-1))
    return count, row, np.concatenate(columns), np.concatenate(values)


@products
@fronts
@pytest.mark.parametrize("m", [1, 16, 32, 48, 64])
def test_spmm_f32(rng: np.random.Generator, kernel: Kernel, front: bool, m: int) -> None:
    for n, k, zeros in ((1, 1, 0.0), (8, 40, 0.7), (21, 256, 0.9), (128, 100, 0.5), (9, 5, 1.0)):
        weight = rng.normal(0, 1, (n, k)).astype(np.float32)
        weight[rng.random((n, k)) < zeros] = 0
        x, before = (rng.normal(0, 1, (size, m)).astype(np.float32) for size in (k, n))
        x[rng.random((k, m)) < 0.02] = np.inf
        out = guarded(before, front=front)
        operands = (guarded(array, front=front) for array in (*slices_of(weight), x))
        core.kernel_spmm_f32(kernel["name"], *operands, out)
        assert_same_bits(out, reference.spmm(weight, x, start=before))
