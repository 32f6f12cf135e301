# SPDX-License-Identifier: Apache-2.0
"""Attention in int8: the same bits on every tier, close to float, and rows that stand alone."""

from __future__ import annotations

import math
import threading
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import octavo.functional as ops
from isa_tiers import native_tiers
from native import floats, same
from octavo import runtime
from reference import assert_same_bits
from refusals import refusals

on_every_tier = pytest.mark.parametrize("isa", native_tiers(), indirect=True)

# batch, queries, keys, heads, heads of keys, values of a head
SIZES = [
    (1, 1, 1, 1, 1, 1),
    (2, 7, 5, 3, 3, 8),
    (1, 100, 130, 2, 2, 32),
    (2, 33, 17, 4, 2, 15),
    (1, 3, 1100, 6, 1, 64),
    (2, 20, 513, 2, 2, 17),
    (1, 5, 40, 1, 1, 1040),
    (0, 3, 2, 1, 1, 4),
    (1, 5, 0, 2, 2, 8),
]


def operands(rng: np.random.Generator, size: Any) -> Any:
    batch, queries, keys, heads, kv_heads, d = size
    shapes = [(batch, queries, heads * d)] + [(batch, keys, kv_heads * d)] * 2
    return [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]


def some_ranges(rng: np.random.Generator, queries: int, keys: int) -> Any:
    return np.sort(rng.integers(-2, keys + 3, (queries, 2)), axis=1)


@on_every_tier
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_is_the_reference(isa: str, threads: int, rng: np.random.Generator, size: Any) -> None:
    batch, queries, keys, heads, kv_heads, _ = size
    q, k, v = operands(rng, size)
    mask = rng.random((batch, keys)) < 0.7
    bias = rng.normal(0, 2, (rng.choice([1, heads]), queries, keys)).astype(np.float32)
    ranges = some_ranges(rng, queries, keys)
    for valid, added, seen in (
        (None, None, None),
        (mask, None, None),
        (None, bias, ranges),
        (mask, bias, None),
        (mask, None, ranges),
    ):
        for scale in (0.125, 0.0):
            inputs = (q, k, v, valid, added, seen, None, heads, kv_heads, scale)
            same("attention_int8", inputs, q.shape, "float32")


@on_every_tier
def test_awkward_values(isa: str, rng: np.random.Generator) -> None:
    for _ in range(5):
        q, k, v = (floats(rng, (1, 40, 32), special=False) for _ in range(3))
        for x in (q, k, v):
            x[0, 3] = floats(rng, 32)
            x[0, 7] = 0
        v[0, ::3] *= 1e-38
        same("attention_int8", (q, k, v, None, None, None, None, 2, 2, 0.3), q.shape, "float32")
        one_key = (q, k[:, :1, :16] * 0, v[:, :1, :16] * np.float32(1e-30))
        same("attention_int8", (*one_key, None, None, None, None, 2, 1, 0.3), q.shape, "float32")


def test_is_close_to_float(rng: np.random.Generator) -> None:
    for keys in (50, 1500):
        q, k, v = operands(rng, (2, 20, keys, 4, 4, 32))
        exact = ops.attention(q, k, v, heads=4)
        error = ops.attention_int8(q, k, v, heads=4) - exact
        assert np.sqrt(np.mean(error**2) / np.mean(exact**2)) < 0.02


def test_a_query_does_not_depend_on_its_company(rng: np.random.Generator) -> None:
    q, k, v = operands(rng, (1, 600, 1300, 4, 2, 16))
    ranges = np.arange(600)[:, None] + np.array([-300, 701])
    together = ops.attention_int8(q, k, v, heads=4, kv_heads=2, key_ranges=ranges)
    for start, stop in ((0, 1), (37, 53), (511, 600)):
        some = slice(start, stop)
        alone = ops.attention_int8(q[:, some], k, v, heads=4, kv_heads=2, key_ranges=ranges[some])
        assert_same_bits(alone, together[:, some])
    # Keys that nobody sees yet, as in a cache, change nothing.
    assert_same_bits(
        ops.attention_int8(
            q[:, :90], k[:, :800], v[:, :800], heads=4, kv_heads=2, key_ranges=ranges[:90]
        ),
        together[:, :90],
    )


def test_masked_keys_do_not_exist(rng: np.random.Generator) -> None:
    q, k, v = operands(rng, (1, 9, 700, 2, 2, 16))
    mask = rng.random((1, 700)) < 0.5
    kept = mask[0]
    expected = ops.attention_int8(q, k[:, kept], v[:, kept], heads=2)
    assert_same_bits(ops.attention_int8(q, k, v, mask, heads=2), expected)
    none = ops.attention_int8(q, k, v, mask & False, heads=2)
    assert_same_bits(none, np.zeros_like(q))
    seen = np.repeat([[5, 600]], 9, axis=0)
    inside = kept & (np.arange(700) >= 5) & (np.arange(700) < 600)
    close = ops.attention_int8(q, k[:, inside], v[:, inside], heads=2)
    ranged = ops.attention_int8(q, k, v, mask, heads=2, key_ranges=seen)
    np.testing.assert_allclose(ranged, close, atol=0.01)


