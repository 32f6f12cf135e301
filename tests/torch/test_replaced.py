# SPDX-License-Identifier: Apache-2.0
"""What model code reads of a module that became int8: as the float module had it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
nn, functional = torch.nn, torch.nn.functional

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
ALL = ot.Int8Dynamic(if_slower="quantize")


def conv1d() -> Any:
    return pytest.importorskip("transformers.pytorch_utils").Conv1D(40, 24)


def tied() -> Any:
    """A table whose weight is also that of a linear layer."""
    table, head = nn.Embedding(40, 24), nn.Linear(24, 40)
    head.weight = table.weight
    table.head = head
    return table


MODULES = {
    "linear": (lambda: nn.Linear(24, 40), ALL),
    "bitmap": (lambda: nn.Linear(24, 40), ot.Int8Dynamic(if_slower="quantize", sparse="always")),
    "conv1d": (conv1d, ALL),
    "embedding": (lambda: nn.Embedding(40, 24, padding_idx=3), ALL),
    "tied": (tied, ALL),
}
READS = {
    "index": lambda w: w[3],
    "rows": lambda w: functional.embedding(torch.tensor([[2, 1]]), w),
    "turned": lambda w: w.t() @ w,
    "product": lambda w: functional.linear(torch.ones(2, w.shape[1], dtype=w.dtype), w),
    "norm": lambda w: functional.layer_norm(w, w.shape[1:]),
    "wide": lambda w: w.to(torch.float64),
    "data": lambda w: w.data.abs().max(),
    "array": lambda w: torch.from_numpy(w.float().numpy().copy()),
    "list": lambda w: torch.tensor(w.tolist()),
    "copy": copy.deepcopy,
    "pickle": lambda w: pickle.loads(pickle.dumps(w)),
}


@pytest.fixture(params=MODULES)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return a float module and its int8 form."""
    torch.manual_seed(4)
    make, config = MODULES[request.param]
    plain = make().requires_grad_(False)
    made = copy.deepcopy(plain)
    ot.quantize_(made, config)
    return plain, made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("moved", [False, True])
def test_weight_and_bias_are_like_the_float_ones(pair, dtype, moved) -> None:
    plain, made = pair
    if moved:
        made.to(dtype)
    else:
        made = copy.deepcopy(plain).to(dtype)
        ot.quantize_(made, ALL)
    plain = plain.to(dtype)
    for name in ("weight", "bias"):
        wanted, found = getattr(plain, name, None), getattr(made, name, None)
        if wanted is not None:
            assert (found.dtype, found.shape, found.device) == (dtype, wanted.shape, wanted.device)
            assert not found.requires_grad
            assert (found - wanted).abs().max() <= 0.01 * wanted.abs().max()


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_weight_reads_as_a_tensor_does(pair, read) -> None:
    _, made = pair
    numbers = made.weight.clone()
    assert type(numbers) is torch.Tensor
    assert torch.equal(read(made.weight), read(numbers))


def test_only_numbers_are_made(pair, monkeypatch) -> None:
    _, made = pair
    monkeypatch.setattr(type(made), "_dequantized", None)
    weight = made.weight
    assert weight.device.type == "cpu"
    assert weight.shape == weight.float().shape == weight.cpu().shape
    assert weight.numel() == 960


def test_writing_is_refused(pair) -> None:
    _, made = pair
    with pytest.raises(ValueError, match="weight: expected a float weight for mul_"):
        made.weight.mul_(2)
    with pytest.raises(ValueError, match=r"an int8 layer.*load_state_dict"):
        nn.init.zeros_(made.weight)


def test_gradients_pass_through_a_weight_that_is_read(pair) -> None:
    _, made = pair
    x = torch.ones(2, made.weight.shape[1], requires_grad=True)
    functional.linear(x, made.weight).sum().backward()
    torch.testing.assert_close(x.grad, made.weight.sum(0).expand_as(x))


