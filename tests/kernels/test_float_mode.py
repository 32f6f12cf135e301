# SPDX-License-Identifier: Apache-2.0
"""Results do not depend on the floating-point mode that another library left in the thread."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from octavo import _backend, functional
from reference import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Iterator

MXCSR_AT = 28  # in glibc's fenv_t on x86-64
MODES = {
    "subnormals are zero": 0x8040,
    "upwards": 0x4000,
    "downwards": 0x2000,
    "towards zero, subnormals are zero": 0xE040,
}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="sets MXCSR through glibc's fenv_t of x86-64",
)


@contextlib.contextmanager
def mode(bits: int) -> Iterator[None]:
    """Another floating-point mode for this thread."""
    libm = ctypes.PyDLL("libm.so.6")
    before, changed = (ctypes.create_string_buffer(64) for _ in range(2))
    libm.fegetenv(before)
    libm.fegetenv(changed)
    changed[MXCSR_AT : MXCSR_AT + 4] = (0x1F80 | bits).to_bytes(4, "little")
    libm.fesetenv(changed)
    try:
        yield
        libm.fegetenv(changed)
    finally:
        libm.fesetenv(before)
    now = int.from_bytes(changed[MXCSR_AT : MXCSR_AT + 4], "little")
    assert now & ~0x3F == 0x1F80 | bits, "the caller's mode was not put back"


def tiny_rows(rng: np.random.Generator, rows: int, width: int) -> Any:
    """Rows from 1e-44 to 1: many values are subnormal, or become it."""
    powers = 10.0 ** -(np.arange(rows) % 45.0)[:, None]
    return (rng.standard_normal((rows, width)) * powers).astype(np.float32)


class Calls:
    """Every operation on floats, on arguments made beforehand."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.x = tiny_rows(rng, 160, 64)
        self.heads = self.x.reshape(2, 80, 64)
        weight = rng.standard_normal((48, 64)).astype(np.float32)
        self.layer = octavo.Linear.from_float(weight, np.full(48, 1e-39, np.float32))
        self.static = octavo.Linear.from_float(weight, activation="gelu", input_scale=1e-3)
        self.weight = tiny_rows(rng, 90, 64)
        self.matrix = octavo.sparse.SparseMatrix.from_dense(
            self.weight * (rng.random((90, 64)) < 0.3)
        )
        self.table = octavo.Embedding.from_float(self.weight)
        self.scale = np.array([3e-41], np.float32)

    def results(self) -> dict[str, Any]:
        x = self.x
        out = {name: getattr(functional, name)(x) for name in ("gelu", "silu", "tanh", "softmax")}
        out["layer_norm"] = functional.layer_norm(x, eps=1e-10)
        q = self.heads
        out["attention"] = functional.attention(q, q, q, heads=4, scale=30.1)
        out["linear"], out["static linear"] = self.layer(x), self.static(x)
        out["codes"], out["scales"], out["zero points"] = octavo.quantize_dynamic(x)
        out["quantize"] = octavo.quantize_linear(x, self.scale)
        out["dequantize"] = octavo.dequantize_linear(out["quantize"], self.scale)
        out["numbers"] = octavo.dequantize_linear(np.arange(99, dtype=np.int8), 0.1)
        out["lists"] = octavo.quantize_linear([0.1, 0.3, 7.7], 0.1)
        out["spmm"] = octavo.sparse.spmm(self.matrix, x[:64, :30])
        out["embedding"] = self.table(np.arange(90))
        weight = octavo.quantize(self.weight, axis=0)
        out["weight codes"], out["weight scales"] = weight.data, weight.scale
        return out


@pytest.mark.parametrize("name", MODES)
def test_the_mode_changes_no_result(
    isa: str, threads: int, rng: np.random.Generator, name: str
) -> None:
    calls = Calls(rng)
    expected = calls.results()
    with mode(MODES[name]):
        # Workers of the pool that are started now have the mode too.
        _backend.backend.set_num_threads(threads + 1)
        actual = calls.results()
    for operation, wanted in expected.items():
        assert_same_bits(actual[operation], wanted)
