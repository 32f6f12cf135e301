# SPDX-License-Identifier: Apache-2.0
"""Rotary positions: tables of the same bits on every machine, attention near by."""

from __future__ import annotations

import numpy as np
import pytest

from octavo import functional
from octavo.models.local_attention import rotary_attention
from octavo.models.rotary import rotary_table


def test_a_table_does_not_depend_on_its_length() -> None:
    for short, long in zip(rotary_table(70, 6, 1e4), rotary_table(1000, 6, 1e4), strict=True):
        np.testing.assert_array_equal(short, long[:70])
        assert not short.flags.writeable


def test_pairs_are_turned() -> None:
    """As complex numbers: the first half of a head are real parts, the second imaginary ones."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 3 * 8)).astype(np.float32)
    out = functional.rotary_embedding(x, *rotary_table(9, 8, 100.0), np.arange(9), heads=3)
    heads = x.reshape(2, 9, 3, 2, 4).astype(np.float64)
    angles = np.arange(9)[:, None, None] * 100.0 ** -(np.arange(4) / 4)
    turned = (heads[..., 0, :] + 1j * heads[..., 1, :]) * np.exp(1j * angles)
    expected = np.stack([turned.real, turned.imag], axis=-2).reshape(2, 9, 24)
    np.testing.assert_allclose(out, expected, atol=3e-6)


@pytest.mark.parametrize("reach", [0, 3, 64, 70, 600])
def test_blocks_see_what_a_bias_leaves(reach: int) -> None:
    """Blocks begin at the same places whatever the row's length, and read across none of it."""
    tokens = 1300 if reach == 600 else 200
    rng = np.random.default_rng(0)
    qkv = rng.standard_normal((2, tokens, 24)).astype(np.float32)
    mask = rng.random((2, tokens)) < 0.8
    places = np.arange(tokens)
    table = rotary_table(tokens, 4, 1e4)
    turned = functional.rotary_embedding(qkv[..., :16], *table, places, heads=4)
    beyond = np.abs(places - places[:, None]) > reach
    bias = np.where(beyond, np.float32(-1e30), np.float32(0))[None]
    parts = turned[..., :8], turned[..., 8:], qkv[..., 16:]
    wanted = functional.attention(*parts, mask, bias, heads=2)
    found = rotary_attention(qkv, mask, 2, 1e4, reach)
    np.testing.assert_allclose(found[mask], wanted[mask], rtol=0, atol=2e-6)
    longer = np.pad(qkv, ((0, 0), (0, 99), (0, 0)), constant_values=9)
    same = rotary_attention(longer, np.pad(mask, ((0, 0), (0, 99))), 2, 1e4, reach)
    np.testing.assert_array_equal(same[:, :tokens][mask], found[mask])
