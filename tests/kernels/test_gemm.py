# SPDX-License-Identifier: Apache-2.0
"""Every gemm_s8 row and the packed weight: exact on shapes around the block, on guarded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw_kernels import (
    core,
    gemm_reference,
    kernel_params,
    needs_core,
    orders_of,
    pack,
    run_gemm,
)

Kernel = dict[str, Any]
gemm_kernels = pytest.mark.parametrize("kernel", kernel_params("gemm_s8"))
fronts = pytest.mark.parametrize("front", [False, True])
NS = [1, 15, 16, 17, 2 * 48 + 3]
KS = [0, 1, 3, 4, 5, 63, 64, 65, 131]


def rows_around(kernel: Kernel) -> list[int]:
    mr, align = kernel["mr"], kernel["m_align"]
    return sorted({1, mr - 1, mr, mr + 1, 2 * mr + 3, align - 1, align, align + 1} - {0})


@gemm_kernels
@fronts
def test_random(rng: np.random.Generator, kernel: Kernel, front: bool) -> None:
    for m in rows_around(kernel):
        for n in NS:
            for k in KS:
                codes = rng.integers(-128, 128, (m, k)).astype(np.int8)
                weight = rng.integers(-128, 128, (n, k)).astype(np.int8)
                sums = run_gemm(kernel, codes, weight, front=front)
                np.testing.assert_array_equal(sums, gemm_reference(kernel, codes, weight))


@gemm_kernels
def test_extremes(kernel: Kernel) -> None:
    for m in (1, kernel["mr"] + 1):
        for n, k in ((1, 4), (17, 67), (50, 300)):
            for code in (-128, -127, -1, 0, 127):
                for value in (-128, -127, -1, 0, 1, 127):
                    codes = np.full((m, k), code, np.int8)
                    weight = np.full((n, k), value, np.int8)
                    sums = run_gemm(kernel, codes, weight)
                    np.testing.assert_array_equal(sums, gemm_reference(kernel, codes, weight))


@gemm_kernels
def test_alternating_signs(rng: np.random.Generator, kernel: Kernel) -> None:
    # Neighbours of opposite extremes: where pairs saturate in 16 bits, this shows it.
    signs = np.where(np.arange(130) % 2, 127, -128).astype(np.int8)
    for shift in range(2):
        codes = np.roll(np.where(signs > 0, 127, -128).astype(np.int8), shift)[None].repeat(3, 0)
        weight = signs[None].repeat(20, 0)
        sums = run_gemm(kernel, codes, weight)
        np.testing.assert_array_equal(sums, gemm_reference(kernel, codes, weight))


@gemm_kernels
def test_pairs_of_groups_at_their_bound(rng: np.random.Generator, kernel: Kernel) -> None:
    # A reach (max(-b, b + 1)) of 255 in four weights times 128 just fits int16; 256 would not, and
    # is not marked.
    k = 72
    for four in ((64, 64, 64, 63), (64, 64, 64, 64), (127, 1, 126, 1), (128, 126, 1, 1)):
        lanes = np.tile(np.array(four, np.int16).reshape(2, 1, 2), (1, 2, 1)).reshape(8)
        for codes_of_reach in (lanes - 1, -lanes):
            b = codes_of_reach.astype(np.int8)
            assert (orders_of(np.tile(b, (1, 2)))[0] == 2) == (sum(four) <= 255)
            weight = np.tile(b, (20, k // 8))
            for code in (-128, 127):
                codes = np.full((kernel["mr"] + 1, k), code, np.int8)
                sums = run_gemm(kernel, codes, weight)
                np.testing.assert_array_equal(sums, gemm_reference(kernel, codes, weight))
    for n, k in ((16, 8), (17, 100), (33, 260)):  # marked and unmarked pairs side by side
        weight = rng.normal(0, 40, (n, k)).clip(-127, 127).astype(np.int8)
        codes = rng.integers(-128, 128, (5, k)).astype(np.int8)
        sums = run_gemm(kernel, codes, weight, k_chunk=64)
        np.testing.assert_array_equal(sums, gemm_reference(kernel, codes, weight))


@gemm_kernels
@fronts
@pytest.mark.parametrize("k_chunk", [64, 128])
def test_parts_of_k(rng: np.random.Generator, kernel: Kernel, k_chunk: int, front: bool) -> None:
    for m in rows_around(kernel):
        for n, k in ((5, 65), (33, 200), (16, 256)):
            codes = rng.integers(-128, 128, (m, k)).astype(np.int8)
            weight = rng.integers(-128, 128, (n, k)).astype(np.int8)
            sums = run_gemm(kernel, codes, weight, k_chunk=k_chunk, front=front)
            np.testing.assert_array_equal(sums, gemm_reference(kernel, codes, weight))


@gemm_kernels
def test_accumulates_and_wraps(rng: np.random.Generator, kernel: Kernel) -> None:
    for m in rows_around(kernel):
        codes = rng.integers(-128, 128, (m, 70)).astype(np.int8)
        weight = rng.integers(-128, 128, (40, 70)).astype(np.int8)
        before = rng.integers(-(2**31), 2**31, (m, 40)).astype(np.int32)
        sums = run_gemm(kernel, codes, weight, before=before)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(sums, before + gemm_reference(kernel, codes, weight))


@gemm_kernels
def test_beyond_the_exact_bound_sums_wrap(kernel: Kernel) -> None:
    codes, weight = np.full((1, 140000), 127, np.int8), np.full((1, 140000), 127, np.int8)
    sums = run_gemm(kernel, codes, weight, k_chunk=1024)
    np.testing.assert_array_equal(sums, gemm_reference(kernel, codes, weight))


def check_orders(orders: np.ndarray, codes: np.ndarray) -> None:
    """Each order is a permutation of its block, and its pairs fit 16 bits in every column."""
    n, k = codes.shape
    groups, panels = (k + 3) // 4, (n + 15) // 16
    padded = np.zeros((panels * 16, groups * 4), np.int64)
    padded[:n, :k] = codes
    reach = np.maximum(-padded, padded + 1)
    lanes = reach.reshape(panels, 16, groups, 2, 2).sum(axis=4)
    blocks = (groups + 63) // 64
    for i, order in enumerate(orders.reshape((panels + 1) // 2 * blocks, 65)):
        both, first = slice(i // blocks * 2, i // blocks * 2 + 2), i % blocks * 64
        count = min(64, groups - first)
        assert sorted(order[1 : 1 + count]) == list(range(count))
        assert 2 * order[0] <= count
        for g, h in order[1 : 1 + 2 * order[0]].reshape(-1, 2).astype(int):
            assert (lanes[both, :, first + g] + lanes[both, :, first + h]).max() <= 255


@needs_core
@given(st.data())
def test_packing(data: st.DataObject) -> None:
    n, k = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 600))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    unsigned = data.draw(st.booleans())
    transposed = data.draw(st.booleans())
    low = data.draw(st.sampled_from([-128, -127, -64]))
    codes = rng.integers(low, -low, (n, k)).astype(np.int8)
    given_codes = (codes.astype(np.int16) + 128).astype(np.uint8) if unsigned else codes
    b = np.asfortranarray(given_codes.T) if transposed else np.ascontiguousarray(given_codes.T)
    flip = 0x80 if unsigned else 0
    packed, orders, col_sum = core.kernel_pack_b(b, flip)
    np.testing.assert_array_equal(packed, pack(codes)[0])
    check_orders(orders, codes)
    np.testing.assert_array_equal(col_sum, codes.sum(axis=1, dtype=np.int64))
    np.testing.assert_array_equal(core.kernel_repack_b(b, flip), codes)


@needs_core
def test_the_raw_door_checks_extents() -> None:
    name = core.kernels("gemm_s8")[-1]["name"]
    a, b = np.zeros((2, 64), np.uint8), np.zeros(64 * 16, np.int8)
    c = np.zeros((2, 16), np.int32)
    core.kernel_gemm_s8(name, a, 64, b, 64, None, c, 2, 1, 1, False)
    for bad in (
        (name, a, 64, b, 64, None, c, 3, 1, 1, False),
        (name, a, 64, b, 64, None, c, 2, 2, 1, False),
        (name, a, 64, b, 64, None, c, 2, 1, 17, False),
        (name, a, 64, b, 64, None, c, -1, 1, 1, False),
        ("gemm", a, 64, b, 64, None, c, 2, 1, 1, False),
    ):
        with pytest.raises(ValueError, match=r"^(a|b|c|name|m, panels, k_groups): "):
            core.kernel_gemm_s8(*bad)
