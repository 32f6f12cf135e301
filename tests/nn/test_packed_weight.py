# SPDX-License-Identifier: Apache-2.0
"""Packed weights over memory of others: the bits of those that were packed here, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from native import core, needs_core
from octavo import _backend, nn, runtime
from octavo.nn.weights import FloatWeight, Int4Weight, Int8Weight
from reference import assert_same_bits

if TYPE_CHECKING:
    from octavo._types import Array

pytestmark = needs_core

SHAPES = [(0, 5), (5, 0), (1, 1), (16, 64), (17, 33), (40, 130), (33, 1000)]
FORMATS = core.weight_formats() if core is not None else []


def aligned(values: Array, offset: int = 0) -> Array:
    memory = np.empty(values.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    copy.flags.writeable = False
    return copy


def weights(shape: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(shape[0])
    values = rng.standard_normal(shape).astype(np.float32)
    values[rng.random(shape) < 0.6] = 0
    int8 = [Int8Weight.from_float(values, format=name) for name in (None, *FORMATS)]
    return [*int8, Int4Weight.from_float(values), FloatWeight(values)]


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_rows_of_a_packed_weight(shape: tuple[int, int]) -> None:
    ids = np.array([[0, shape[0] - 1], [shape[0] // 2, 0]])
    for weight in weights(shape):
        table = nn.Embedding.of(weight)
        before = table(ids)
        layer = nn.Linear.of(weight)
        layer(np.ones(shape[1], np.float32))
        assert_same_bits(table(ids), before)
        assert_same_bits(table(ids[:0]), before[:0])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_bits(shape: tuple[int, int]) -> None:
    for weight in weights(shape):
        layer = nn.Linear.of(weight, np.ones(shape[0], np.float32))
        lent = {k: aligned(v) if k == "packed" else v for k, v in weight.shareable().items()}
        twin = nn.Linear.of(
            type(weight).attach(lent, shape, **weight.form()), layer.bias, layer.options
        )
        assert not np.shares_memory(lent["packed"], weight.shareable()["packed"])
        assert (
            np.shares_memory(lent["packed"], twin.held_weight.shareable()["packed"]) or 0 in shape
        )
        assert repr(twin) == repr(layer)
        assert twin.nbytes == layer.nbytes
        assert_same_bits(twin.weight, layer.weight)
        for rows in (1, 5, 70):
            x = np.random.default_rng(rows).standard_normal((rows, shape[1])).astype(np.float32)
            for tier in runtime.isa_tiers():
                with runtime.use_isa(tier):
                    assert_same_bits(twin(x), layer(x))


@pytest.mark.parametrize("index", range(len(FORMATS) + 3))
def test_other_bytes_are_refused(index: int) -> None:
    weight = weights((40, 130))[index]
    nn.Linear.of(weight)
    arrays, shape = weight.shareable(), weight.shape
    packed = arrays["packed"]

    def attach(packed: Array, n: int = shape[0], k: int = shape[1]) -> Any:
        lent = {key: np.ones_like(array) for key, array in arrays.items()} | {"packed": packed}
        return type(weight).attach(lent, (n, k), **weight.form())

    attach(aligned(packed))
    for other in (packed[:0], packed[:-1], packed[:-64], np.append(packed, packed[:64], axis=0)):
        with pytest.raises(ValueError, match="expected"):
            attach(aligned(other))
    with pytest.raises(ValueError, match="aligned to 64"):
        attach(aligned(packed, 8))
    with pytest.raises(ValueError, match="expected"):
        attach(aligned(packed), shape[0] + 100)


def test_a_layer_of_anothers_weight_packs_nothing() -> None:
    weight = weights((40, 130))[0]
    layer = nn.Linear.of(weight)
    other = layer.replace(bias=np.ones(40, np.float32), activation="relu")
    packed = [one.held_weight.shareable()["packed"] for one in (layer, other)]
    assert np.shares_memory(*packed)
    with _backend.use("numpy"):
        twin = other.replace(activation="relu")
    x = np.ones((3, 130), np.float32)
    assert_same_bits(twin(x), other(x))


def test_rows_of_a_packed_float_weight() -> None:
    values = weights((40, 130))[-1].values
    layer = nn.FloatLinear(values, np.ones(40, np.float32))
    layer(values)
    weight, ids, rows = (
        layer.held_weight,
        np.array([[0, 39, 17], [16, 15, 39]]),
        np.zeros((2, 3, 130), np.float32),
    )
    assert weight.shareable().keys() == {"packed"}
    weight.lookup(ids, rows)
    assert_same_bits(rows, values[ids])
    assert_same_bits(weight.rows(5, 33), values[5:33])
    assert not layer.held_weight.shareable()["packed"][2, :, 8:].any()
    with pytest.raises(ValueError, match="packed"):
        FloatWeight.attach(weight.shareable(), (40, 131))
    assert FloatWeight(values).shareable().keys() == {"weight"}  # as tables are held
