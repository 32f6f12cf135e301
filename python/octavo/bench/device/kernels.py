# SPDX-License-Identifier: Apache-2.0
"""The kernels that a device is timed on: dot units, memory and floats, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from octavo import Linear, _backend, functional, nn
from octavo._types import Array
from octavo.bench import linear, quantize

SIZE, ROWS = 768, (1, 128)
WIDTH, TOKENS, HEADS = 384, 128, 12
KEPT = 0.1
"""Share of the weights of the sparse layer that are not 0."""

KERNELS = 12
"""How many `cases` there are."""

Check = Callable[[str, Any], None]


@dataclass(frozen=True)
class Case:
    """A call to be timed.

    Attributes
    ----------
    name : str
        What the file calls it.
    call : callable
        The work, without arguments.
    ops, nbytes : int
        Its operations on the dot unit, and the bytes that it moves at least.
    limits : tuple of str
        What of "dot", "read" and "copy" bounds its time; empty where nothing measured does.
    check : callable
        ``check(name, result)`` raises for a wrong result.
    """

    name: str
    call: Callable[[], Any]
    ops: int
    nbytes: int
    limits: tuple[str, ...]
    check: Check


def cases() -> Iterator[Case]:
    """Yield the kernels of the file, each made when it is its turn."""
    for rows in ROWS:
        yield _gemm_s8(rows)
    for rows in ROWS:
        yield from _layers(rows)
    yield from _conversions()
    yield _layer_norm()
    yield _attention()


def sustained_case() -> Case:
    """Return the product that heats a CPU the most."""
    return _gemm_s8(ROWS[-1])


def _gemm_s8(rows: int) -> Case:
    rng = np.random.default_rng((0, rows))
    a = rng.integers(-127, 128, (rows, SIZE), np.int8)
    b = rng.integers(-127, 128, (SIZE, SIZE), np.int8)
    packed, out = _backend.backend.PackedMatrix(b), np.empty((rows, SIZE), np.int32)
    # Sums are below 2**24: float32 has them all.
    expected = (a.astype(np.float32) @ b.astype(np.float32)).astype(np.int32)

    def call() -> Array:
        packed.matmul(a, out)
        return out

    def check(name: str, result: Any) -> None:
        if not np.array_equal(result, expected):
            raise ArithmeticError(f"{name}: the sums are wrong")

    nbytes = SIZE * SIZE + rows * SIZE + 4 * rows * SIZE
    return Case(
        f"gemm_s8 {rows}x{SIZE}x{SIZE}",
        call,
        2 * rows * SIZE * SIZE,
        nbytes,
        ("dot", "read"),
        check,
    )


def _layers(rows: int) -> Iterator[Case]:
    problem = linear.make_problem(rows, SIZE, SIZE)
    ops, nbytes = linear.work(rows, SIZE, SIZE)
    shape = f"{rows}x{SIZE}x{SIZE}"
    dense = Linear.from_float(problem.weight, problem.bias)
    bounds = ("dot", "read")
    yield Case(
        f"linear_s8 {shape}",
        partial(dense, problem.x),
        ops,
        nbytes,
        bounds,
        linear.checker(problem),
    )
    kept = np.random.default_rng(1).random(problem.weight.shape) < KEPT
    thin = linear.Problem(problem.x, problem.weight * kept, problem.bias)
    sparse = nn.SparseLinear.from_float(thin.weight, thin.bias, format="windowed16")
    rest = nbytes - SIZE * SIZE
    yield Case(
        f"sparse_s8 {shape}",
        partial(sparse, thin.x),
        int(KEPT * ops),
        rest + int(KEPT * SIZE * SIZE),
        bounds,
        linear.checker(thin),
    )
    full = nn.FloatLinear(problem.weight, problem.bias)
    yield Case(
        f"linear_f32 {shape}",
        partial(full, problem.x),
        0,
        4 * (SIZE * SIZE + SIZE + rows * SIZE * 2),
        ("read",) if rows == 1 else (),
        linear.checker(problem, 1e-4),
    )


def _conversions() -> Iterator[Case]:
    rows = ROWS[-1]
    x = quantize.make_array(rows, SIZE)
    scale = quantize.tensor_scale(x)
    codes = quantize.numpy_quantize(x, scale)
    into, back = np.empty_like(codes), np.empty_like(x)
    yield Case(
        f"quantize_rows {rows}x{SIZE}",
        partial(functional.quantize_dynamic, x, out=into),
        0,
        5 * x.size,
        ("copy",),
        partial(quantize.check_against, quantize.numpy_quantize_rows(x)),
    )
    yield Case(
        f"dequantize {rows}x{SIZE}",
        partial(functional.dequantize_linear, codes, scale, out=back),
        0,
        5 * x.size,
        ("copy",),
        partial(quantize.check_against, quantize.numpy_dequantize(codes, scale)),
    )


def _layer_norm() -> Case:
    x = quantize.make_array(TOKENS, WIDTH)
    weight, bias = np.full(WIDTH, 2, np.float32), np.ones(WIDTH, np.float32)
    centred = x - x.mean(axis=1, keepdims=True)
    expected = 2 * centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) + 1
    return Case(
        f"layer_norm {TOKENS}x{WIDTH}",
        partial(functional.layer_norm, x, weight, bias, eps=1e-5, out=np.empty_like(x)),
        0,
        8 * x.size,
        ("copy",),
        partial(quantize.check_against, expected, float_bound=1e-4),
    )


def _attention() -> Case:
    states = np.random.default_rng(2).standard_normal((3, 1, TOKENS, WIDTH), np.float32)
    heads = states.reshape(3, TOKENS, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)
    q, k, v = heads
    scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(WIDTH // HEADS))
    powers = np.exp(scores - scores.max(axis=2, keepdims=True))
    mixed = powers / powers.sum(axis=2, keepdims=True) @ v
    expected = mixed.transpose(1, 0, 2).reshape(1, TOKENS, WIDTH)

    def check(name: str, result: Any) -> None:
        error = linear.relative_error(result, expected)
        if not error <= linear.MAX_RELATIVE_ERROR:
            raise ArithmeticError(f"{name}: relative error {error:.3g}")

    out = np.empty((1, TOKENS, WIDTH), np.float32)
    return Case(
        f"attention_s8 {TOKENS}x{WIDTH}",
        partial(functional.attention_int8, *states, heads=HEADS, out=out),
        4 * TOKENS * TOKENS * WIDTH,
        16 * TOKENS * WIDTH,
        ("dot", "read"),
        check,
    )
