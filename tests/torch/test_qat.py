# SPDX-License-Identifier: Apache-2.0
"""Training for int8: numbers of the fake quantization, its gradients, and the way to int8."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import numpy as np
import pytest

import model_files
import octavo
from octavo._numpy.quantize import quantize_dynamic

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")

from torch.utils.checkpoint import checkpoint  # noqa: E402

from octavo.torch import _fake  # noqa: E402

WAYS = [
    ot.Int8Training(
        activations=activations, symmetric=symmetric, embeddings=True, if_slower="quantize"
    )
    for activations in ("dynamic", "static")
    for symmetric in (False, True)
]
EVERY_WAY = pytest.mark.parametrize("config", WAYS, ids=lambda c: f"{c.activations}-{c.symmetric}")


def network() -> Any:
    return torch.nn.Sequential(
        torch.nn.Embedding(50, 48),
        torch.nn.Linear(48, 64),
        torch.nn.GELU(),
        torch.nn.Linear(64, 48, bias=False),
    )


def trained(config: Any, steps: int = 12, model: Any = None) -> Any:
    model = network() if model is None else model
    ot.prepare_qat_(model, config)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randint(50, (4, 9))).square().mean().backward()
        optimizer.step()
    return model.eval()


ROWS = {
    "random": lambda: torch.randn(20, 33),
    "all positive": lambda: torch.rand(4, 33) + 1,
    "all negative": lambda: -torch.rand(4, 33) - 1,
    "zeros": lambda: torch.zeros(3, 5),
    "one of them": lambda: torch.tensor([[0.0, 0.0, -3.0], [0.0, 7.0, 0.0]]),
    "tiny": lambda: torch.tensor([[1e-44, -1e-40, 1e-41]]),
    "wide": lambda: torch.tensor([[3e38, -3e38, 1.0]]),
    "not finite": lambda: torch.tensor([[1.0, math.nan], [math.inf, 2.0], [1.0, 2.0]]),
}


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("rows", ROWS.values(), ids=list(ROWS))
def test_rows_are_those_of_the_specification(rows: Any, symmetric: bool) -> None:
    x = rows()
    codes, scale, zero_point = quantize_dynamic(x.numpy(), symmetric)
    with np.errstate(all="ignore"):
        wanted = (codes.astype(np.int32) - zero_point[:, None]).astype(np.float32) * scale[:, None]
    np.testing.assert_array_equal(_fake.fake_rows(x, symmetric).numpy(), wanted)


@pytest.mark.parametrize("symmetric", [False, True])
def test_tensors_are_those_of_quantize(symmetric: bool) -> None:
    x = torch.randn(20, 33) + 0.4
    q = octavo.quantize(x.numpy(), symmetric=symmetric)
    scale, zero_point = _fake.tensor_grid(x.min(), x.max(), symmetric)
    assert (float(scale), int(zero_point)) == (float(q.scale), int(q.zero_point))
    wider = torch.cat([x, 10 * x])
    codes = octavo.functional.quantize_linear(wider.numpy(), q.scale, q.zero_point)
    wanted = octavo.functional.dequantize_linear(codes, q.scale, q.zero_point)
    got = _fake.fake_tensor(wider, scale, zero_point)
    np.testing.assert_array_equal(got.numpy(), wanted)


def test_weights_are_those_of_a_layer() -> None:
    weight = torch.randn(12, 40)
    weight[3] = 0
    layer = octavo.Linear.from_float(weight.numpy())
    scale = _fake.weight_scale(weight, 127)
    np.testing.assert_array_equal(scale[:, 0].numpy(), layer.weight_scale)
    np.testing.assert_array_equal(_fake.fake_weight(weight, scale, 127).numpy(), layer.weight)


def test_gradients_of_weights_are_those_of_lsq() -> None:
    weight = torch.randn(5, 30, requires_grad=True)
    scale = (weight.detach().abs().amax(1, keepdim=True) / 160).requires_grad_()
    g = torch.randn(5, 30)
    _fake.fake_weight(weight, scale, 127).backward(g)
    w, s, up = weight.detach().double().numpy(), scale.detach().double().numpy(), g.numpy()
    exact = (weight.detach() / scale.detach()).double().numpy()
    inside = np.abs(exact) <= 127
    assert not inside.all()
    np.testing.assert_array_equal(weight.grad.numpy(), up * inside)
    change = np.where(inside, np.rint(exact) - w / s, 127 * np.sign(w))
    wanted = (up * change).sum(1, keepdims=True) / math.sqrt(30 * 127)
    np.testing.assert_allclose(scale.grad.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_gradients_of_static_inputs_are_those_of_lsq() -> None:
    x = (3 * torch.randn(40, 30)).requires_grad_()
    scale = torch.tensor(0.02, requires_grad=True)
    zero_point = torch.tensor(20.0)
    g = torch.randn(40, 30)
    _fake.fake_tensor(x, scale, zero_point).backward(g)
    exact = (x.detach() / 0.02).double().numpy()
    low, high = -148, 107
    inside = (exact >= low) & (exact <= high)
    np.testing.assert_array_equal(x.grad.numpy(), g.numpy() * inside)
    change = np.where(inside, np.rint(exact) - exact, np.where(exact < low, low, high))
    wanted = (g.numpy() * change).sum() / math.sqrt(30 * 127)
    np.testing.assert_allclose(float(scale.grad), wanted, rtol=1e-4)


def test_gradients_of_rows_go_straight_through() -> None:
    x = torch.randn(4, 9, requires_grad=True)
    g = torch.randn(4, 9)
    _fake.fake_rows(x, False).backward(g)
    assert torch.equal(x.grad, g)


@EVERY_WAY
def test_a_layer_computes_what_its_int8_form_will(config: Any) -> None:
    model = trained(config)
    layer = model[1]
    x = 2 * torch.randn(30, 48)
    before = layer(x)
    rows = layer._fake_input(x).abs().double()
    weight = _fake.fake_weight(layer.weight, layer.current_scale(), 127).abs().double()
    ot.convert_qat_(model)
    assert type(model[1]) is ot.Linear
    assert (model[1].input_scale is not None) == (config.activations == "static")
    # Each of K products and sums, and the few operations around them, is rounded once.
    bound = (48 + 6) * 2**-24 * (rows @ weight.T + model[1].bias.abs())
    assert ((before - model[1](x)).abs() <= bound).all()


@EVERY_WAY
def test_codes_and_scales_are_those_trained(config: Any) -> None:
    model = trained(config)
    float_rows = model[0](torch.arange(50))
    wanted = [(layer.current_scale(), layer.int8_weight()[0]) for layer in (model[1], model[3])]
    assert all((layer.weight_log_scale != 0).all() for layer in (model[1], model[3]))
    summary = ot.convert_qat_(model)
    assert [(one.name, one.kind) for one in summary.converted] == [
        ("0", "Embedding"), ("1", "Linear"), ("3", "Linear"),
    ]  # fmt: skip
    assert type(model[0]) is ot.Embedding
    assert torch.equal(model[0](torch.arange(50)), float_rows)
    for layer, (scale, codes) in zip((model[1], model[3]), wanted, strict=True):
        assert torch.equal(layer.weight_scale, scale[:, 0])
        assert torch.equal(layer._weight.codes(), codes)
    assert not list(model.named_parameters())
    assert set(model[1].state_dict()) - {"input_scale", "input_zero_point"} == {
        "weight", "weight_scale", "bias",
    }  # fmt: skip


def test_untrained_it_is_what_quantize_gives() -> None:
    model = network().eval()
    twin = copy.deepcopy(model)
    ot.prepare_qat_(model, WAYS[0])
    ot.convert_qat_(model)
    ot.quantize_(twin, ot.Int8Dynamic(if_slower="quantize"))
    state, other = model.state_dict(), twin.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[key], other[key]) for key in state)


def test_training_makes_up_for_few_bits() -> None:
    torch.manual_seed(0)
    # Correlated inputs: for others nothing is better than to round to nearest.
    x = torch.randn(256, 8) @ torch.randn(8, 64)
    goal = torch.nn.Linear(64, 32)
    model = torch.nn.Sequential(copy.deepcopy(goal))
    ot.prepare_qat_(model, ot.Int8Training(bits=3, if_slower="quantize"))
    with torch.no_grad():
        wanted = goal(x)

    def loss() -> Any:
        return (model(x) - wanted).square().mean()

    before = float(loss().detach())
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < 0.6 * before
    ot.convert_qat_(model)
    assert int(model[0]._weight.codes().abs().max()) == 3
    assert float(loss()) < 0.6 * before


def test_masks_of_pruning_stay() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    ot.prune_(model, "nm", n=2, m=4)
    ot.prepare_qat_(model, ot.Int8Training(if_slower="quantize"))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(8, 64)).square().mean().backward()
        optimizer.step()
    mask = model[0].weight_mask.clone()
    y = model.eval()(torch.ones(1, 64))
    ot.convert_qat_(model)
    assert not (model[0]._weight.codes() != 0)[mask == 0].any()
    torch.testing.assert_close(model(torch.ones(1, 64)), y)


@EVERY_WAY
def test_state_and_copies_go_on_where_it_was(config: Any) -> None:
    model = trained(config)
    ids = torch.randint(50, (3, 5))
    wanted = model(ids)
    assert torch.equal(copy.deepcopy(model)(ids), wanted)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = network()
    ot.prepare_qat_(fresh, config)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh.eval()(ids), wanted)
    one = {key: value for key, value in model.named_parameters() if "log_scale" in key}
    assert len(one) == (5 if config.activations == "static" else 3)


@EVERY_WAY
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(config: Any, reentrant: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.GELU(), torch.nn.Linear(32, 32))
    ot.prepare_qat_(model, config)
    twin = copy.deepcopy(model)
    x = torch.randn(6, 32, requires_grad=True)
    model(x).square().sum().backward()
    checkpoint(twin, x, use_reentrant=reentrant).square().sum().backward()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@EVERY_WAY
def test_compiles(config: Any) -> None:
    model = trained(config)
    ids = torch.randint(50, (3, 5))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(ids), model(ids), rtol=1e-4, atol=1e-5)
    compiled(ids).sum().backward()
    assert model[1].weight.grad.abs().sum() > 0


def test_a_static_scale_covers_the_first_batches_then_learns() -> None:
    config = ot.Int8Training(activations="static", warmup=2, if_slower="quantize")
    model = torch.nn.Sequential(torch.nn.Linear(16, 16))
    ot.prepare_qat_(model, config)
    for x in (torch.linspace(-1, 2, 16), torch.linspace(-3, 1, 16), torch.linspace(-9, 9, 16)):
        model(x[None])
    assert model[0].input_range.tolist() == [-3.0, 2.0]
    model.eval()(torch.full((1, 16), 50.0))
    assert model[0].input_range.tolist() == [-3.0, 2.0]
    model(torch.full((1, 16), 50.0)).sum().backward()
    assert model[0].input_log_scale.grad != 0
    ot.convert_qat_(model)
    assert model[0].input_scale == pytest.approx(5 / 255)


def test_half_precision_and_autocast() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64)).bfloat16()
    ot.prepare_qat_(model, ot.Int8Training(if_slower="quantize"))
    x = torch.randn(5, 64).bfloat16()
    y = model(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x), y)
    ot.convert_qat_(model)
    torch.testing.assert_close(model(x), y, rtol=2**-7, atol=0.01)


def test_an_encoder_of_a_trained_model() -> None:
    model = model_files.in_transformers(head=True, num_labels=3).train()
    ot.prepare_qat_(model, WAYS[0], lambda _, name: name != "classifier")
    ids, mask = (torch.tensor(array) for array in model_files.batch())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model(ids, mask, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        optimizer.step()
    encoder = ot.to_encoder(model.eval())
    assert isinstance(encoder.classifier, octavo.nn.FloatLinear)
    assert isinstance(encoder.encoder.layer[0].intermediate.dense, octavo.Linear)
    logits = encoder.logits(ids.numpy(), mask.numpy())
    ot.convert_qat_(model)
    twin = ot.to_encoder(model)
    np.testing.assert_array_equal(logits, twin.logits(ids.numpy(), mask.numpy()))
    with torch.no_grad():
        model.bert.encoder.layer[1].output.LayerNorm.bias[0] = math.nan
    torch_logits = model(ids, mask).logits
    assert torch.isnan(torch_logits).all()
