# SPDX-License-Identifier: Apache-2.0
"""octavo.nn.Module: children, names, swapping, state, hooks."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import octavo
from octavo import Linear, nn
from octavo.nn import FloatLinear, LayerNorm, hooks
from reference import assert_same_bits

WEIGHT = np.arange(16, dtype=np.float32).reshape(4, 4) / 16


class Block(nn.Module):
    def __init__(self) -> None:
        self.dense = FloatLinear(WEIGHT)
        self.norm = LayerNorm(WEIGHT[0])
        self.width = 4
        self._hidden = FloatLinear(WEIGHT)

    def __call__(self, x: Any) -> Any:
        return self.norm(self.dense(x))


class Model(nn.Module):
    def __init__(self) -> None:
        self.layer = [Block(), Block()]
        self.heads = (FloatLinear(WEIGHT),)
        self.act = nn.Activation("relu")

    def __call__(self, x: Any) -> Any:
        for layer in self.layer:
            x = layer(x)
        return self.act(self.heads[0](x))


NAMES = [
    "",
    "layer.0",
    "layer.0.dense",
    "layer.0.norm",
    "layer.1",
    "layer.1.dense",
    "layer.1.norm",
    "heads.0",
    "act",
]


def test_names_and_state() -> None:
    model = Model()
    assert [name for name, _ in model.named_modules()] == NAMES
    assert [name for name, _ in model.named_children()] == ["layer.0", "layer.1", "heads.0", "act"]
    assert next(iter(model.named_modules("bert")))[0] == "bert"
    assert list(model.named_modules("bert"))[2][0] == "bert.layer.0.dense"
    assert list(model.state_dict()) == [
        "layer.0.dense.weight",
        "layer.0.norm.weight",
        "layer.1.dense.weight",
        "layer.1.norm.weight",
        "heads.0.weight",
    ]
    assert model.nbytes == 3 * 64 + 2 * 16
    for name, module in model.named_modules():
        assert model.get_submodule(name) is module


def test_a_shared_part_counts_once() -> None:
    model = Model()
    model.layer = [model.layer[0], model.layer[0]]
    assert model.nbytes == 2 * 64 + 16


def test_swapping_a_layer() -> None:
    model = Model()
    x = np.ones((1, 4), np.float32)
    before = model(x)
    small = Linear.from_float(WEIGHT)
    model.layer[1].dense = small
    assert model.get_submodule("layer.1.dense") is small
    assert "layer.1.dense.weight_scale" in model.state_dict()
    model.set_submodule("layer.0.dense", small)
    model.set_submodule("layer.1", model.layer[0])
    assert model.layer[0].dense is small
    assert model.layer[1] is model.layer[0]
    np.testing.assert_allclose(model(x), before, atol=0.1)


def test_copies_of_a_model() -> None:
    model = Model()
    model.layer[0].dense = Linear.from_float(WEIGHT)
    x = np.ones((1, 4), np.float32)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same_bits(other(x), model(x))
        assert other.layer[0] is not model.layer[0]


@pytest.mark.parametrize(
    "path", ["dense", "layer", "layer.2", "layer.x", "layer.0.width", "layer.0.dense.weight", "."]
)
def test_bad_paths(path: str) -> None:
    with pytest.raises(ValueError, match=r"^path: "):
        Model().get_submodule(path)
    with pytest.raises(ValueError, match=r"^path: "):
        Model().set_submodule(path, FloatLinear(WEIGHT))


def test_bad_replacements() -> None:
    with pytest.raises(ValueError, match=r"^path: .*tuple"):
        Model().set_submodule("heads.0", FloatLinear(WEIGHT))
    with pytest.raises(ValueError, match=r"^path: "):
        Model().set_submodule("", FloatLinear(WEIGHT))
    with pytest.raises(TypeError, match=r"^module: "):
        Model().set_submodule("layer.0", None)  # type: ignore[arg-type]


def test_the_base_is_not_callable() -> None:
    with pytest.raises(NotImplementedError, match="Module"):
        octavo.nn.Module()(1)


def test_hooks_come_off_whatever_happens() -> None:
    layer = FloatLinear(WEIGHT)
    calls: list[Any] = []
    handle = hooks.register(layer, after=lambda *call: calls.append(call[-1]), always=True)
    inner = hooks.register(layer, after=lambda *call: calls.append("only if it went well"))
    with pytest.raises(ValueError, match=r"^x: "):
        layer(np.ones((2, 3), np.float32))
    assert calls == [None]
    inner.remove()
    handle.remove()
    handle.remove()
    assert type(layer) is FloatLinear

    def stop(*_: Any) -> None:
        raise hooks.Reached

    with hooks.watching(layer, [""], stop):
        layer(WEIGHT)
        raise AssertionError("the run goes on")
    other: list[str] = []
    with hooks.watching(layer, [""], lambda path, *_: other.append(path)):
        thread = threading.Thread(target=layer, args=(WEIGHT,))
        thread.start()
        thread.join()
    assert not other, "calls of other threads are not this run's"
