# SPDX-License-Identifier: Apache-2.0
"""Sums, products and other functions of two operands, as steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from octavo._types import Array
from octavo.graph.kinds import Shape
from octavo.graph.kinds.elementwise import BINARY
from octavo.graph.lowering.elements import lookup, ratio, row_of
from octavo.graph.steps import F32, S8, Op, Part, Steps, scale_of


def _three_axes(shape: Shape, other: Shape) -> tuple[Shape, Shape] | None:
    """Return both shapes as (images, positions, channels), if the second spreads in such a way."""
    aligned = (1,) * (len(shape) - len(other)) + other
    runs: list[tuple[bool, int]] = []
    for size, within in zip(shape, aligned, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][0] == (within == size):
            runs[-1] = (runs[-1][0], runs[-1][1] * size)
        else:
            runs.append((within == size, size))
    runs = runs or [(True, 1)]
    if len(runs) == 1 and runs[0][0]:
        width = row_of(shape)
        return ((1, runs[0][1] // width, width),) * 2
    if not runs[-1][0] or len(runs) > 3:
        return None
    runs = [(True, 1)] * (3 - len(runs)) + runs
    full = tuple(size for _, size in runs)
    return full, tuple(size if equal else 1 for equal, size in runs)


class _Operand(NamedTuple):
    """One side of a sum or a product: a place, or constant data."""

    shape: Shape
    part: Part | None
    data: Array | None = None


def _operand(steps: Steps, op: Op, position: int) -> _Operand:
    tensor = op.x(position)
    if tensor.data is not None:
        return _Operand(tensor.shape, None, tensor.data)
    return _Operand(tensor.shape, steps.at(op.operator.inputs[position]))


def _spread(steps: Steps, shape: Shape, a: _Operand, b: _Operand) -> dict[str, Any] | None:
    """Return the operands as a step takes them; None if `a` is not all of the result.

    Constants that no step can spread are written out.
    """
    if a.shape != shape or a.part is None:
        return None
    axes, part = _three_axes(shape, b.shape), b.part
    if axes is None:
        if b.data is None:
            return None
        width = row_of(shape) if b.data.size == 1 else math.prod(shape)
        data = b.data.reshape(-1) if b.data.size == 1 else b.data
        data = np.broadcast_to(data, (width,) if b.data.size == 1 else shape)
        axes, part = ((1, math.prod(shape) // width, width), (1, 1, width)), steps.constant(data)
    if part is None:
        assert b.data is not None
        part = steps.constant(b.data)
    return {"a": a.part, "b": part, "shape": axes[0], "b_shape": axes[1], "in_place": True}


def _two(steps: Steps, op: Op) -> bool:
    """Write a sum, a difference or a product down."""
    kind, bounds = op.operator.kind, op.bounds()
    if bounds is None or not (op.has(F32, 0, 1) or op.has(S8, 0, 1)):
        return False
    for varying in (0, 1):
        if op.out.dtype == S8 and _is_one_code(op, varying):
            return lookup(steps, op, varying)
    a, b = (_operand(steps, op, position) for position in (0, 1))
    if op.out.dtype == F32:
        if kind == "sub":
            b = _negated(steps, b)
        found = _spread(steps, op.out.shape, a, b) or _spread(steps, op.out.shape, b, a)
        name = "add_mul_f32" if kind == "mul" else "add_add_f32"
        if found is not None:
            steps.add(name, **found, **bounds, out=steps.at(op.operator.outputs[0]))
        return found is not None
    found, order = _spread(steps, op.out.shape, a, b), (0, 1)
    if found is None:
        found, order = _spread(steps, op.out.shape, b, a), (1, 0)
    if found is None:
        return False
    (a_scale, a_zero), (b_scale, b_zero) = (scale_of(op.x(position)) for position in order)
    scale, zero_point = scale_of(op.out)
    codes: dict[str, Any] = {
        "a_zero_point": a_zero,
        "b_zero_point": b_zero,
        "out_zero_point": zero_point,
    }
    if kind == "mul":
        codes["multiplier"] = ratio(scale, a_scale, b_scale)
    else:
        signs = [-1 if kind == "sub" and position == 1 else 1 for position in order]
        codes["a_multiplier"] = signs[0] * ratio(scale, a_scale)
        codes["b_multiplier"] = signs[1] * ratio(scale, b_scale)
    name = "add_mul" if kind == "mul" else "add_add"
    steps.add(name, **found, **bounds, **codes, out=steps.at(op.operator.outputs[0]))
    return True


def _negated(steps: Steps, one: _Operand) -> _Operand:
    if one.data is not None:
        return _Operand(one.shape, None, -one.data)
    assert one.part is not None
    count, width = math.prod(one.shape), row_of(one.shape)
    part, factor = steps.room(4 * count), steps.constant(np.full(width, -1, np.float32))
    shape = (1, count // width, width)
    steps.add(
        "add_mul_f32",
        a=one.part,
        b=factor,
        out=part,
        shape=shape,
        b_shape=(1, 1, width),
        in_place=True,
    )
    return _Operand(one.shape, part)


def _square(steps: Steps, op: Op) -> bool:
    if op.has(S8, 0):
        return lookup(steps, op)
    x = _operand(steps, op, 0)
    found = _spread(steps, op.out.shape, x, x) if op.has(F32, 0) else None
    if found is not None:
        steps.add("add_mul_f32", **found, out=steps.at(op.operator.outputs[0]))
    return found is not None


def _is_one_code(op: Op, varying: int) -> bool:
    """Whether a result depends on one code, since all else is one constant."""
    constant = op.data(1 - varying)
    return constant is not None and constant.size == 1 and op.x(varying).shape == op.out.shape


def _pair_lookup(steps: Steps, op: Op) -> bool:
    """Write functions of a code and one constant down."""
    if op.has(S8, 0, 1):
        for varying in (0, 1):
            if _is_one_code(op, varying):
                return lookup(steps, op, varying)
    return False


LOWERINGS: dict[str, Callable[[Steps, Op], bool]] = {
    **dict.fromkeys(BINARY, _pair_lookup),
    **dict.fromkeys(("add", "sub", "mul"), _two),
    "square": _square,
}
