# SPDX-License-Identifier: Apache-2.0
"""Who makes an octavo.torch.SparseLinear of a pruned layer: quantize_ and its relatives."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import model_files
import octavo
from octavo import _backend

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
nn = torch.nn

ALWAYS = ot.Int8Dynamic(sparse="always")
NEVER = ot.Int8Dynamic(sparse="never")
NATIVE = pytest.mark.skipif(_backend.name != "native", reason="nothing pays without kernels")


def net() -> Any:
    return nn.Sequential(nn.Linear(192, 256), nn.ReLU(), nn.Linear(256, 192, bias=False))


def pruned(share: float = 0.75) -> Any:
    """Pruned so that a sparse format pays on every tier: whole tiles of AMX went."""
    made = net()
    ot.prune_(made, "block", rows=16, cols=64, amount=share)
    return made.eval()


def copied(model: Any) -> Any:
    """A copy of a model with masks, whose products copy.deepcopy refuses."""
    for part in model.modules():
        ot._pruned.refresh(part)
    return copy.deepcopy(model)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("l1_unstructured", {"amount": 0.95}),
        ("nm", {"n": 2, "m": 4}),
        ("block", {"rows": 16, "cols": 4, "amount": 0.75}),
        ("block", {"rows": 16, "cols": 64, "amount": 0.75}),
        ("block", {"rows": 1, "cols": 4, "amount": 0.9}),
        ("ln_structured", {"amount": 0.5, "n": 2, "dim": 0}),
    ],
)
def test_quantize_takes_what_choose_picks(isa, method, arguments) -> None:
    model = net()
    ot.prune_(model, method, **arguments)
    dense = copied(model)
    ot.quantize_(dense, NEVER)
    summary = ot.quantize_(model)
    for entry in summary.converted:
        made, plain = model[int(entry.name)], dense[int(entry.name)]
        wanted = octavo.tuning.choose(plain._weight.codes().numpy())
        assert entry.format == wanted
        assert type(plain) is ot.Linear
        assert type(made) is (ot.Linear if wanted == "dense" else ot.SparseLinear)
        if wanted != "dense":
            assert (made.format, made.sparsity) == (entry.format, entry.sparsity)
            assert f"Linear {made.out_features}x{made.in_features}: " in str(summary)
            assert f"% zeros, held as {wanted}" in str(summary)
        assert entry.bytes_after == made.nbytes <= plain.nbytes
    x = torch.randn(5, 192)
    assert torch.equal(model(x), dense(x))


def test_where_many_zeros_pay_everywhere(isa) -> None:
    model = pruned()
    ot.quantize_(model)
    expected = ot.Linear if isa == "numpy" else ot.SparseLinear
    assert [type(model[0]), type(model[2])] == [expected] * 2


def test_no_zeros_change_nothing() -> None:
    model = net()
    default, never = copy.deepcopy(model), copy.deepcopy(model)
    assert ot.quantize_(default) == ot.quantize_(never, NEVER)
    assert type(default[0]) is type(never[0]) is ot.Linear
    assert set(default.state_dict()) == set(never.state_dict())
    summary = ot.quantize_(model, ALWAYS)
    assert [(e.format, e.sparsity < 0.1) for e in summary.converted] == [("dense", True)] * 2
    assert str(summary).count("\n") == 0
    assert type(model[0]) is ot.SparseLinear
    x = torch.randn(3, 192)
    assert torch.equal(model(x), default(x))


@NATIVE
def test_int8_layers_are_seen_by_pytorchs_encoder_and_the_old_call() -> None:
    layer = nn.TransformerEncoderLayer(192, 4, 256, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    arguments = {"rows": 16, "cols": 64, "amount": 0.75}
    ot.prune_(model, "block", filter_fn=lambda m, _: type(m) is nn.Linear, **arguments)
    plain = copied(model)
    made = ot.quantize_dynamic(model)
    assert type(made.layers[0].linear1) is ot.SparseLinear
    x = torch.randn(2, 5, 192)
    with torch.no_grad():
        error = (made(x) - plain(x)).abs().max() / plain(x).abs().max()
    assert 0 < error < 0.05


@NATIVE
@pytest.mark.parametrize("activations", ["dynamic", "static"])
def test_training_for_int8_ends_sparse(activations) -> None:
    model = pruned().train()
    ot.prepare_qat_(model, ot.Int8Training(activations=activations))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 192)).square().mean().backward()
        optimizer.step()
    twin = copied(model)
    twin[0].sparse = twin[2].sparse = "never"
    summary = ot.convert_qat_(model)
    ot.convert_qat_(twin)
    assert [type(twin[0]), type(model[0])] == [ot.Linear, ot.SparseLinear]
    assert (model[0].input_scale is None) == (activations == "dynamic")
    assert [e.sparsity for e in summary.converted] == [pytest.approx(0.75, abs=0.01)] * 2
    assert summary.bytes_after == model[0].nbytes + model[2].nbytes < twin[0].nbytes
    x = torch.randn(4, 192)
    assert torch.equal(model(x), twin(x))
    again = copy.deepcopy(model)
    again.load_state_dict(twin.state_dict())
    assert torch.equal(again(x), twin(x))


@NATIVE
def test_learned_rounding_keeps_zeros() -> None:
    model = pruned()
    zeros = model[0].weight == 0
    data = [torch.randn(64, 192) for _ in range(2)]
    dense = copied(model)
    summary = ot.adaround_(model, data, ot.AdaRound(steps=10))
    ot.adaround_(dense, data, ot.AdaRound(steps=10, sparse="never"))
    assert [type(dense[0]), type(model[0])] == [ot.Linear, ot.SparseLinear]
    assert (model[0].weight[zeros] == 0).all()
    assert "held as bsr16x4" in str(summary)
    assert torch.equal(model(data[0]), dense(data[0]))


def test_a_sparse_encoder_is_the_models_own_layer() -> None:
    model = model_files.in_transformers()
    ot.prune_(model, "l1_unstructured", amount=0.9)
    ot.quantize_(model, ot.Int8Dynamic(if_slower="quantize", sparse="always"))
    encoder: Any = ot.to_encoder(model)
    ours, theirs = model.encoder.layer[0].output.dense, encoder.encoder.layer[0].output.dense
    assert type(ours) is ot.SparseLinear
    assert theirs is ours._weight.layer
    activated = encoder.encoder.layer[0].intermediate.dense
    assert isinstance(activated, octavo.nn.SparseLinear)
    ids, mask = model_files.batch()
    with torch.no_grad():
        wanted = model(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
    assert abs(encoder(ids, mask)[mask == 1] - wanted[mask == 1]).max() < 0.05


def test_adapters_merge_into_a_sparse_base_and_back() -> None:
    peft = pytest.importorskip("peft", reason="needs peft: the extra `lora`")
    pytest.importorskip("octavo.peft", reason="needs peft: the extra `lora`")
    plain = nn.Linear(96, 64)
    with torch.no_grad():
        plain.weight[:, 32:] = 0
    adapted = []
    for layer in (
        ot.SparseLinear.from_float(plain, format="windowed16"),
        ot.Linear.from_float(plain),
    ):
        torch.manual_seed(1)
        config = peft.LoraConfig(r=4, target_modules=["0"], init_lora_weights=False)
        adapted.append(peft.get_peft_model(nn.Sequential(layer), config))
    x = torch.randn(3, 96)
    before = adapted[0](x)
    assert torch.equal(before, adapted[1](x))
    for one in adapted:
        one.merge_adapter()
    assert torch.equal(adapted[0](x), adapted[1](x))
    layer = adapted[0].base_model.model[0].base_layer
    assert type(layer) is ot.SparseLinear
    assert layer.sparsity < 0.1
    adapted[0].unmerge_adapter()
    assert torch.equal(adapted[0](x), before)
    assert layer.format == "windowed16"
