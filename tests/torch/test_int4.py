# SPDX-License-Identifier: Apache-2.0
"""4-bit weights under PyTorch: the module takes a layer of any kind."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

import octavo.torch as ot  # noqa: E402
from octavo.nn import Linear  # noqa: E402
from reference import assert_same_bits  # noqa: E402


def layers() -> tuple[Linear, ot.Linear]:
    rng = np.random.default_rng(4)
    weight, bias = rng.standard_normal((32, 72)), rng.standard_normal(32)
    layer = Linear.from_float(weight, bias, kind="int4", group=64)
    return layer, ot.Linear(layer)


def test_results_are_those_of_the_layer() -> None:
    layer, module = layers()
    x = torch.randn(2, 5, 72)
    assert_same_bits(module(x).numpy(), layer(x.numpy()))
    taught = x.clone().requires_grad_()
    module(taught).sum().backward()
    assert torch.allclose(taught.grad, module.weight.sum(0).expand(x.shape), atol=1e-5)


def test_copies_and_state_dicts() -> None:
    layer, module = layers()
    x = torch.randn(3, 72)
    state = module.state_dict()
    assert state["weight_packed"].dtype == torch.int32
    assert state["weight_scale"].shape == (32, 2)
    other = ot.Linear(layer.replace(weight=layer.held_weight.like(np.zeros((32, 72)))))
    other.load_state_dict(state)
    for made in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_same_bits(made(x).numpy(), module(x).numpy())


def test_graphs() -> None:
    _, module = layers()
    x = torch.randn(3, 72)
    exported = torch.export.export(torch.nn.Sequential(module), (x,)).module()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for made in (exported, compiled):
        assert_same_bits(made(x).numpy(), module(x).numpy())
