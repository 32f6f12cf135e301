# SPDX-License-Identifier: Apache-2.0
"""4-bit weights in groups: every tier and NumPy give the same bits, which are the definition's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from native import needs_core
from octavo import _backend, _numpy
from octavo._numpy.fused import fused
from reference import assert_same_bits

F32 = np.float32


def problem(rng: np.random.Generator, m: int, n: int, k: int, group: int) -> Any:
    codes = rng.integers(-8, 8, (n, k)).astype(np.int8)
    scale = (rng.random((n, -(-k // group))) * 0.1).astype(F32)
    return codes, scale, rng.standard_normal((m, k)).astype(F32)


@pytest.mark.parametrize("group", [32, 64, 128])
def test_the_definition(isa: str, threads: int, rng: np.random.Generator, group: int) -> None:
    for m, n, k in ((1, 1, 1), (3, 17, 33), (1, 64, 256), (70, 50, 300), (0, 5, 40)):
        codes, scale, x = problem(rng, m, n, k, group)
        layer = _backend.backend.packed_int4(codes, scale, group, None, "none", None, 0)
        expected = np.zeros((m, n), F32)
        for g in range(scale.shape[1]):
            part = slice(g * group, (g + 1) * group)
            most = np.abs(x[:, part]).max(axis=1, initial=0)
            scales = np.where(most == 0, F32(1), most / F32(127))
            rows = np.clip(np.rint(x[:, part] * (F32(1) / scales)[:, None]), -127, 127)
            sums = rows.astype(np.int64) @ codes[:, part].T.astype(np.int64)
            expected = fused(sums.astype(F32), scales[:, None] * scale[:, g], expected)
        assert_same_bits(layer.run(x), expected)
        assert_same_bits(layer.unpack(), codes)
        assert_same_bits(layer.scale, scale)


@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_bias_activation_and_what_is_added(
    isa: str, threads: int, rng: np.random.Generator, activation: str
) -> None:
    codes, scale, x = problem(rng, 40, 50, 200, 64)
    bias, multiplier = (rng.standard_normal(size).astype(F32) for size in (50, 200))
    residual, addend = (rng.standard_normal((40, 50)).astype(F32) for _ in range(2))
    for output in ((None, 0), (0.05, 3)):
        arguments = (codes, scale, 64, bias, activation, *output, multiplier)
        twin = _numpy.packed_int4(*arguments)
        layer = _backend.backend.packed_int4(*arguments)
        assert_same_bits(layer.run(x, residual, addend), twin.run(x, residual, addend))
        assert_same_bits(layer.call(x[None]), twin.run(x)[None])


def test_groups_that_are_not_finite(isa: str, rng: np.random.Generator) -> None:
    codes, scale, x = problem(rng, 4, 20, 100, 32)
    x[1, 70], x[2, 0] = np.nan, np.inf
    x[3] = 0
    y = _backend.backend.packed_int4(codes, scale, 32, None, "none", None, 0).run(x)
    assert np.isnan(y[1:3]).all()
    assert np.isfinite(y[0]).all()
    assert not y[3].any()


@needs_core
def test_bad_arguments(rng: np.random.Generator) -> None:
    codes, scale, x = problem(rng, 4, 20, 100, 32)
    make = _backend.backend.packed_int4
    rest = (None, "none", None, 0)
    with pytest.raises(ValueError, match=r"group: expected 32, 64 or 128"):
        make(codes, scale, 16, *rest)
    with pytest.raises(ValueError, match=r"codes: expected values in \[-8, 7\]"):
        make(codes + np.int8(1), scale, 32, *rest)
    with pytest.raises(ValueError, match=r"scale: expected one value per row and group"):
        make(codes, scale[:, 1:].copy(), 32, *rest)
    layer = make(codes, scale, 32, *rest)
    with pytest.raises(ValueError, match="one scale for each output"):
        layer.run_codes(codes[:4], np.ones(4, F32), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match="as many columns"):
        layer.run(x[:, 1:])
