# SPDX-License-Identifier: Apache-2.0
"""The fused multiply-add of the NumPy backend: exactly rounded, also where float64 would err."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import reference
from octavo import functional
from octavo._numpy.fused import fused
from reference import assert_same_bits

F = np.float32
Array = np.ndarray[Any, np.dtype[Any]]
MAX, TINY = np.finfo(F).max, F(1e-45)


def exact(a: Array, b: Array, c: Array) -> Array:
    """One by one, in integers."""
    with np.errstate(all="ignore"):
        return np.array([reference.fma(*values) for values in zip(a, b, c, strict=True)], F)


def ties() -> tuple[Array, Array, Array, Array]:
    """Products midway between two floats, plus what float64 has no room for: c's sign decides."""
    sums = [
        (sign * a, 4099, c, sign * 4099 * a + (1 if c > 0 else -1))
        for a in range(4097, 4297, 2)
        for sign in (1, -1)
        for c in (2.0**-40, -(2.0**-40), 1e-45, -1e-45)
    ]
    a, b, c, expected = np.array(sums, np.float64).T
    return a.astype(F), b.astype(F), c.astype(F), expected.astype(F)


def operands(rng: np.random.Generator, kind: str, size: int) -> tuple[Array, Array, Array]:
    a, b, c = (rng.normal(0, 1, size).astype(F) for _ in range(3))
    if kind == "any bits":
        a, b, c = (rng.integers(0, 2**32, size, np.uint32).view(F) for _ in range(3))
    elif kind == "cancelling":
        c = -(a * b) * rng.choice([1, 1 + 2.0**-23, 1 - 2.0**-23], size).astype(F)
    elif kind == "subnormal":
        a, b, c = a * F(2.0**-70), b * F(2.0**-70), c * F(2.0**-138)
    elif kind == "around the smallest normal":
        a, b, c = a * F(2.0**-60), b * F(2.0**-66), c * F(2.0**-126)
    elif kind == "overflowing":
        a, b, c = a * F(2.0**63), b * F(2.0**64), c * F(2.0**127)
    return a, b, c


KINDS = ["normal", "any bits", "cancelling", "subnormal", "around the smallest normal"]


@pytest.mark.parametrize("kind", [*KINDS, "overflowing"])
def test_it_rounds_once(rng: np.random.Generator, kind: str) -> None:
    with np.errstate(all="ignore"):
        a, b, c = operands(rng, kind, 20_000)
    assert_same_bits(fused(a, b, c), exact(a, b, c))


def test_ties_of_the_first_rounding() -> None:
    a, b, c, expected = ties()
    assert_same_bits(fused(a, b, c), expected)
    by_float64 = (a.astype(np.float64) * b + c).astype(F)
    assert np.mean(by_float64 != expected) == 0.5
    assert_same_bits(exact(a, b, c), expected)
    with np.errstate(all="ignore"):
        assert_same_bits(reference.fma_row(a, b, c), expected)


def test_kernels_round_such_ties_once(isa: str) -> None:
    """LayerNorm of a row whose mean is 0 and whose deviation is 1, with its epsilon."""
    a, b, c, expected = (values.reshape(-1, 4)[:, :2].ravel() for values in ties())
    y = functional.layer_norm(np.ldexp(a, -26)[None], b, np.ldexp(c, -26), eps=1.0)
    assert_same_bits(y[0], np.ldexp(expected, -26))


def test_specials() -> None:
    values = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, MAX, -MAX, TINY, -TINY, 0.5], F)
    a, b, c = (grid.reshape(-1) for grid in np.meshgrid(values, values, values))
    assert_same_bits(fused(a, b, c), exact(a, b, c))
    half_a_step = F(2.0**103)
    for c_, expected in ((half_a_step, np.inf), (np.nextafter(half_a_step, F(0)), MAX)):
        assert_same_bits(fused(F([1]), F([MAX]), F([c_])), F([expected]))


def test_the_reference_is_the_exact_fraction(rng: np.random.Generator) -> None:
    for kind in KINDS[:1] + KINDS[2:]:
        for a, b, c in zip(*operands(rng, kind, 300), strict=True):
            y = reference.fma(a, b, c)
            true = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
            error = abs(Fraction(float(y)) - true)
            for other in (np.nextafter(y, F(np.inf)), np.nextafter(y, F(-np.inf))):
                assert error <= abs(Fraction(float(other)) - true)


@pytest.mark.parametrize(
    ("shapes", "shape"),
    [
        (((), (), ()), ()),
        (((0,), (1,), ()), (0,)),
        (((3, 1), (1, 4), (3, 4)), (3, 4)),
        (((50_001,), (), ()), (50_001,)),
        (((1, 30_000), (1, 1), (30_000,)), (1, 30_000)),
        (((2, 1, 25_000), (1, 3, 1), (25_000,)), (2, 3, 25_000)),
        (((70, 1, 40), (1, 30, 1), (70, 30, 40)), (70, 30, 40)),
    ],
    ids=str,
)
def test_operands_broadcast(rng: np.random.Generator, shapes: Any, shape: Any) -> None:
    a, b, c = (np.asarray(rng.normal(0, 1, size), F) for size in shapes)
    y = fused(a, b, c)
    assert y.shape == shape
    whole = (np.broadcast_to(x, shape).reshape(-1) for x in (a, b, c))
    with np.errstate(all="ignore"):
        assert_same_bits(y.reshape(-1), reference.fma_row(*whole))
