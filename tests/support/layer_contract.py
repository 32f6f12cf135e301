# SPDX-License-Identifier: Apache-2.0
"""What every layer with a weight keeps to, whatever the kind; a new kind is tested by its row."""

from __future__ import annotations

import copy
import pickle
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import _backend, tuning
from octavo.nn import Embedding, Linear, LinearOptions, OutlierLinear, SidePath, SparseLinear, hooks
from octavo.nn.weights import KINDS, weight_class
from outputs import check_out
from reference import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Array = np.ndarray[Any, np.dtype[Any]]
N, K = 24, 40


def scaled_inputs(weight: Array, bias: Any = None, **options: Any) -> Linear:
    multiplier = np.linspace(1, 1.25, weight.shape[1], dtype=np.float32)
    return Linear.from_float(weight / multiplier, bias, input_multiplier=multiplier, **options)


LAYERS: dict[str, Callable[..., Linear]] = {
    **{kind: lambda *a, kind=kind, **o: Linear.from_float(*a, kind=kind, **o) for kind in KINDS},
    **{
        format: lambda *a, format=format, **o: SparseLinear.from_float(*a, format=format, **o)
        for format in tuning.SPARSE_FORMATS
    },
    "symmetric": lambda *a, **o: Linear.from_float(*a, symmetric=True, **o),
    "static input": lambda *a, **o: Linear.from_float(*a, input_scale=0.03, **o),
    "scaled inputs": scaled_inputs,
    "outliers": lambda *a, **o: OutlierLinear.from_float(*a, outlier_columns=[1, 7], **o),
    "sparse outliers": lambda *a, **o: OutlierLinear.from_float(
        *a, outlier_columns=[0, 39], format="bitmap", **o
    ),
}

STEPS = {"int4": 7, "int5": 15}
"""Steps from 0 to the largest weight, where they are few: what is lost follows from it."""


def steps(kind: str) -> int:
    return STEPS.get(kind, 100)


