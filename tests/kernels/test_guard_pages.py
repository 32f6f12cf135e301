# SPDX-License-Identifier: Apache-2.0
"""Products on memory that ends, or begins, at an inaccessible page; tests/functional has what else
the backend offers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from guard import guarded, guarded_empty
from octavo import _backend, _numpy
from reference import assert_same_bits

pytestmark = pytest.mark.usefixtures("isa")

WIDTHS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 130]
fronts = pytest.mark.parametrize("front", [False, True])
widths = pytest.mark.parametrize("width", WIDTHS)


@fronts
@widths
def test_matrices(rng: np.random.Generator, front: bool, width: int) -> None:
    backend: Any = _backend.backend
    for m, n, k in ((1, 5, width), (3, width, 7), (width, 3, 18)):
        a = guarded(rng.integers(-128, 128, (1, m, k)).astype(np.int8), front=front)
        b = guarded(rng.integers(0, 256, (1, k, n)).astype(np.uint8), front=front)
        point = guarded(rng.integers(-9, 9, m).astype(np.int32), front=front)
        out, wanted = guarded_empty((1, m, n), "int32", front=front), np.empty((1, m, n), np.int32)
        backend.matmul_int8(a, b, point, None, out)
        _numpy.matmul_int8(a, b, point, None, wanted)
        assert_same_bits(out, wanted)
        codes = guarded(rng.integers(-128, 128, (n, k)).astype(np.int8), front=front)
        scale = guarded(rng.uniform(0.1, 1, n).astype(np.float32), front=front)
        x = guarded(rng.normal(0, 1, (m, k)).astype(np.float32), front=front)
        residual = guarded(rng.normal(0, 1, (m, n)).astype(np.float32), front=front)
        multiplier = guarded(rng.uniform(0, 2, k).astype(np.float32), front=front)
        options = (scale, "gelu", False, None, 0, None, 0, "dense", multiplier)
        layer = backend.PackedLinear(codes, scale, *options)
        twin = _numpy.PackedLinear(codes, scale, *options)
        assert_same_bits(layer.run(x, residual), twin.run(x, residual))
        assert_same_bits(layer.unpack(), codes)
