# SPDX-License-Identifier: Apache-2.0
"""The native module, where it is built; and what the tests of its functions share: awkward values,
and the comparison."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from guard import guarded, guarded_empty
from octavo import _backend, _numpy
from reference import assert_same_bits

Array = np.ndarray[Any, np.dtype[Any]]

try:
    core: Any = importlib.import_module("octavo._core")
except ImportError:
    core = None

needs_core = pytest.mark.skipif(core is None, reason="the native module is not built")

SIZES = [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200]


def floats(
    rng: np.random.Generator, shape: Any, dtype: str = "float32", special: bool = True
) -> Array:
    """Values of all magnitudes, some of them awkward."""
    x = rng.normal(0, 1, shape) * 10.0 ** rng.integers(-3, 4, shape)
    if special:
        awkward = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, 1.5, 3e38, -3e38, 1e-45, 6e-8, 65504.0]
        x = np.where(rng.random(shape) < 0.15, rng.choice(awkward, shape), x)
    with np.errstate(over="ignore"):
        return np.asarray(x, dtype)


def codes(rng: np.random.Generator, shape: Any, dtype: str) -> Array:
    """All values of a type are as likely."""
    limits = np.iinfo(dtype)
    return np.asarray(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True))


def same(function: str, inputs: tuple[Any, ...], shape: Any, dtype: Any) -> None:
    """The backend in use fills the same output as the NumPy one; arrays end at a guard page, and
    begin at one."""
    expected = np.empty(shape, dtype)
    getattr(_numpy, function)(*inputs, expected)
    for front in (False, True):
        actual = guarded_empty(shape, dtype, front=front)
        fenced = (guarded(x, front=front) if isinstance(x, np.ndarray) else x for x in inputs)
        getattr(_backend.backend, function)(*fenced, actual)
        assert_same_bits(actual, expected)
