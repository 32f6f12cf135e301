# SPDX-License-Identifier: Apache-2.0
"""Convolutions of images under torch: numbers, memory formats, graphs, training, and refusals."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")

from torch import nn  # noqa: E402

LAYERS = {
    "window": lambda: nn.Conv2d(16, 32, 3, padding=1),
    "pixel": lambda: nn.Conv2d(16, 32, 1, stride=2, bias=False),
    "grouped": lambda: nn.Conv2d(16, 32, (3, 5), padding="same", groups=4),
    "depthwise": lambda: nn.Conv2d(16, 16, 3, groups=16, dilation=2, padding="valid"),
}
EVERY_LAYER = pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))
ALL = ot.Int8Dynamic(if_slower="quantize")
LAST = torch.channels_last


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@EVERY_LAYER
@pytest.mark.parametrize("format", [torch.contiguous_format, LAST])
def test_numbers_and_memory_are_those_of_the_layer(make: Any, format: Any) -> None:
    layer = make()
    ours = ot.Conv2d.from_float(layer)
    x = torch.randn(2, 16, 10, 11).to(memory_format=format)
    y = ours(x)
    windows = {name: getattr(ours, name) for name in ("stride", "padding", "dilation", "groups")}
    bias = None if layer.bias is None else layer.bias.detach().numpy()
    weight = layer.weight.detach().permute(0, 2, 3, 1).numpy()
    twin = octavo.nn.Conv2d.from_float(weight, bias, **windows)
    wanted = twin(x.permute(0, 2, 3, 1).numpy()).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(y.numpy(), wanted)
    exact = layer(x)
    assert y.stride() == exact.stride()
    assert float((y - exact).detach().abs().max()) < 0.05 * float(exact.detach().std())
    assert torch.equal(ours(x[0]), ours(x[:1])[0])
    assert ours(x[:0]).shape == (0, *y.shape[1:])
    assert torch.equal(ours(x.bfloat16()), ours(x.bfloat16().float()).bfloat16())


def test_channels_last_is_read_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = ot.Conv2d.from_float(nn.Conv2d(16, 32, 3))
    x = torch.randn(1, 16, 8, 8).to(memory_format=LAST)
    seen = []
    call = octavo.nn.Conv2d.__call__
    monkeypatch.setattr(
        octavo.nn.Conv2d, "__call__", lambda own, given: seen.append(given) or call(own, given)
    )
    layer(x)
    (given,) = seen
    assert given.__array_interface__["data"][0] == x.data_ptr()
    assert given.flags.c_contiguous


@EVERY_LAYER
def test_graphs_gradients_and_copies(make: Any) -> None:
    layer = make()
    ours = ot.Conv2d.from_float(layer)
    for x in (torch.randn(2, 16, 9, 9), torch.randn(2, 16, 9, 9).to(memory_format=LAST)):
        wanted = ours(x)
        assert torch.equal(torch.compile(ours, fullgraph=True, backend="aot_eager")(x), wanted)
        assert torch.equal(torch.export.export(ours, (x,)).module()(x), wanted)
        assert torch.equal(copy.deepcopy(ours)(x), wanted)
        x.requires_grad_()
        ours(x).sum().backward()
        gradient, x.grad = x.grad, None
        with torch.no_grad():
            layer.weight.copy_(ours.weight)
        layer(x).sum().backward()
        torch.testing.assert_close(gradient, x.grad)
    fresh = ot.Conv2d.from_float(make())
    fresh.load_state_dict(ours.state_dict())
    assert torch.equal(fresh(x), ours(x))
    broken = {**ours.state_dict(), "weight_scale": torch.full((len(ours.weight_scale),), -1.0)}
    with pytest.raises(RuntimeError, match="scale"):
        fresh.load_state_dict(broken)
    assert torch.equal(fresh(x), ours(x))


def test_operator_is_a_proper_one() -> None:
    layer = ot.Conv2d.from_float(nn.Conv2d(8, 8, 3, padding=1))
    tensors = layer.codes, layer.weight_scale, layer.held_bias
    for x in (torch.randn(2, 8, 5, 5, requires_grad=True), torch.randn(8, 5, 5)):
        torch.library.opcheck(torch.ops.octavo.conv2d.default, (x, *tensors, *layer._windows))


def test_a_network_keeps_what_int8_would_slow_down() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 64, 3, stride=2), nn.Conv2d(64, 64, 3)),
        *(nn.Conv2d(64, 2048, 5, groups=64), nn.Conv2d(2048, 64, 1, padding_mode="reflect")),
        *(nn.Conv2d(64, 64, 4, padding="same"), nn.Conv2d(64, 64, 3)),
    )
    model[6].weight = model[2].weight
    summary = ot.quantize_(model)
    assert [(one.name, one.kind, one.shape) for one in summary.converted] == [
        ("2", "Conv2d", (64, 576)), ("6", "Conv2d", (64, 576)),
    ]  # fmt: skip
    assert model[2].codes.data_ptr() == model[6].codes.data_ptr()
    reasons = [one.reason for one in summary.kept]
    assert reasons[:2] == ["too small to gain (fewer than 32768 weights or 16 outputs)"] * 2
    assert reasons[2] == "float is faster (fewer than 32 channels in each of its groups)"
    assert "padding_mode: expected 'zeros'" in reasons[3]
    assert "'same' of an even window" in reasons[4]


def test_measuring_asks_the_machine() -> None:
    model = nn.Sequential(nn.Conv2d(64, 64, 3, groups=64), nn.Conv2d(512, 512, 3))
    summary = ot.quantize_(model, ot.Int8Dynamic(if_slower="measure", rows=(1, 49)))
    assert len(summary.converted) + len(summary.kept) == 2
    assert all("of the float layer's speed" in one.reason for one in summary.kept)


def test_training() -> None:
    model = nn.Sequential(
        nn.Conv2d(8, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 4, 1)
    )
    twin, untrained = copy.deepcopy(model), copy.deepcopy(model)
    ot.quantize_(untrained, ALL)
    # Correlated inputs: for others nothing is better than to round to nearest.
    x = nn.functional.conv2d(torch.randn(16, 2, 6, 6), torch.randn(8, 2, 1, 1))
    goal = model(x).detach()
    ot.prepare_qat_(model, ot.Int8Training(bits=3, if_slower="quantize"))
    before = float((model(x) - goal).square().mean().detach())
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (model(x) - goal).square().mean().backward()
        optimizer.step()
    model.eval()
    wanted = model(x)
    assert float((model.train()(x) - goal).square().mean().detach()) < 0.6 * before
    summary = ot.convert_qat_(model.eval())
    assert [(one.name, one.kind) for one in summary.converted] == [("0", "Conv2d"), ("3", "Conv2d")]
    assert int(model[0].codes.abs().max()) <= 3
    # Both are rounded in float32, where a code of the second layer may go the other way.
    torch.testing.assert_close(model(x), wanted, rtol=0, atol=0.02 * float(wanted.detach().std()))
    ot.prepare_qat_(twin, ot.Int8Training(if_slower="quantize"))
    ot.convert_qat_(twin)
    assert torch.equal(twin[0].codes, untrained[0].codes)


def test_static_training_leaves_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Linear(256, 256))
    summary = ot.prepare_qat_(model, ot.Int8Training(activations="static"))
    assert [one.name for one in summary.converted] == ["1"]
    assert "octavo.Converter finds static ones" in summary.kept[0].reason


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(1, 3, 9, 9), RuntimeError, r"x: expected shape \(\[batch,\] 16, height"),
        (torch.zeros(16, 9), RuntimeError, "x: expected shape"),
        (torch.zeros(1, 16, 9, 9, dtype=torch.int32), TypeError, "x: expected float32"),
        (np.zeros((1, 16, 9, 9), np.float32), TypeError, "x: expected a torch.Tensor"),
        (torch.zeros(1, 16, 1, 9), ValueError, "at least one window"),
    ],
)
def test_refusals(x: Any, error: type[Exception], message: str) -> None:
    layer = ot.Conv2d.from_float(nn.Conv2d(16, 32, 3))
    with pytest.raises(error, match=message):
        layer(x)
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Conv2d, got Linear"):
        ot.Conv2d.from_float(nn.Linear(2, 2))