def test_shared_heads_are_repeated_ones(rng: np.random.Generator) -> None:
    q, k, v = operands(rng, (2, 30, 40, 6, 2, 8))
    wide_k, wide_v = (x.reshape(2, 40, 2, 8).repeat(3, axis=2).reshape(2, 40, 48) for x in (k, v))
    expected = ops.attention_int8(q, wide_k, wide_v, heads=6)
    assert_same_bits(ops.attention_int8(q, k, v, heads=6, kv_heads=2), expected)


@on_every_tier
@pytest.mark.parametrize("function", ["attention", "attention_int8"])
def test_packed_sequences_stand_alone(
    isa: str, threads: int, rng: np.random.Generator, function: str
) -> None:
    attend = getattr(ops, function)
    q, k, v = (rng.normal(0, 1, (1, 700, 32)).astype(np.float32) for _ in range(3))
    offsets = np.array([0, 3, 3, 90, 600, 601, 700])
    mask, bias = rng.random((1, 700)) < 0.8, rng.normal(0, 1, (2, 510, 510)).astype(np.float32)
    for valid, added in ((None, None), (mask, bias)):
        together = attend(q, k, v, valid, added, heads=2, offsets=offsets)
        for start, stop in pairwise(offsets):
            rows, long = slice(start, stop), stop - start
            kept = None if valid is None else valid[:, rows]
            own = None if added is None else added[:, :long, :long]
            alone = attend(q[:, rows], k[:, rows], v[:, rows], kept, own, heads=2)
            assert_same_bits(together[:, rows], alone)
    inputs = (q, k, v, mask, bias) if function == "attention" else (q, k, v, mask, bias, None)
    heads = (2,) if function == "attention" else (2, 2)
    same(function, (*inputs, offsets, *heads, 0.3), q.shape, "float32")


def test_views_and_long_rows(threads: int, rng: np.random.Generator) -> None:
    fused = rng.normal(0, 1, (3, 300, 3 * 64)).astype(np.float32)
    q, k, v = fused[::2, ::-1, :64], fused[::2, :, 64:128], fused[::-2, :, 128:]
    expected = ops.attention_int8(q.copy(), k.copy(), v.copy(), heads=4)
    assert_same_bits(ops.attention_int8(q, k, v, heads=4), expected)


@pytest.mark.skipif(len(native_tiers()) < 2, reason="a machine of one tier")
def test_a_call_stays_on_the_tier_that_it_began_with(rng: np.random.Generator) -> None:
    """Another thread chooses tiers, whose kernels read other codes, while heads are packed."""
    q, k, v = operands(rng, (1, 100, 600, 8, 8, 32))
    expected, done = ops.attention_int8(q, k, v, heads=8), threading.Event()

    def choose() -> None:
        while not done.is_set():
            for tier in native_tiers():
                runtime.use_isa(tier)

    with runtime.use_isa(runtime.get_isa()):
        other = threading.Thread(target=choose)
        other.start()
        try:
            results = [ops.attention_int8(q, k, v, heads=8) for _ in range(20)]
        finally:
            done.set()
            other.join()
    for result in results:
        assert_same_bits(result, expected)


Q = np.ones((1, 2, 8), np.float32)
TWO = np.ones((2, 2, 8), np.float32)
LONG = np.ones((1, 1, 1041), np.float32)
BAD_CALLS: dict[str, tuple[type[Exception], str, Any]] = {
    name: (error, argument, partial(ops.attention_int8, *rows, **options))
    for name, error, argument, rows, options in (
        ("q rank", ValueError, "q", (Q[0], Q, Q), {"heads": 1}),
        ("k width", ValueError, "k", (Q, Q, Q), {"heads": 2, "kv_heads": 1}),
        ("v shape", ValueError, "v", (Q, Q, Q[:, :1]), {"heads": 1}),
        ("heads", ValueError, "heads", (Q, Q, Q), {"heads": 3}),
        ("kv_heads", ValueError, "kv_heads", (Q, Q, Q), {"heads": 4, "kv_heads": 3}),
        ("kv_heads 0", ValueError, "kv_heads", (Q, Q, Q), {"heads": 4, "kv_heads": 0}),
        ("scale", ValueError, "scale", (Q, Q, Q), {"heads": 2, "scale": -1.0}),
        ("scale nan", ValueError, "scale", (Q, Q, Q), {"heads": 2, "scale": math.nan}),
        ("mask", TypeError, "mask", (Q, Q, Q, [[1.0, 0.0]]), {"heads": 2}),
        ("bias", ValueError, "bias", (Q, Q, Q, None, Q), {"heads": 2}),
        ("ranges", ValueError, "key_ranges", (Q, Q, Q), {"heads": 1, "key_ranges": [[0, 1]]}),
        ("floats", TypeError, "key_ranges", (Q, Q, Q), {"heads": 1, "key_ranges": Q[0, :, :2]}),
        ("offsets", ValueError, "offsets", (Q, Q, Q), {"heads": 1, "offsets": [0, 1]}),
        ("descending", ValueError, "offsets", (Q, Q, Q), {"heads": 1, "offsets": [0, 2, 1, 2]}),
        ("no offsets", ValueError, "offsets", (Q, Q, Q), {"heads": 1, "offsets": []}),
        ("two entries", ValueError, "offsets", (TWO, TWO, TWO), {"heads": 1, "offsets": [0, 2]}),
        ("long head", ValueError, "q", (LONG, LONG, LONG), {"heads": 1}),
    )
}

test_bad_arguments_are_named = refusals(BAD_CALLS)