def test_compiled_code_may_read_it(pair) -> None:
    _, made = pair

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = made

        def forward(self, x: Any) -> Any:
            return self.inner.weight[:4].sum() + x.to(self.inner.weight.dtype)

    made.to(torch.bfloat16)
    compiled = torch.compile(Reader(), fullgraph=True, backend="aot_eager")
    x = torch.ones(3)
    assert torch.equal(compiled(x), Reader()(x))
    exported = torch.export.export(Reader(), (x,)).module()
    assert torch.equal(exported(x), Reader()(x))


def test_a_conv1d_computes_as_the_linear_layer_it_is() -> None:
    plain = conv1d()
    same = nn.Linear(24, 40)
    same.load_state_dict({"weight": plain.weight.t(), "bias": plain.bias})
    summary = ot.quantize_(plain, ALL)
    ot.quantize_(same, ALL)
    x = torch.randn(2, 3, 24)
    assert torch.equal(plain(x), same(x))
    assert [(one.kind, one.shape) for one in summary.converted] == [("Conv1D", (40, 24))]
    assert (plain.nf, plain.nx) == (40, 24)
    fresh = conv1d()
    ot.quantize_(fresh, ALL)
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(fresh(x), same(x))
    np.testing.assert_array_equal(fresh.state_dict()["weight"], same.state_dict()["weight"])


def test_a_conv1d_by_other_doors() -> None:
    data = [(torch.randn(64, 24),)]
    kind = type(conv1d())
    model = nn.Sequential(conv1d(), nn.GELU(), nn.Linear(40, 24))
    learned = copy.deepcopy(model)
    config = ot.AdaRound(if_slower="quantize", steps=5)
    assert len(ot.adaround_(learned, data, config).converted) == 2
    assert (learned(*data[0]) - model(*data[0])).abs().max() < 0.05
    trains = ot.prepare_qat_(copy.deepcopy(model), ot.Int8Training(if_slower="quantize"))
    assert [one.reason for one in trains.kept] == [
        "a Conv1D does not train for int8; quantize_ makes it int8"
    ]
    large = nn.Sequential(kind(256, 256), nn.Linear(256, 256))
    made = ot.quantize_dynamic(large, {kind})
    assert [type(part) for part in made] == [ot.Linear, nn.Linear]


def test_a_weight_read_both_ways_stays_float() -> None:
    model = nn.ModuleDict({"turned": conv1d(), "plain": nn.Linear(40, 24)})
    model["plain"].weight = model["turned"].weight
    kept = ot.quantize_(model, ALL).kept
    assert {one.name: one.reason for one in kept} == {
        "turned": "its weight is tied to plain.weight, which stays float",
        "plain": "its weight is tied to turned.weight, which stays float",
    }


def test_large_weights_of_other_modules_are_listed() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.zeros(4, 64, 128))
            self.bias = nn.Parameter(torch.zeros(1 << 15))
            self.few = nn.Parameter(torch.zeros(2, 64))

    model = nn.ModuleDict({"a": Experts(), "b": nn.Conv3d(64, 64, 2), "c": nn.Linear(256, 256)})
    model["c"].inner = nn.Module()
    model.register_parameter("loose", nn.Parameter(torch.zeros(256, 256)))
    summary = ot.quantize_(model)
    assert [one.name for one in summary.converted] == ["c"]
    assert [(one.name, one.kind, one.shape) for one in summary.kept] == [
        ("", "ModuleDict.loose", (256, 256)),
        ("a", "Experts.up", (4, 64, 128)),
        ("b", "Conv3d", (64, 64, 2, 2, 2)),
    ]
    assert "Experts.up 4x64x128: several weights in one" in str(summary)
    assert summary.kept[2].reason == "a Conv3d has no int8 form"


def test_parameters_that_inference_mode_made() -> None:
    """Models that cast a layer in their forward pass leave such ones behind."""
    model = nn.Sequential(nn.Linear(24, 40))
    with torch.inference_mode():
        model.half()
        model.float()
    assert model[0].weight.is_inference()
    assert len(ot.quantize_(model, ALL).converted) == 1
    assert model(torch.ones(1, 24, requires_grad=True)).requires_grad
