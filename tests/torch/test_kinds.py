# SPDX-License-Identifier: Apache-2.0
"""octavo.torch.Linear over every kind of weight, also one that octavo does not have."""

from __future__ import annotations

import copy
import gc
import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from octavo.nn import Linear
from octavo.nn.weights import KINDS, SteppedScale, weight_class
from own_kind import Fixed16

if TYPE_CHECKING:
    from collections.abc import Iterator

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")

pytestmark = [
    pytest.mark.filterwarnings("ignore:At pre-dispatch tracing, we will assume"),
]
N, K = 40, 64


def columns(**options: Any) -> Any:
    return lambda w, b: octavo.nn.OutlierLinear.from_float(w, b, outlier_columns=[3, 9], **options)


def int8(**options: Any) -> Any:
    return lambda w, b: Linear.from_float(w, b, **options)


def of_kind(kind: str) -> Any:
    return lambda w, b: Linear.from_float(w, b, kind=kind)


def of_file(kind: str, *, steps: bool = False) -> Any:
    """A layer with all that files have of groups: minima, an order, numbers of 16 bits or steps."""

    def make(w: Any, b: Any) -> Any:
        plain = weight_class(kind).from_float(w, group=32)
        half = 1 << (plain.bits - 1)
        codes = (plain.codes.astype(np.int16) + half).astype(np.uint8)
        scale = plain.scale.astype(np.float16)
        minimum = -(scale.astype(np.float32) * half)
        order = np.random.default_rng(7).permutation(K)
        if steps:
            scale = SteppedScale(np.full(scale.shape, 2, np.uint8), scale[:, :1] / 2)
        made = weight_class(kind).from_quantized(
            codes, scale, group=32, minimum=minimum, order=order
        )
        return Linear.of(made, b)

    return make


MULTIPLIER = np.linspace(0.5, 2, K, dtype=np.float32)
LAYERS: dict[str, Any] = {
    **{kind: of_kind(kind) for kind in KINDS},
    Fixed16.kind: of_kind(Fixed16.kind),
    "int4 in small groups": lambda w, b: Linear.from_float(w, b, kind="int4", group=32),
    "int4 of a file": of_file("int4"),
    "int5 of a file": of_file("int5", steps=True),
    "sparse": int8(format="auto"),
    "static": int8(input_scale=0.03, input_zero_point=4),
    "multiplier": int8(input_multiplier=MULTIPLIER),
    "columns": columns(),
    "all of it": columns(input_multiplier=MULTIPLIER, input_scale=0.03, format="auto"),
}


