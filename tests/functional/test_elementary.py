# SPDX-License-Identifier: Apache-2.0
"""Powers, sines and cosines: near the C library's, and the same bits on every machine."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from octavo._elementary import power, sin_cos
from octavo.models.rotary import rotary_table, rotate


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


def test_the_bits_of_a_table() -> None:
    """As one machine had them; those of numpy.cos differ from machine to machine."""
    table = b"".join(part.tobytes() for t in (1e4, 16e4) for part in rotary_table(512, 64, t))
    digest = "e09352d83da922bc"
    assert hashlib.sha256(table).hexdigest()[:16] == digest


def test_a_table_does_not_depend_on_its_length() -> None:
    for short, long in zip(rotary_table(70, 6, 1e4), rotary_table(1000, 6, 1e4), strict=True):
        np.testing.assert_array_equal(short, long[:70])
        assert not short.flags.writeable


def test_pairs_are_turned() -> None:
    """As complex numbers: the first half of a head are real parts, the second imaginary ones."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 3 * 8)).astype(np.float32)
    out = np.empty((2, 9, 2, 24), np.float32)[:, :, 1]
    rotate(x, rotary_table(9, 8, 100.0), out)
    heads = x.reshape(2, 9, 3, 2, 4).astype(np.float64)
    angles = np.arange(9)[:, None, None] * 100.0 ** -(np.arange(4) / 4)
    turned = (heads[..., 0, :] + 1j * heads[..., 1, :]) * np.exp(1j * angles)
    expected = np.stack([turned.real, turned.imag], axis=-2).reshape(2, 9, 24)
    np.testing.assert_allclose(out, expected, atol=3e-6)
