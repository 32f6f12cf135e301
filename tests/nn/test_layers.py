# SPDX-License-Identifier: Apache-2.0
"""FloatLinear, the embeddings, LayerNorm, Activation and Attention."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import octavo
import octavo.functional as ops
import reference
from octavo import Embedding, _backend, nn
from octavo.nn import FloatEmbedding, FloatLinear, LayerNorm, RMSNorm
from octavo.nn.weights.product import FloatProduct
from reference import assert_same_bits
from refusals import refusals

Array = np.ndarray[Any, np.dtype[Any]]

pytestmark = pytest.mark.usefixtures("isa")


def chains(x: Array, weight: Array) -> Array:
    """Rows times a weight, each sum one chain of fused multiply-adds."""
    return reference.spmm(weight, x.T, np.ones(weight.shape, bool)).T


@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh"])
def test_float_linear(rng: np.random.Generator, activation: str) -> None:
    weight, bias, multiplier = (
        rng.uniform(low, 2, size).astype(np.float32)
        for low, size in ((-2, (19, 33)), (-2, 19), (0, 33))
    )
    layer = FloatLinear(weight, bias, activation=activation, input_multiplier=multiplier)
    x, addend, residual = (
        rng.normal(0, 1, (3, 5, size)).astype(np.float32) for size in (33, 19, 19)
    )
    assert layer.nbytes == weight.nbytes + bias.nbytes + multiplier.nbytes
    sums = chains((x * multiplier).reshape(15, 33), weight).reshape(addend.shape)
    y = reference.activation(sums + bias, activation)
    if _backend.name == "native":
        assert_same_bits(layer(x), y)
        assert_same_bits(layer(x, residual), y + residual)
        assert_same_bits(layer(x.transpose(1, 0, 2)), y.transpose(1, 0, 2))
        y = reference.activation(sums + bias + addend, activation) + residual
        assert_same_bits(layer(x, residual, addend=addend), y)
        assert layer.nbytes == 32 * 33 * 4 + bias.nbytes + multiplier.nbytes  # packed
    else:
        np.testing.assert_allclose(layer(x), y, rtol=1e-5, atol=1e-5)
    assert_same_bits(layer.weight, weight)
    assert_same_bits(layer.held_weight.rows(3, 17), weight[3:17])
    assert_same_bits(layer.held_weight.rows(17, 40), weight[17:])


@pytest.mark.parametrize("k", [1, 100, 3000])
def test_float_products_are_within_their_bound(rng: np.random.Generator, k: int) -> None:
    weight = rng.normal(0, 1, (90, k)).astype(np.float32)
    x = rng.normal(0, 1, (20, k)).astype(np.float32)
    exact = x.astype(float) @ weight.T.astype(float)
    bound = 1.01 * k * 2.0**-24 * (np.abs(x).astype(float) @ np.abs(weight.T).astype(float))
    assert (np.abs(FloatLinear(weight)(x) - exact) <= bound).all()


def test_float_products_without_hardware_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without fused multiply-adds leaves them to BLAS."""
    weight, x = np.eye(3, dtype=np.float32), np.ones((2, 3), np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(_backend.backend, "isa_tiers", lambda: ["sse41", "scalar"])
        layer = FloatLinear(weight)
    assert isinstance(layer.bound, FloatProduct)
    np.testing.assert_array_equal(layer(x), x)


def test_float_linear_keeps_the_array_it_gets() -> None:
    weight = np.ones((3, 4), np.float32)
    weight.flags.writeable = False
    assert FloatLinear(weight).weight is weight
    assert np.isnan(FloatLinear(weight)(np.float32([[np.inf, -np.inf, 0, 0]]))).all()
    assert FloatLinear(np.ones((3, 0), np.float32))(np.ones((2, 0), np.float32)).shape == (2, 3)
    assert repr(FloatLinear(weight, activation="relu")) == (
        "FloatLinear(in_features=4, out_features=3, bias=False, activation='relu')"
    )


@pytest.mark.parametrize("size", [(1, 1), (5, 16), (9, 33), (50, 100)], ids=str)
def test_embedding(rng: np.random.Generator, size: Any) -> None:
    weight = rng.normal(0, 1, size).astype(np.float32)
    weight[0] = 0
    table = Embedding.from_float(weight)
    q = octavo.quantize(weight, axis=0)
    assert_same_bits(table.weight_codes, q.data)
    assert_same_bits(table.weight, q.dequantize())
    ids = rng.integers(0, size[0], (3, 4))
    for same in (ids, ids.astype(np.uint8), ids.astype(">i4"), ids.tolist(), ids[:, ::-1][:, ::-1]):
        assert_same_bits(table(same), q.dequantize()[ids])
        assert_same_bits(FloatEmbedding(weight)(same), weight[ids])
    assert_same_bits(table(ids[0, 0]), q.dequantize()[ids[0, 0]])
    assert table([]).shape == (0, size[1])
    assert table(np.zeros((2, 0), int)).shape == (2, 0, size[1])
    assert table.nbytes == size[0] * (size[1] + 4)
    assert repr(table) == f"Embedding({size[0]}, {size[1]})"
    assert_same_bits(Embedding.from_quantized(q.data, q.scale[:, None])(ids), table(ids))


def test_embedding_of_nothing() -> None:
    for shape in ((0, 4), (4, 0), (0, 0)):
        for table in (
            Embedding.from_float(np.zeros(shape, np.float32)),
            FloatEmbedding.from_float(np.zeros(shape, np.float32)),
        ):
            assert table([]).shape == (0, shape[1])
    with pytest.raises(ValueError, match=r"^ids: "):
        Embedding.from_float(np.zeros((0, 4), np.float32))([0])


def test_layer_norm(rng: np.random.Generator) -> None:
    weight, bias = rng.normal(0, 1, (2, 40)).astype(np.float32)
    norm = LayerNorm(weight, bias, eps=1e-12)
    x, residual = rng.normal(0, 1, (2, 2, 3, 40)).astype(np.float32)
    assert_same_bits(norm(x), ops.layer_norm(x, weight, bias, 1e-12))
    assert_same_bits(norm(x, residual), ops.layer_norm(x, weight, bias, 1e-12, residual))
    assert_same_bits(LayerNorm(weight)(x), ops.layer_norm(x, weight))
    assert norm.nbytes == 320
    for again in (
        LayerNorm.from_state_dict(norm.state_dict(), **norm.config()),
        pickle.loads(pickle.dumps(norm)),
        copy.deepcopy(norm),
    ):
        assert_same_bits(again(x), norm(x))
    assert repr(norm) == "LayerNorm(40, eps=1e-12)"


def test_rms_norm(rng: np.random.Generator) -> None:
    weight, x, addend = (
        rng.normal(0, 1, s).astype(np.float32) for s in (40, (2, 3, 40), (2, 3, 40))
    )
    norm = RMSNorm(weight, eps=1e-12)
    assert_same_bits(norm(x), ops.rms_norm(x, weight, 1e-12))
    assert_same_bits(norm(x, addend), ops.rms_norm(x, weight, 1e-12, addend))
    assert norm.nbytes == 160
    for again in (
        RMSNorm.from_state_dict(norm.state_dict(), **norm.config()),
        pickle.loads(pickle.dumps(norm)),
        copy.deepcopy(norm),
    ):
        assert_same_bits(again(x), norm(x))
    assert repr(norm) == "RMSNorm(40, eps=1e-12)"


def test_activation_and_attention(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, (2, 5, 8)).astype(np.float32)
    for name in ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh"):
        assert_same_bits(nn.Activation(name)(x), reference.activation(x, name))
    mask = rng.random((2, 5)) < 0.5
    layer = nn.Attention(2, scale=0.4)
    assert_same_bits(layer(x, x, x, mask), ops.attention(x, x, x, mask, heads=2, scale=0.4))
    assert repr(layer) == "Attention(heads=2)"
    assert repr(nn.Activation("relu")) == "Activation('relu')"


W = np.ones((3, 4), np.float32)
X = np.ones((2, 4), np.float32)
I8 = np.ones((3, 4), np.int8)
BAD_CALLS = {
    "float state": (ValueError, "state", lambda: FloatLinear.from_state_dict({"bias": W})),
    "table nan": (ValueError, "weight", lambda: Embedding.from_float(W * np.nan)),
    "table codes": (TypeError, "codes", lambda: Embedding(W, W[:, 0])),
    "table scale": (ValueError, "scale", lambda: Embedding(I8, W[0])),
    "table scale 0": (ValueError, "scale", lambda: Embedding(I8, W[:, 0] * 0)),
    "table state": (ValueError, "state", lambda: Embedding.from_state_dict({"weight": I8})),
    "ids low": (ValueError, "ids", lambda: Embedding.from_float(W)([-1])),
    "ids huge": (ValueError, "ids", lambda: Embedding.from_float(W)(np.uint64([2**64 - 1]))),
    "ids float": (TypeError, "ids", lambda: Embedding.from_float(W)([1.0])),
    "ids bool": (TypeError, "ids", lambda: Embedding.from_float(W)(np.array([True]))),
    "ids object": (TypeError, "ids", lambda: Embedding.from_float(W)(np.array([1], object))),
    "float ids": (ValueError, "ids", lambda: FloatEmbedding(W)([3])),
    "float table": (ValueError, "weight", lambda: FloatEmbedding(W[0])),
    "norm rank": (ValueError, "weight", lambda: LayerNorm(W)),
    "norm bias": (ValueError, "bias", lambda: LayerNorm(W[0], W[:, 0])),
    "norm eps": (ValueError, "eps", lambda: LayerNorm(W[0], eps=-1.0)),
    "norm eps type": (TypeError, "eps", lambda: LayerNorm(W[0], eps=None)),
    "rms rank": (ValueError, "weight", lambda: RMSNorm(W)),
    "rms eps": (ValueError, "eps", lambda: RMSNorm(W[0], eps=-1.0)),
    "rms x": (ValueError, "weight", lambda: RMSNorm(W[0])(X[:, :3])),
    "norm x": (ValueError, "weight", lambda: LayerNorm(W[0])(X[:, :3])),
    "norm residual": (ValueError, "residual", lambda: LayerNorm(W[0])(X, X[:1])),
    "name": (ValueError, "name", lambda: nn.Activation("swish")),
    "heads": (ValueError, "heads", lambda: nn.Attention(0)),
    "scale": (ValueError, "scale", lambda: nn.Attention(1, scale=float("nan"))),
}

test_bad_arguments_are_named = refusals(BAD_CALLS)
