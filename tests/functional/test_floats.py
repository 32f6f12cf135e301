# SPDX-License-Identifier: Apache-2.0
"""Activations, softmax, layer norm and attention: the same bits on every tier, and accurate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import octavo.functional as ops
import reference
from octavo._numpy import float_ops
from reference import assert_same_bits
from refusals import refusals

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("isa")

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": ops.relu,
    "gelu": ops.gelu,
    "gelu_tanh": lambda x: ops.gelu(x, "tanh"),
    "silu": ops.silu,
    "tanh": ops.tanh,
}
SPECIAL = np.array(
    [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 87.4, -87.4, 1e-8],
    np.float32,
)
WIDTHS = [1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 384]


def truth(name: str, x: Any) -> Any:
    """The activation in float64."""
    x = x.astype(np.float64)
    if name == "relu":
        return np.maximum(x, 0)
    if name == "gelu":
        return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    if name == "gelu_tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / (1 + np.exp(-x)) if name == "silu" else np.tanh(x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_the_reference(rng: np.random.Generator, name: str) -> None:
    for size in (0, 1, 15, 16, 17, 100):
        x = rng.normal(0, 3, size).astype(np.float32)
        assert_same_bits(ACTIVATIONS[name](x), reference.activation(x, name))
    for x in (SPECIAL, np.repeat(SPECIAL, 5), rng.normal(0, 40, 300).astype(np.float32)):
        assert_same_bits(ACTIVATIONS[name](x), reference.activation(x, name))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_accurate(name: str) -> None:
    x = np.linspace(-30, 30, 20001).astype(np.float32)
    error = np.abs(ACTIVATIONS[name](x) - truth(name, x))
    assert (error <= 2e-7 * np.maximum(1, np.abs(x))).all()
    small = np.geomspace(1e-30, 1e-3, 1001).astype(np.float32)
    if name != "tanh":  # it cancels near 0
        for y in (small, -small):
            np.testing.assert_allclose(ACTIVATIONS[name](y), truth(name, y), rtol=5e-7)


def test_exp_is_accurate() -> None:
    # Seen through a softmax of two values: e / (1 + e).
    x = np.linspace(-80, 0, 4001).astype(np.float32)
    p = ops.softmax(np.stack([x, np.zeros_like(x)], 1))[:, 0].astype(np.float64)
    e = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(p, e / (1 + e), rtol=4e-7)


def test_exp_is_within_nine_tenths_of_a_step() -> None:
    # The tiers' exp is that of NumPy, as the other tests see.
    x = np.linspace(-87.3, 88, 200_001).astype(np.float32)
    true = np.exp(x.astype(np.float64))
    step = np.ldexp(1.0, np.frexp(true)[1] - 24)
    assert (np.abs(float_ops.exp(x) - true) < 0.9 * step).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_keeps_shapes_and_takes_any_layout(rng: np.random.Generator, name: str) -> None:
    x = rng.normal(0, 2, (3, 5, 7)).astype(np.float32)
    y = ACTIVATIONS[name](x)
    assert_same_bits(y, reference.activation(x, name))
    assert_same_bits(ACTIVATIONS[name](x.transpose(2, 0, 1)), y.transpose(2, 0, 1))
    assert_same_bits(ACTIVATIONS[name](x.astype(">f4")), y)
    assert_same_bits(ACTIVATIONS[name](x[:, ::2]), y[:, ::2])
    assert ACTIVATIONS[name](1.0).shape == ()
    half = x.astype(np.float16)
    assert_same_bits(ACTIVATIONS[name](half), ACTIVATIONS[name](half.astype(np.float32)))


@pytest.mark.parametrize("width", WIDTHS)
def test_softmax_is_the_reference(rng: np.random.Generator, width: int) -> None:
    x = rng.normal(0, 4, (5, width)).astype(np.float32)
    x[1] *= 1e4
    y = ops.softmax(x)
    assert_same_bits(y, reference.softmax(x))
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-5)


def test_softmax_axes_and_specials(rng: np.random.Generator) -> None:
    x = rng.normal(0, 4, (3, 20, 5)).astype(np.float32)
    moved = np.moveaxis(x, 1, 2).reshape(15, 20)
    expected = np.moveaxis(reference.softmax(moved).reshape(3, 5, 20), 2, 1)
    assert_same_bits(ops.softmax(x, axis=1), expected)
    assert_same_bits(ops.softmax(x, axis=-2), expected)
    for row in ([np.nan, 1, 2], [np.inf, 1, 2], [-np.inf] * 3, [-np.inf, 0, 1], [1e-45, 0, -1e-45]):
        values = np.array([row * 7], np.float32)
        assert_same_bits(ops.softmax(values), reference.softmax(values))
    for shape in ((0,), (0, 4), (4, 0)):
        assert ops.softmax(np.zeros(shape, np.float32)).shape == shape


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("extras", [(), ("weight",), ("weight", "bias"), ("bias", "residual")])
def test_layer_norm_is_the_reference(rng: np.random.Generator, width: int, extras: Any) -> None:
    x = rng.normal(1, 3, (4, width)).astype(np.float32)
    made = {
        "weight": rng.normal(1, 1, width).astype(np.float32),
        "bias": rng.normal(0, 1, width).astype(np.float32),
        "residual": rng.normal(0, 1, x.shape).astype(np.float32),
    }
    given_ = {name: made[name] for name in extras}
    weight, bias, residual = (given_.get(name) for name in made)
    y = ops.layer_norm(x, eps=1e-12, **given_)
    assert_same_bits(y, reference.layer_norm(x, weight, bias, 1e-12, residual))


def test_layer_norm_is_accurate(rng: np.random.Generator) -> None:
    x = rng.normal(5, 2, (20, 768)).astype(np.float32)
    v = x.astype(np.float64)
    expected = (v - v.mean(1, keepdims=True)) / np.sqrt(v.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(ops.layer_norm(x), expected, atol=2e-6)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("extras", [(), ("weight",), ("weight", "addend"), ("addend",)])
def test_rms_norm_is_the_reference(rng: np.random.Generator, width: int, extras: Any) -> None:
    x = rng.normal(1, 3, (4, width)).astype(np.float32)
    made = {
        "weight": rng.normal(1, 1, width).astype(np.float32),
        "addend": rng.normal(0, 1, x.shape).astype(np.float32),
    }
    given_ = {name: made[name] for name in extras}
    weight, addend = (given_.get(name) for name in made)
    expected = reference.rms_norm(x, weight, 1e-12, addend)
    assert_same_bits(ops.rms_norm(x, eps=1e-12, **given_), expected)


def test_rms_norm_is_accurate(rng: np.random.Generator) -> None:
    x = rng.normal(5, 2, (20, 768)).astype(np.float32)
    v = x.astype(np.float64)
    expected = v / np.sqrt((v * v).mean(1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(ops.rms_norm(x), expected, atol=2e-6)


def test_rotary_embedding_is_the_reference(rng: np.random.Generator) -> None:
    x = rng.normal(0, 2, (2, 5, 3 * 11)).astype(np.float32)
    cosine, sine = rng.normal(0, 1, (2, 9, 4)).astype(np.float32)
    for positions in (np.arange(4, 9), rng.integers(0, 9, (2, 5))):
        places = np.broadcast_to(positions, (2, 5)).reshape(-1)
        expected = reference.rotary(x.reshape(10, 33), cosine[places], sine[places], 3)
        turned = ops.rotary_embedding(x, cosine, sine, positions, 3)
        assert_same_bits(turned.reshape(10, 33), expected)


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_gated_is_the_reference(rng: np.random.Generator, name: str) -> None:
    gate, x = rng.normal(0, 3, (2, 3, 21)).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = reference.activation(gate, name) * x
    assert_same_bits(ops.gated(gate, x, name), expected)
    assert_same_bits(ops.gated(gate[:, ::2], x[:, ::2], name), expected[:, ::2])


def test_layer_norm_layouts_and_specials(rng: np.random.Generator) -> None:
    wide = rng.normal(0, 1, (6, 80)).astype(np.float32)
    for x in (wide[:, :37], wide[::2], wide[::-1], wide.T, wide[:, ::2], wide.astype(np.float16)):
        same = np.array(x, np.float32)
        expected = reference.layer_norm(same, None, None, 1e-5, same)
        assert_same_bits(ops.layer_norm(x, residual=x), expected)
    cube = rng.normal(0, 1, (2, 3, 20)).astype(np.float32)
    flat = ops.layer_norm(cube.reshape(6, 20), residual=cube.reshape(6, 20))
    assert_same_bits(ops.layer_norm(cube, residual=cube), flat.reshape(cube.shape))
    for row in ([np.nan, 1.0], [np.inf, 1.0], [3e38, -3e38], [1e-45, 0.0], [2.0, 2.0]):
        x = np.array([row * 9], np.float32)
        assert_same_bits(ops.layer_norm(x), reference.layer_norm(x, None, None, 1e-5, None))
        assert_same_bits(ops.layer_norm(x, eps=0), reference.layer_norm(x, None, None, 0.0, None))
    for shape in ((0,), (0, 4), (4, 0), (2, 0, 3)):
        assert ops.layer_norm(np.zeros(shape, np.float32)).shape == shape


# (B, T_q, T_k, heads, width of a head)
ATTENTIONS = [
    (1, 1, 1, 1, 1),
    (2, 3, 5, 2, 4),
    (1, 4, 17, 3, 8),
    (2, 5, 16, 1, 33),
    (1, 2, 40, 2, 32),
    (1, 7, 7, 4, 64),
]


def operands(rng: np.random.Generator, size: Any) -> Any:
    batch, t_q, t_k, heads, width = size
    return (
        rng.normal(0, 1, (batch, t_q, heads * width)).astype(np.float32),
        rng.normal(0, 1, (batch, t_k, heads * width)).astype(np.float32),
        rng.normal(0, 1, (batch, t_k, heads * width)).astype(np.float32),
    )


@pytest.mark.parametrize("size", ATTENTIONS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_reference(rng: np.random.Generator, size: Any, masked: bool) -> None:
    q, k, v = operands(rng, size)
    mask = rng.random(k.shape[:2]) < 0.6 if masked else None
    y = ops.attention(q, k, v, mask, heads=size[3])
    scale = 1 / math.sqrt(size[4])
    assert_same_bits(y, reference.attention(q, k, v, mask, size[3], scale))
    y = ops.attention(q, k, v, mask, heads=size[3], scale=0.3)
    assert_same_bits(y, reference.attention(q, k, v, mask, size[3], 0.3))
    for count in (1, size[3]):
        bias = rng.normal(0, 2, (count, *size[1:3])).astype(np.float32)
        y = ops.attention(q, k, v, mask, bias, heads=size[3])
        assert_same_bits(y, reference.attention(q, k, v, mask, size[3], scale, bias))


def test_attention_is_accurate(rng: np.random.Generator) -> None:
    q, k, v = (
        x.reshape(2, -1, 4, 32).astype(np.float64) for x in operands(rng, (2, 20, 50, 4, 32))
    )
    scores = np.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(32)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("bhij,bjhd->bihd", p / p.sum(-1, keepdims=True), v)
    flat = [x.reshape(2, -1, 128).astype(np.float32) for x in (q, k, v)]
    y = ops.attention(*flat, heads=4)
    np.testing.assert_allclose(y, expected.reshape(2, 20, 128), atol=2e-6)


@pytest.mark.parametrize("shape", [(2, 3), (3, 3, 4), (2, 3, 5)])
def test_attention_refuses_other_biases(rng: np.random.Generator, shape: Any) -> None:
    q, k, v = operands(rng, (2, 3, 4, 2, 8))
    with pytest.raises(ValueError, match="bias: expected shape"):
        ops.attention(q, k, v, bias=np.zeros(shape, np.float32), heads=2)


def test_attention_masks_and_sizes(rng: np.random.Generator) -> None:
    q, k, v = operands(rng, (2, 3, 4, 2, 8))
    none = np.zeros((2, 4), bool)
    assert_same_bits(ops.attention(q, k, v, none, heads=2), np.zeros_like(q))
    one = none.copy()
    one[0, 2] = one[1, 0] = True
    y = ops.attention(q, k, v, one, heads=2)
    for b, j in ((0, 2), (1, 0)):
        assert_same_bits(y[b], np.broadcast_to(v[b, j], y[b].shape))
    for batch, t_q, t_k in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        sizes = operands(rng, (batch, t_q, t_k, 2, 8))
        empty = ops.attention(*sizes, heads=2)
        assert_same_bits(empty, np.zeros((batch, t_q, 16), np.float32))
    assert ops.attention(q[:, :, :0], k[:, :, :0], v[:, :, :0], heads=1).shape == (2, 3, 0)


def test_attention_takes_views(rng: np.random.Generator) -> None:
    fused = rng.normal(0, 1, (2, 10, 96)).astype(np.float32)
    q, k, v = fused[..., :32], fused[..., 32:64], fused[..., 64:]
    mask = rng.random((2, 10)) < 0.7
    expected = ops.attention(q.copy(), k.copy(), v.copy(), mask, heads=4)
    assert_same_bits(ops.attention(q, k, v, mask, heads=4), expected)
    assert_same_bits(ops.attention(q, k, v, np.asfortranarray(mask).astype(int), heads=4), expected)
    turned = [np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2) for x in (q, k, v)]
    assert_same_bits(ops.attention(*turned, mask, heads=4), expected)
    last = [np.asfortranarray(x) for x in (q, k, v)]
    assert_same_bits(ops.attention(*last, mask, heads=4), expected)


anything = st.floats(width=32, allow_nan=True, allow_infinity=True)
rows = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@given(hnp.arrays(np.float32, rows, elements=anything))
def test_any_values(x: Any) -> None:
    for name, call in ACTIVATIONS.items():
        assert_same_bits(call(x), reference.activation(x, name))
    assert_same_bits(ops.softmax(x), reference.softmax(x))
    assert_same_bits(ops.layer_norm(x), reference.layer_norm(x, None, None, 1e-5, None))


X = np.ones((2, 3), np.float32)
Y = X[:, :1]
Q = np.ones((1, 2, 4), np.float32)
BAD_CALLS = {
    "float64": (TypeError, "x", lambda: ops.gelu(X.astype(float))),
    "int": (TypeError, "x", lambda: ops.relu(X.astype(int))),
    "object": (TypeError, "x", lambda: ops.silu(X.astype(object))),
    "approximate": (ValueError, "approximate", lambda: ops.gelu(X, "fast")),
    "approximate type": (TypeError, "approximate", lambda: ops.gelu(X, True)),
    "softmax axis": (ValueError, "axis", lambda: ops.softmax(X, axis=2)),
    "softmax scalar": (ValueError, "axis", lambda: ops.softmax(1.0)),
    "norm scalar": (ValueError, "x", lambda: ops.layer_norm(1.0)),
    "norm weight": (ValueError, "weight", lambda: ops.layer_norm(X, X[0, :2])),
    "norm weight type": (TypeError, "weight", lambda: ops.layer_norm(X, X[0] > 0)),
    "norm bias": (ValueError, "bias", lambda: ops.layer_norm(X, None, X)),
    "norm residual": (ValueError, "residual", lambda: ops.layer_norm(X, residual=X[:1])),
    "norm eps": (ValueError, "eps", lambda: ops.layer_norm(X, eps=-1.0)),
    "norm eps nan": (ValueError, "eps", lambda: ops.layer_norm(X, eps=float("nan"))),
    "norm eps type": (TypeError, "eps", lambda: ops.layer_norm(X, eps="small")),
    "rms weight": (ValueError, "weight", lambda: ops.rms_norm(X, X[0, :2])),
    "rms addend": (ValueError, "addend", lambda: ops.rms_norm(X, addend=X[:1])),
    "rms scalar": (ValueError, "x", lambda: ops.rms_norm(1.0)),
    "rms eps": (ValueError, "eps", lambda: ops.rms_norm(X, eps=-1.0)),
    "gate shape": (ValueError, "x", lambda: ops.gated(X, X[:1])),
    "gate type": (TypeError, "gate", lambda: ops.gated(X > 0, X)),
    "gate name": (ValueError, "activation", lambda: ops.gated(X, X, "swish")),
    "rotary rank": (ValueError, "x", lambda: ops.rotary_embedding(X[0], X, X, [0], 1)),
    "rotary heads": (ValueError, "heads", lambda: ops.rotary_embedding(X, X, X, [0, 0], 2)),
    "rotary pairs": (ValueError, "cosine", lambda: ops.rotary_embedding(X, X, X, [0, 0], 1)),
    "rotary sine": (ValueError, "sine", lambda: ops.rotary_embedding(X, Y, Y[:1], [0, 0], 1)),
    "rotary shape": (ValueError, "positions", lambda: ops.rotary_embedding(X, Y, Y, [0], 1)),
    "rotary high": (ValueError, "positions", lambda: ops.rotary_embedding(X, Y, Y, [0, 2], 1)),
    "rotary low": (ValueError, "positions", lambda: ops.rotary_embedding(X, Y, Y, [0, -1], 1)),
    "rotary type": (TypeError, "positions", lambda: ops.rotary_embedding(X, Y, Y, [0.0, 1], 1)),
    "q rank": (ValueError, "q", lambda: ops.attention(X, Q, Q, heads=1)),
    "k batch": (ValueError, "k", lambda: ops.attention(Q, Q[:0], Q[:0], heads=1)),
    "k width": (ValueError, "k", lambda: ops.attention(Q, Q[..., :2], Q, heads=1)),
    "v shape": (ValueError, "v", lambda: ops.attention(Q, Q, Q[:, :1], heads=1)),
    "v type": (TypeError, "v", lambda: ops.attention(Q, Q, Q.astype(int), heads=1)),
    "heads": (ValueError, "heads", lambda: ops.attention(Q, Q, Q, heads=3)),
    "heads 0": (ValueError, "heads", lambda: ops.attention(Q, Q, Q, heads=0)),
    "heads type": (TypeError, "heads", lambda: ops.attention(Q, Q, Q, heads=2.0)),
    "mask shape": (ValueError, "mask", lambda: ops.attention(Q, Q, Q, [[1, 0, 1]], heads=2)),
    "mask type": (TypeError, "mask", lambda: ops.attention(Q, Q, Q, [[1.0, 0.0]], heads=2)),
    "scale": (ValueError, "scale", lambda: ops.attention(Q, Q, Q, heads=2, scale=math.inf)),
}

test_bad_arguments_are_named = refusals(BAD_CALLS)