every = pytest.mark.parametrize("name", LAYERS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def numbers(n: int = N, k: int = K) -> tuple[Array, Array]:
    rng = np.random.default_rng(n + k)
    weight = rng.normal(0, 1, (n, k)).astype(np.float32)
    weight[rng.random((n, k)) < 0.5] = 0
    return weight, rng.normal(0, 1, n).astype(np.float32)


def make(name: str, **options: Any) -> Linear:
    return LAYERS[name](*numbers(), **options)


def inputs(*shape: int) -> Array:
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


@every
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", ["state_dict", "pickle", "copy", "deepcopy", "replace"])
def test_copies(name: str, bias: bool, way: str) -> None:
    weight, offset = numbers()
    layer = LAYERS[name](weight, offset if bias else None, activation="gelu")
    layer.note = ["kept"]  # type: ignore[attr-defined]
    made: Any = {
        "state_dict": lambda: type(layer).from_state_dict(layer.state_dict(), **layer.config()),
        "pickle": lambda: pickle.loads(pickle.dumps(layer)),
        "copy": lambda: copy.copy(layer),
        "deepcopy": lambda: copy.deepcopy(layer),
        "replace": lambda: layer.replace(activation="relu").replace(activation="gelu"),
    }[way]()
    x = inputs(3, K)
    assert_same_bits(made(x), layer(x))
    assert type(made) is type(layer)
    facts = [(repr(one), one.config(), one.kind, one.format, one.nbytes) for one in (made, layer)]
    assert facts[0] == facts[1]
    assert [*made.state_dict()] == [*layer.state_dict()]
    for key, value in layer.state_dict().items():
        assert_same_bits(made.state_dict()[key], value)
    if way in ("pickle", "copy", "deepcopy"):
        assert made.note == ["kept"]
        assert (made.note is layer.note) == (way == "copy")


@every
def test_a_pickle_moves_between_backends(name: str) -> None:
    layer = make(name, activation="gelu")
    x = inputs(5, K)
    with _backend.use("numpy"):
        again = pickle.loads(pickle.dumps(layer))
        assert (again.kind, again.format) == (layer.kind, layer.format)
        if layer.kind == "float32" or layer.side_path is not None:  # by BLAS there
            np.testing.assert_allclose(again(x), layer(x), rtol=1e-5, atol=1e-6)
        else:
            assert_same_bits(again(x), layer(x))


@every
def test_attributes(name: str) -> None:
    weight, bias = numbers()
    layer = LAYERS[name](weight, bias, activation="relu")
    assert layer.role == "linear"
    assert layer.kind in KINDS
    assert layer.held_weight.kind == layer.kind
    assert layer.shape == (layer.out_features, layer.in_features) == (N, K)
    assert 0.3 < layer.sparsity < 0.7
    assert layer.format == "dense" or layer.held_weight.leaves_zeros_out
    assert_same_bits(layer.bias, bias)
    assert isinstance(layer.options, LinearOptions)
    assert layer.activation == layer.options.activation == "relu"
    step = np.abs(weight).max(axis=1, keepdims=True) / steps(layer.kind)
    assert (np.abs(layer.weight - weight) <= step).all()
    assert layer.nbytes >= layer.held_weight.nbytes + bias.nbytes
    text = repr(layer)
    assert text.startswith(f"{type(layer).__name__}(in_features={K}, out_features={N}")
    assert "activation='relu'" in text
    assert "bias=False" not in text
    assert "bias=False" in repr(LAYERS[name](weight))


@every
def test_close_to_float(name: str) -> None:
    weight, bias = numbers()
    x = inputs(50, K)
    exact = x @ weight.T + bias
    assert np.linalg.norm(make(name)(x) - exact) < 3 / steps(name) * np.linalg.norm(exact)


@every
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_what_is_added_before_and_after(name: str, activation: str) -> None:
    layer, plain = make(name, activation=activation), make(name)
    x, addend, residual = inputs(2, 3, K), inputs(2, 3, N), inputs(2, 3, N)[::-1]
    sums = plain(x) + addend
    wanted = sums if activation == "none" else octavo.nn.Activation(activation)(sums)
    np.testing.assert_allclose(layer(x, addend=addend), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer(x, residual), layer(x) + residual)
    both = layer(x, residual, addend=addend)
    np.testing.assert_array_equal(both, layer(x, addend=addend) + residual)


@every_kind
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_side_paths_go_with_every_weight(kind: str, activation: str) -> None:
    x, residual, addend = inputs(5, K), inputs(5, N), inputs(5, N)[::-1]
    layer = Linear.from_float(*numbers(), kind=kind, activation=activation)
    low_rank = SidePath([inputs(K, 2), inputs(2, N)], bias=inputs(N))
    with_path = layer.replace(side_path=low_rank)
    assert_same_bits(with_path(x, residual), layer(x, residual, addend=low_rank(x)))
    both = low_rank(x, addend)
    assert_same_bits(with_path(x, addend=addend), layer(x, addend=both))
    assert_same_bits(with_path(x, addend=low_rank(x)), layer(x, addend=low_rank(x) + low_rank(x)))
    np.testing.assert_allclose(with_path.weight, layer.weight + low_rank.delta(K), atol=1e-5)
    assert "rank=2" in repr(with_path)
    columns = np.array([0, 9])
    few = SidePath([inputs(2, N)], columns)
    instead, rest = layer.replace(side_path=few), x.copy()
    rest[:, columns] = 0
    assert_same_bits(instead(x), layer(rest, addend=few(x)))
    again = pickle.loads(pickle.dumps(instead))
    assert_same_bits(again(x), instead(x))


@every
@pytest.mark.parametrize("shape", [(K,), (2, 3, K)], ids=str)
def test_out(name: str, shape: tuple[int, ...]) -> None:
    added = (*shape[:-1], N)
    layer = make(name, activation="gelu")
    check_out(layer, {"x": inputs(*shape), "residual": inputs(*added), "addend": inputs(*added)})
    strided = partial(layer, inputs(*shape[:-1], 2 * K)[..., ::2])
    check_out(strided, {"residual": inputs(*added)})


@every_kind
def test_out_for_codes(kind: str) -> None:
    if "output_scale" in weight_class(kind).takes:
        layer = Linear.from_float(*numbers(), kind=kind, output_scale=0.1)
        check_out(layer, {"x": inputs(5, K)})


@every
def test_leading_shapes(name: str) -> None:
    layer = make(name)
    x = inputs(2, 3, K)
    for shape in ((0, K), (2, 0, K)):
        assert layer(np.zeros(shape, np.float32)).shape == (*shape[:-1], N)
    assert layer(x[0, 0]).shape == (N,)
    np.testing.assert_allclose(layer(x[0, 0]), layer(x)[0, 0], rtol=1e-5, atol=1e-5)
    assert_same_bits(layer(x), layer(x.reshape(6, K)).reshape(2, 3, N))
    assert_same_bits(layer(x.astype(np.float16)), layer(x.astype(np.float16).astype(np.float32)))
    assert_same_bits(layer(np.asfortranarray(x)), layer(x))


@every_kind
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (1, 1)], ids=str)
def test_tiny_weights(kind: str, shape: tuple[int, int]) -> None:
    layer = Linear.from_float(np.ones(shape, np.float32), kind=kind)
    assert layer(np.ones((2, shape[1]), np.float32)).shape == (2, shape[0])
    assert layer.shape == shape
    again = type(layer).from_state_dict(layer.state_dict(), **layer.config())
    assert again.shape == shape