@pytest.fixture(params=LAYERS)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What sort of layer."""
    monkeypatch.setitem(KINDS, Fixed16.kind, Fixed16)
    yield request.param
    torch._dynamo.reset()


@pytest.fixture
def pair(name: str) -> tuple[Any, Any]:
    """A layer and its module."""
    layer = made(name, 0)
    return layer, ot.Linear(layer)


@pytest.fixture
def second(name: str) -> Any:
    """A module of the same sort, with other numbers."""
    return ot.Linear(made(name, 5))


def made(name: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((N, K)).astype(np.float32)
    weight[:, ::3] *= rng.random((N, weight[:, ::3].shape[1])) < 0.2
    return LAYERS[name](weight, rng.standard_normal(N).astype(np.float32))


def inputs(*shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


def same(y: Any, wanted: Any) -> bool:
    return bool(np.array_equal(y.detach().numpy(), wanted))


def test_computes_what_the_layer_computes(pair: Any) -> None:
    layer, module = pair
    for shape in ((K,), (3, K), (2, 5, K), (0, K)):
        assert same(module(inputs(*shape)), layer(inputs(*shape).numpy()))
    for dtype in (torch.bfloat16, torch.float16):
        half = inputs(4, K).to(dtype)
        wanted = torch.from_numpy(layer(half.float().numpy()))
        assert torch.equal(module(half), wanted.to(dtype))
    wide = inputs(6, 2 * K)
    for strided in (wide[:, ::2], inputs(K, 6).t(), torch._neg_view(wide[:, :K])):
        assert same(module(strided), layer(strided.numpy(force=True)))
    with torch.inference_mode():
        inside = ot.Linear(layer)(inputs(3, K))
    assert same(inside, layer(inputs(3, K).numpy()))
    assert same(module.weight, layer.weight)
    assert module.nbytes == layer.nbytes
    assert f"in_features={K}, out_features={N}, bias=True" in repr(module)
    assert (f"kind='{layer.kind}'" in repr(module)) == (layer.kind != "int8")


def test_gradients(pair: Any) -> None:
    layer, module = pair
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = inputs(3, K)
    gradient = torch.ones(3, N)
    for call in (module, compiled):
        given = x.clone().requires_grad_()
        y = call(given)
        assert same(y, layer(x.numpy()))
        y.backward(gradient)
        torch.testing.assert_close(given.grad, gradient @ torch.tensor(layer.weight))
    half = x.bfloat16().requires_grad_()
    module(half).backward(gradient.bfloat16())
    assert torch.equal(half.grad, (gradient @ module.weight).bfloat16())


def test_graphs(pair: Any) -> None:
    layer, module = pair
    x = inputs(3, K)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    program = torch.export.export(module, (x,))
    gc.collect()  # what other tests' programs left
    before = len(ot.memory._COPIES)
    for call in (compiled, program.module(), torch.jit.trace(module, (x,))):
        assert same(call(inputs(3, K)), layer(x.numpy()))
    assert len(ot.memory._COPIES) == before
    if hasattr(torch.library, "register_vmap"):
        assert same(torch.vmap(module)(x), layer(x.numpy()))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    moved = torch.export.load(file).module()
    assert same(moved(x), layer(x.numpy()))
    assert len(ot.memory._COPIES) == before + 1
    del moved
    gc.collect()
    assert len(ot.memory._COPIES) == before


def test_states(pair: Any, second: Any) -> None:
    layer, module = pair
    x = inputs(3, K)
    state = module.state_dict()
    for key, value in state.items():
        if layer.kind == "bfloat16" and key == "weight":
            assert value.dtype == torch.bfloat16
    assert not same(second(x), layer(x.numpy()))
    held = second.bias
    second.load_state_dict({key: value.clone() for key, value in state.items()}, strict=True)
    assert second.bias is held
    assert same(second(x), layer(x.numpy()))
    assert second.state_dict().keys() == state.keys()
    wrong = {key: value[:1] for key, value in state.items()}
    with pytest.raises(RuntimeError, match="expected shape"):
        second.load_state_dict(wrong)
    for key in state:
        with pytest.raises(RuntimeError, match=rf"Missing key.*{key}"):
            second.load_state_dict({k: v for k, v in state.items() if k != key})
    assert same(second(x), layer(x.numpy()))


def test_copies_are_their_own(pair: Any, second: Any) -> None:
    layer, module = pair
    x = inputs(3, K)
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    for twin in (
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(stream, weights_only=False),
    ):
        assert same(twin(x), layer(x.numpy()))
        assert repr(twin) == repr(module)
        twin.load_state_dict(second.state_dict())
        assert not same(twin(x), layer(x.numpy()))
    assert same(module(x), layer(x.numpy()))


def test_written_tensors_count(pair: Any) -> None:
    _, module = pair
    x = inputs(3, K)
    before = module(x)
    module.bias.add_(1)
    torch.testing.assert_close(module(x), before + 1)
    for name in module._weight.names:
        tensor = getattr(module, name)
        if not tensor.dtype.is_floating_point or name == "outlier_weight":
            continue
        before = module(x) - module.bias
        tensor.mul_(2)
        after = module(x) - module.bias
        assert not torch.equal(after, before)
        assert torch.equal(torch.compile(module, backend="aot_eager")(x) - module.bias, after)
        tensor.requires_grad_(True)
        with pytest.raises(ValueError, match="do not train"):
            module(x)
        tensor.requires_grad_(False)


@pytest.mark.parametrize("kind", [*KINDS, Fixed16.kind])
def test_tables(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(KINDS, Fixed16.kind, Fixed16)
    rng = np.random.default_rng(2)
    numbers = [rng.standard_normal((N, K)).astype(np.float32) for _ in range(2)]
    table, other = (octavo.nn.Embedding.from_float(one, kind=kind) for one in numbers)
    module, second = ot.Embedding(table), ot.Embedding(other)
    ids = torch.from_numpy(rng.integers(0, N, (3, 5)))
    gc.collect()
    before = len(ot._ops._TABLES)
    wanted = table(ids.numpy())
    program = torch.export.export(module, (ids,)).module()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for call in (module, compiled, program, copy.deepcopy(module)):
        assert same(call(ids), wanted)
    if hasattr(torch.library, "register_vmap"):
        assert same(torch.vmap(module)(ids), wanted)
    assert same(module.weight, table.weight)
    assert module.nbytes == table.nbytes
    assert not same(second(ids), wanted)
    second.load_state_dict(module.state_dict())
    assert same(second(ids), wanted)
    torch._dynamo.reset()
    del module, program, compiled, call
    gc.collect()
    assert len(ot._ops._TABLES) == before


@pytest.mark.parametrize("kind", [*KINDS, Fixed16.kind])
def test_tables_that_are_tied(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(KINDS, Fixed16.kind, Fixed16)
    rng = np.random.default_rng(2)
    numbers = [rng.standard_normal((N, K)).astype(np.float32) for _ in range(2)]
    heads = [ot.Linear(Linear.from_float(one, kind=kind)) for one in numbers]
    tables = [ot.Embedding(head._weight) for head in heads]
    ids = torch.arange(N)
    for head, table in zip(heads, tables, strict=True):
        assert same(table(ids), head.weight.numpy())
    state = {key: value.clone() for key, value in heads[1].state_dict().items()}
    heads[0].load_state_dict(state)
    assert same(tables[0](ids), heads[1].weight.numpy())


def test_bad_inputs(pair: Any) -> None:
    _, module = pair
    x = inputs(2, K)
    bad: list[tuple[Any, type[Exception], str]] = [
        (x.numpy(), TypeError, r"x: expected a torch\.Tensor, got"),
        (None, TypeError, r"x: expected a torch\.Tensor, got"),
        (inputs(2, K + 1), ValueError, r"x: expected shape \(\.\.\., 64\), got \(2, 65\)"),
        (x.double(), TypeError, r"x: expected float32.*got torch\.float64"),
        (x.long(), TypeError, r"x: expected float32.*got torch\.int64"),
        (x.to("meta"), ValueError, "x: expected a CPU tensor, got one on meta"),
        (x.to_sparse(), TypeError, "x: expected a dense tensor, got layout"),
        (x.bfloat16().to_sparse(), TypeError, "x: expected a dense tensor, got layout"),
    ]
    for value, error, message in bad:
        with pytest.raises(error, match=message):
            module(value)
    with pytest.raises(ValueError, match="CPU, got device meta"):
        module.to("meta")
    with pytest.raises(ValueError, match=r"requires_grad: expected False for \w*Linear"):
        module.requires_grad_()
    assert module.requires_grad_(False) is module


def test_what_modules_do_themselves() -> None:
    weight = np.eye(4, dtype=np.float32)
    for options in ({"activation": "relu"}, {"output_scale": 0.5}):
        with pytest.raises(ValueError, match=f"{next(iter(options))}: expected None|none for a"):
            ot.Linear(Linear.from_float(weight, **options))
