# SPDX-License-Identifier: Apache-2.0
"""Operators that go element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from octavo import _elementary
from octavo._ops.floats import activation
from octavo._types import Array
from octavo.graph.kinds.call import (
    ANY,
    BOOLS,
    FLOATS,
    NUMBERS,
    Call,
    Kind,
    Shape,
    broadcast,
    like_first,
)

_FAR = 2.0**20

FUSED = {
    "none": (-np.inf, np.inf),
    "relu": (0.0, np.inf),
    "relu_n1_to_1": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
}
"""Activations that another operator may end with, as the ends of a range."""


def _exp(x: Array) -> Array:
    return _elementary.exp(np.clip(x, -200, 200))


def _log(x: Array) -> Array:
    inside = (x > 0) & np.isfinite(x)
    outside = np.where(x == 0, -np.inf, np.where(x > 0, x, np.nan))
    return np.where(inside, _elementary.log(np.where(inside, x, 1.0)), outside)


def _sin_cos(x: Array, which: int) -> Array:
    near = _elementary.sin_cos(np.where(np.abs(x) < _FAR, x, 0.0))[which]
    return np.where(np.abs(x) < _FAR, near, (np.sin, np.cos)[which](x))


def _logistic(x: Array) -> Array:
    small = _exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def _elu(x: Array) -> Array:
    return np.where(x < 0, _exp(np.minimum(x, 0)) - 1, x)


def _own(name: str) -> Callable[[Array], Array]:
    """Return one of the library's activations, which it computes in float32."""
    return lambda x: activation(x.astype(np.float32), name).astype(np.float64)


UNARY: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "neg": np.negative,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "square": np.square,
    "exp": _exp,
    "log": _log,
    "sin": lambda x: _sin_cos(x, 0),
    "cos": lambda x: _sin_cos(x, 1),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "relu_n1_to_1": lambda x: np.clip(x, -1, 1),
    "elu": _elu,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "logistic": _logistic,
    "tanh": _own("tanh"),
}
"""Functions of one number, in float64."""


def function_of(kind: str, options: dict[str, Any]) -> Callable[[Array], Array] | None:
    """Return the function of one number that an operator is, in float64; None if it is another."""
    if kind == "gelu":
        return _own("gelu_tanh" if options.get("approximate", False) else "gelu")
    if kind == "leaky_relu":
        alpha = float(options.get("alpha", 0.0))
        return lambda x: np.where(x < 0, x * alpha, x)
    return UNARY.get(kind)


def _unary(kind: str) -> Callable[[Call, Array], Array]:
    def run(call: Call, x: Array) -> Array:
        function = function_of(kind, call.options)
        assert function is not None
        return function(x.astype(np.float64) if x.dtype.kind == "f" else x).astype(x.dtype)

    return run


def _both(call: Call) -> list[Shape]:
    return [broadcast(call, (0, 1))]


def _divide(call: Call, a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    call.need(bool(np.all(b != 0)), "a divisor other than 0", 0)
    return np.trunc(a / b)  # integers go towards zero


def _power(call: Call, a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.power(a.astype(np.float64), b)
    call.need(bool(np.all(b >= 0)), "exponents of at least 0", int(b.min(initial=0)))
    return np.power(a, b)


def _floor_mod(call: Call, a: Array, b: Array) -> Array:
    call.need(a.dtype.kind == "f" or bool(np.all(b != 0)), "a divisor other than 0", 0)
    return np.mod(a, b)


def _floor_div(call: Call, a: Array, b: Array) -> Array:
    call.need(a.dtype.kind == "f" or bool(np.all(b != 0)), "a divisor other than 0", 0)
    return np.floor_divide(a, b)


def _binary(function: Callable[[Array, Array], Array]) -> Callable[[Call, Array, Array], Array]:
    return lambda _, a, b: function(a, b)


def _prelu(x: Array, alpha: Array) -> Array:
    return np.where(x < 0, x * alpha, x)


def _select_shape(call: Call) -> list[Shape]:
    condition, x = call.shape(0), call.shape(1)
    if len(condition) == 1 < len(x) and condition[0] == x[0]:  # of whole rows
        return [broadcast(call, (1, 2))]
    return [broadcast(call, (0, 1, 2))]


def _select(_: Call, condition: Array, x: Array, y: Array) -> Array:
    if condition.ndim == 1 < x.ndim and condition.shape[0] == x.shape[0]:
        condition = condition.reshape(-1, *[1] * (x.ndim - 1))
    return np.where(condition, x, y)


def _same(_: Call, x: Array) -> Array:
    return x


BINARY = {
    "add": _binary(np.add),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "div": _divide,
    "floor_div": _floor_div,
    "floor_mod": _floor_mod,
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "pow": _power,
    "squared_difference": _binary(lambda a, b: np.square(a - b)),
}

COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}

_INTEGERS_TOO = ("abs", "neg", "relu", "relu6", "relu_n1_to_1", "square")

KINDS = {
    **{
        kind: Kind((1, 1), like_first, _unary(kind), NUMBERS if kind in _INTEGERS_TOO else FLOATS)
        for kind in (*UNARY, "gelu", "leaky_relu")
    },
    **{kind: Kind((2, 2), _both, run, NUMBERS, (0, 1)) for kind, run in BINARY.items()},
    **{
        kind: Kind((2, 2), _both, _binary(function), (*NUMBERS, *BOOLS), (0, 1), "bool")
        for kind, function in COMPARISONS.items()
    },
    "logical_and": Kind((2, 2), _both, _binary(np.logical_and), BOOLS, (0, 1)),
    "logical_or": Kind((2, 2), _both, _binary(np.logical_or), BOOLS, (0, 1)),
    "logical_not": Kind((1, 1), like_first, lambda _, x: np.logical_not(x), BOOLS),
    "prelu": Kind((2, 2), _both, _binary(_prelu), FLOATS, (0, 1)),
    "cast": Kind((1, 1), like_first, _same, ANY, (0,), "", "raw"),
    "quantize": Kind((1, 1), like_first, _same, FLOATS, (0,), ""),
    "dequantize": Kind((1, 1), like_first, _same, (*FLOATS, "float16"), (0,), "float32"),
    "select": Kind((3, 3), _select_shape, _select, ANY, (1, 2), "same", "moved"),
    "select_v2": Kind(
        (3, 3),
        lambda call: [broadcast(call, (0, 1, 2))],
        lambda _, condition, x, y: np.where(condition, x, y),
        ANY,
        (1, 2),
        "same",
        "moved",
    ),
}