BAD: dict[str, tuple[type[Exception], str, Callable[[Linear], Any]]] = {
    "width": (ValueError, "x", lambda layer: layer(inputs(2, K - 1))),
    "scalar": (ValueError, "x", lambda layer: layer(np.float32(1))),
    "float64": (TypeError, "x", lambda layer: layer(inputs(2, K).astype(float))),
    "nothing": (TypeError, "x", lambda layer: layer(None)),
    "residual": (ValueError, "residual", lambda layer: layer(inputs(2, K), inputs(1, N))),
    "residual type": (TypeError, "residual", lambda layer: layer(inputs(2, K), "r")),
    "addend": (ValueError, "addend", lambda layer: layer(inputs(2, K), addend=inputs(2, K))),
}


@every
@pytest.mark.parametrize("case", BAD)
def test_bad_inputs_are_named(name: str, case: str) -> None:
    error, argument, call = BAD[case]
    with pytest.raises(error, match=f"^{argument}: "):
        call(make(name))


MAKING: dict[str, tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = {
    "rank": (ValueError, "weight", (np.ones(3, np.float32),), {}),
    "integers": (TypeError, "weight", (np.ones((2, 2), int),), {}),
    "bias": (ValueError, "bias", (np.ones((2, 3), np.float32), np.ones(3, np.float32)), {}),
    "bias type": (TypeError, "bias", (np.ones((2, 3), np.float32), "b"), {}),
    "activation": (ValueError, "activation", (np.ones((2, 3)),), {"activation": "GELU"}),
    "kind": (ValueError, "kind", (np.ones((2, 3)),), {"kind": "int3"}),
}


@every_kind
@pytest.mark.parametrize("case", MAKING)
def test_bad_parameters_are_named(kind: str, case: str) -> None:
    error, argument, arguments, options = MAKING[case]
    with pytest.raises(error, match=f"^{argument}: "):
        Linear.from_float(*arguments, **{"kind": kind, **options})


@every_kind
def test_options_that_the_weight_cannot_do(kind: str) -> None:
    bad = {
        "symmetric": True,
        "input_scale": 0.5,
        "output_scale": 0.5,
        "input_multiplier": np.ones(3, np.float32),
    }
    for option, value in bad.items():
        if option in weight_class(kind).takes:
            Linear.from_float(np.ones((2, 3)), kind=kind, **{option: value})
            continue
        with pytest.raises(ValueError, match=f"^{option}: expected none with a weight of kind"):
            Linear.from_float(np.ones((2, 3)), kind=kind, **{option: value})
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Linear.from_float(np.ones((2, 3)), kind=kind, colour=1)
    with pytest.raises(ValueError, match=r"^state: expected the key 'weight"):
        Linear.from_state_dict({"bias": 1.0}, kind=kind)


@every
def test_many_threads(name: str) -> None:
    layer = make(name, activation="gelu")
    xs = [inputs(m, K) for m in (1, 5, 40)]
    wanted = [layer(x) for x in xs]
    wrong: list[int] = []

    def work(index: int) -> None:
        same = [np.array_equal(layer(xs[index % 3]), wanted[index % 3]) for _ in range(10)]
        if not all(same):
            wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@every
def test_hooks_see_and_let_pass(name: str) -> None:
    layer = make(name)
    x, residual, addend = inputs(2, K), inputs(2, N), inputs(2, N)
    wanted = layer(x, residual, addend=addend)
    kind, seen = type(layer), []
    with hooks.watching(layer, [""], lambda path, *read: seen.append((path, *read))):
        assert isinstance(layer, kind)
        assert_same_bits(layer(x, residual, addend=addend), wanted)
        assert_same_bits(copy.copy(layer)(x, residual, addend=addend), wanted)
        assert_same_bits(pickle.loads(pickle.dumps(layer))(x, residual, addend=addend), wanted)
    assert len(seen) == 1
    assert seen[0][0] == ""
    assert seen[0][1] is x
    assert seen[0][2] is residual
    assert type(layer) is kind
    assert not hooks.handles_of(layer)
    layer(x)
    assert len(seen) == 1


@every_kind
def test_weights_of_their_own_kind(kind: str) -> None:
    values, _ = numbers()
    weight = weight_class(kind).from_float(values)
    assert weight.kind == kind
    assert weight.shape == values.shape
    like = weight.like(values + 1)
    assert (like.kind, like.shape) == (kind, weight.shape)
    assert (np.abs(like.dequantized() - values - 1) <= 5 / steps(kind)).all()
    assert set(weight.tensors()) == set(weight.keys)
    again = weight_class(kind).from_tensors(weight.tensors(), **weight.form())
    assert_same_bits(again.dequantized(), weight.dequantized())
    doubled = weight.times(np.full(K, 2, np.float32))
    if doubled is not None:
        assert_same_bits(doubled.dequantized(), 2 * weight.dequantized())


@every_kind
def test_tables(kind: str) -> None:
    values, _ = numbers()
    table = Embedding.from_float(values, kind=kind)
    ids = np.array([[0, N - 1], [3, 3]])
    assert table.role == "embedding"
    assert (table.kind, table.shape) == (kind, (N, K))
    assert_same_bits(table(ids), table.weight[ids])
    check_out(partial(table, ids), {})
    assert table([]).shape == (0, K)
    assert table.nbytes == sum(value.nbytes for value in table.state_dict().values())
    for made in (
        type(table).from_state_dict(table.state_dict(), **table.config()),
        pickle.loads(pickle.dumps(table)),
        copy.deepcopy(table),
    ):
        assert_same_bits(made(ids), table(ids))
        assert repr(made) == repr(table)
    with pytest.raises(ValueError, match=r"^ids: "):
        table([N])
    with pytest.raises(ValueError, match=r"^weight: "):
        Embedding.from_float(values[0], kind=kind)


@every
def test_files(tmp_path: Path, name: str) -> None:
    """A model with one layer of each kind comes back as it was."""
    model = octavo.models.load(model_files.write_random(tmp_path / "float"))
    old = model.encoder.layer[0].intermediate.dense
    weight = np.where(np.abs(old.weight) < np.median(np.abs(old.weight)), 0, old.weight)
    if name == "sparse outliers":
        made = OutlierLinear.from_float(
            weight, old.bias, outlier_columns=[0, 3], format="bitmap", activation="gelu"
        )
    else:
        made = LAYERS[name](weight, old.bias, activation="gelu")
    model.encoder.layer[0].intermediate.dense = made
    model.recipe = {}
    model.save(tmp_path / "saved")
    again = octavo.models.load(tmp_path / "saved")
    layer = again.encoder.layer[0].intermediate.dense
    assert layer.kind == made.kind
    assert layer.held_weight.leaves_zeros_out == made.held_weight.leaves_zeros_out
    for key, value in made.state_dict().items():
        assert_same_bits(layer.state_dict()[key], value)
    assert_same_bits(again(*model_files.batch()), model(*model_files.batch()))


def test_files_refuse_what_they_cannot_tell(tmp_path: Path) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path / "float"))
    old = model.encoder.layer[0].intermediate.dense
    columns = SidePath([inputs(1, old.out_features)], np.array([2]))
    low_rank = SidePath([inputs(old.in_features, 1), inputs(1, old.out_features)])
    small = Linear.from_float(old.weight, old.bias, activation="gelu")
    for layer, message in (
        (old.replace(side_path=columns), "a side path beside a weight of kind 'float32'"),
        (small.replace(side_path=low_rank), "side_path: expected outlier columns"),
    ):
        model.encoder.layer[0].intermediate.dense = layer
        with pytest.raises(ValueError, match=message):
            model.save(tmp_path / "saved")
        assert not (tmp_path / "saved").exists()
