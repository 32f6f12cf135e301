# SPDX-License-Identifier: Apache-2.0
"""Powers, logarithms, sines and cosines: as near to the C library's as those are to each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from octavo._elementary import exp, log, power, sin_cos


def test_sines_and_cosines() -> None:
    rng = np.random.default_rng(0)
    edges = np.arange(1 << 12) * (math.pi / 4)
    x = np.concatenate([np.zeros(1), *(s * rng.random(20_000) for s in (1, 100, 2.0**20)), edges])
    x = np.concatenate([x, -x])
    for ours, theirs in zip(sin_cos(x), (np.sin(x), np.cos(x)), strict=True):
        # Either is wrong by less than the last bit of 1.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2.0**-52)


@pytest.mark.parametrize("base", [1.0, 1.5, 1.4142135623730951, 500.0, 1e4, 16e4, 5e5, 1e30, 0.3])
def test_powers(base: float) -> None:
    exponents = np.linspace(-2, 2, 4001)
    ours, theirs = power(base, exponents), base**exponents
    assert (np.abs(ours / theirs - 1) <= (2 + np.abs(np.log(theirs))) * 2.0**-51).all()
    assert power(base, np.zeros(1)) == 1


def test_exponentials_and_logarithms() -> None:
    x = np.linspace(-699, 699, 20_001)
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=2.0**-51, atol=0)
    values = np.concatenate([exp(x), np.linspace(0.5, 2, 20_001), [5e-324, 1.7e308]])
    np.testing.assert_allclose(log(values), np.log(values), rtol=2.0**-51, atol=2.0**-53)
