# SPDX-License-Identifier: Apache-2.0
"""``octavo bench linear``: one int8 layer, float32 in and out, against NumPy's float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from octavo import Linear
from octavo.bench.cases import time_case
from octavo.bench.options import Options, configurations
from octavo.bench.report import Row

SHAPES = tuple(
    (m, n, k)
    for n, k in ((384, 384), (1536, 384), (768, 768), (3072, 768))
    for m in (1, 8, 32, 128, 512)
)

MAX_RELATIVE_ERROR = 0.05
"""Int8 rows cost about 1% on normal data; far more than that is a wrong result, not rounding."""


@dataclass(frozen=True)
class Problem:
    """A layer (`weight` (n, k), `bias` (n,)) and its input `x` (m, k), all float32."""

    x: np.ndarray[Any, Any]
    weight: np.ndarray[Any, Any]
    bias: np.ndarray[Any, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The three sizes (m, n, k)."""
        return self.x.shape[0], self.weight.shape[0], self.weight.shape[1]

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return NumPy's float32 result, which is also the yardstick of every row."""
        return self.x @ self.weight.T + self.bias


def make_layer(n: int, k: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a random weight (n, k) and bias (n,), scaled so that outputs are of order one."""
    rng = np.random.default_rng((0, n, k))
    weight = rng.standard_normal((n, k), dtype=np.float32) / np.float32(np.sqrt(k))
    return weight, rng.standard_normal(n, dtype=np.float32)


def make_input(m: int, k: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return a random input (m, k)."""
    return np.random.default_rng((seed, m, k, 1)).standard_normal((m, k), dtype=np.float32)


def make_problem(m: int, n: int, k: int) -> Problem:
    """Return a random problem; the same numbers for the same shape."""
    weight, bias = make_layer(n, k)
    return Problem(make_input(m, k), weight, bias)


def work(m: int, n: int, k: int) -> tuple[int, int]:
    """Return (operations, bytes) of one call of an int8 layer.

    Bytes: the codes of the weight once, float32 in and out once, and three numbers a channel
    (scale, column sum, bias).
    """
    return 2 * m * n * k, n * k + 4 * m * k + 4 * m * n + 12 * n


def relative_error(result: Any, reference: np.ndarray[Any, Any]) -> float:
    """Return the norm of the difference over the norm of the reference."""
    difference = np.asarray(result, dtype=np.float64).reshape(reference.shape) - reference
    return float(np.linalg.norm(difference) / max(float(np.linalg.norm(reference)), 1e-30))


def checker(problem: Problem, limit: float = MAX_RELATIVE_ERROR) -> Callable[[str, Any], None]:
    """Return a check for :func:`octavo.timing.run` against the float32 result."""
    reference = problem.numpy()

    def check(name: str, result: Any) -> None:
        error = relative_error(result, reference)
        if not error <= limit:
            raise ArithmeticError(f"{name}: relative error {error:.3g}, expected <= {limit:.3g}")

    return check


def run(options: Options) -> Iterator[Row]:
    """Yield the rows, an int8 one and a float32 one for each shape, tier and thread count."""
    for _, threads in configurations(options):
        for m, n, k in options.shapes or SHAPES:
            problem = make_problem(m, n, k)
            layer = Linear.from_float(problem.weight, problem.bias)
            done = work(m, n, k)
            yield from time_case(
                ("linear", f"{m}x{n}x{k}", threads),
                {"octavo": partial(layer, problem.x), "numpy float32": problem.numpy},
                done,
                "numpy float32",
                float_bytes=done[1] + 3 * n * k,
                rounds=options.rounds,
                seconds=options.seconds,
                check=checker(problem),
            )
