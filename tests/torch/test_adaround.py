# SPDX-License-Identifier: Apache-2.0
"""Learned rounding: closer outputs than nearest rounding, on data seen and unseen; bad input."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

import model_files
import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")

from octavo.torch import _fake, _rounding  # noqa: E402
from octavo.torch._capture import input_groups, inputs_of  # noqa: E402

QUICK = ot.AdaRound(if_slower="quantize", steps=60)


def network(bias: bool = True) -> Any:
    return torch.nn.Sequential(
        torch.nn.Linear(48, 64, bias=bias),
        torch.nn.GELU(),
        torch.nn.Linear(64, 64),
        torch.nn.GELU(),
        torch.nn.Linear(64, 24),
    ).eval()


def batches(count: int = 6, seed: int = 0) -> list[Any]:
    """Inputs of rank 10, as correlated as real ones are."""
    random = torch.Generator().manual_seed(99)
    basis = torch.randn(10, 48, generator=random)
    random.manual_seed(seed)
    return [torch.randn(40, 10, generator=random) @ basis for _ in range(count)]


def error(model: Any, other: Any, data: list[Any]) -> float:
    with torch.no_grad():
        return float(sum((model(x) - other(x)).square().mean() for x in data))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_come_closer_than_with_nearest_rounding(bias: bool, bits: int) -> None:
    model = network(bias)
    nearest, learned = copy.deepcopy(model), copy.deepcopy(model)
    config = {"if_slower": "quantize", "bits": bits}
    ot.prepare_qat_(nearest, ot.Int8Training(**config))
    ot.convert_qat_(nearest)
    summary = ot.adaround_(learned, batches(), ot.AdaRound(**config, steps=100))
    assert [layer.name for layer in summary.converted] == ["0", "2", "4"]
    assert all(type(learned[index]) is ot.Linear for index in (0, 2, 4))
    assert int(learned[2]._weight.codes().abs().max()) == 2 ** (bits - 1) - 1
    for data in (batches(), batches(seed=5)):
        gain = error(model, learned, data) / error(model, nearest, data)
        assert gain < (0.5 if bits == 4 else 0.95)


def test_codes_are_rounded_up_or_down_and_never_worse() -> None:
    weight = torch.randn(20, 32)
    weight[3, ::2] = 0
    weight[5] = 0
    scale = _fake.weight_scale(weight, 127)
    x = torch.randn(200, 6) @ torch.randn(6, 32) + 0.3
    z = _fake.fake_rows(x, False)
    sums = _rounding.InputMoments(32)
    sums.update(x[:50], z[:50])
    sums.update(x[50:], z[50:])
    moments = sums.finish(centred=False)
    config = ot.AdaRound(steps=80, damping=0.0)
    codes = _rounding.learn_rounding(weight, scale, moments, config)
    assert ((codes - weight / scale).abs() < 1).all()
    assert (codes[weight == 0] == 0).all()
    assert codes.abs().max() <= 127
    y = (x @ weight.T).double()
    nearest = ((z @ ((weight / scale).round() * scale).T).double() - y).square().mean(dim=0)
    learned = ((z @ (codes * scale).T).double() - y).square().mean(dim=0)
    assert (learned <= nearest * (1 + 1e-4)).all()
    # What is left is the rounding of the inputs.
    assert learned.sum() < 0.7 * nearest.sum()


def test_moments_are_those_of_the_whole_data() -> None:
    x, z = torch.randn(90, 7) + 1, torch.randn(90, 7)
    parts, whole = _rounding.InputMoments(7), _rounding.InputMoments(7)
    whole.update(x, z)
    for start in (0, 20, 50):
        end = {0: 20, 20: 50, 50: 90}[start]
        parts.update(x[start:end], z[start:end])
    for one, other in zip(parts.finish(True), whole.finish(True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    gram = np.cov(z.numpy().T, bias=True)
    np.testing.assert_allclose(whole.finish(True).gram, gram, rtol=1e-4, atol=1e-5)


def test_the_same_data_gives_the_same_codes() -> None:
    model = network()
    states = []
    for _ in range(2):
        twin = copy.deepcopy(model)
        ot.adaround_(twin, batches(2), QUICK)
        states.append(twin.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_progress_and_interruption_leave_the_model_as_it_was() -> None:
    model = network().train()
    model[1].eval()
    state = copy.deepcopy(model.state_dict())
    seen: list[tuple[str, float]] = []

    def interrupt(what: str, share: float) -> None:
        seen.append((what, share))
        if what == "rounding 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ot.adaround_(model, batches(2), QUICK, on_progress=interrupt)
    assert ("rounding 0", 1 / 6) in seen
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert [part.training for part in model] == [True, False, True, True, True]
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert all(type(model[index]) is torch.nn.Linear for index in (0, 2, 4))
    assert not any(part._forward_pre_hooks for part in model.modules())


class Calls(torch.nn.Module):
    """Two layers read one tensor, one is called twice, one by a keyword, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(30, 16)
        self.left, self.right = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)
        self.twice, self.named = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)
        self.never = torch.nn.Linear(16, 16)

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        x = self.table(input_ids)
        x = self.left(x) + self.right(x)
        return self.named(input=self.twice(self.twice(x).relu()))


def test_layers_are_met_in_the_order_of_calls() -> None:
    model = Calls().eval()
    ids, mask = torch.randint(30, (2, 5)), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": mask}
    names = ["named", "right", "twice", "left"]
    groups = input_groups(model, names, [batch])
    assert [(group.names, group.calls) for group in groups] == [
        (["left", "right"], 1), (["twice"], 2), (["named"], 1),
    ]  # fmt: skip
    with torch.no_grad():
        first, second = inputs_of(model, groups[1], batch, 0)
        assert first.shape == second.shape == (7, 16)
        assert torch.equal(inputs_of(model, groups[0], batch, 0)[0], model.table(ids)[mask == 1])
        assert inputs_of(model, groups[0], (ids,), 0)[0].shape == (10, 16)
    config = ot.AdaRound(if_slower="quantize", steps=5)
    with pytest.raises(ValueError, match="layer 'never' was never reached"):
        ot.adaround_(model, [batch], config)
    summary = ot.adaround_(model, [batch], config, lambda _, name: name != "never")
    kinds = {layer.name: layer.kind for layer in summary.converted}
    assert kinds == {"table": "Embedding"} | dict.fromkeys(names, "Linear")
    assert type(model.never) is torch.nn.Linear


def test_tied_weights_are_rounded_to_nearest() -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(32, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)
    )
    model[2].weight = model[0].weight
    plain = copy.deepcopy(model)
    ot.quantize_(plain, ot.Int8Dynamic(if_slower="quantize"))
    ot.adaround_(model, [torch.randn(20, 32)], QUICK)
    assert model[0]._weight is model[2]._weight
    assert torch.equal(model[0]._weight.codes(), plain[0]._weight.codes())
    assert not torch.equal(model[1]._weight.codes(), plain[1]._weight.codes())


def test_pruned_weights_stay_zero() -> None:
    model = network()
    ot.prune_(model, "nm", n=2, m=4)
    zeros = [model[index].weight == 0 for index in (0, 2, 4)]
    ot.adaround_(model, batches(2), QUICK)
    for index, zero in zip((0, 2, 4), zeros, strict=True):
        assert (model[index]._weight.codes()[zero] == 0).all()


def test_fused_encoder_layers() -> None:
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    x = torch.randn(3, 5, 32)
    with torch.no_grad():
        wanted = layer(x)
    summary = ot.adaround_(layer, [x], QUICK)
    assert [one.name for one in summary.converted] == ["linear1", "linear2"]
    with torch.no_grad():
        torch.testing.assert_close(layer(x), wanted, rtol=0.1, atol=0.05)


def test_an_encoder_of_transformers() -> None:
    model = model_files.in_transformers().train()
    ids, mask = model_files.batch()
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    plain = ot.to_encoder(copy.deepcopy(model))
    ot.adaround_(model, [batch], QUICK)
    encoder = ot.to_encoder(model)
    nearest = octavo.compress(plain, "int8")
    wanted = plain.encode(ids, mask)
    errors = [float(np.square(one.encode(ids, mask) - wanted).mean()) for one in (encoder, nearest)]
    assert errors[0] < errors[1]


def not_finite(model: Any) -> None:
    with torch.no_grad():
        model[2].weight[0, 0] = math.inf


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "at least one batch, got none"),
        ([torch.randn(3, 47)], r"data\[0\]: the model refuses it"),
        ([torch.randn(3, 48), {"y": 1}], r"data\[1\]: the model refuses it"),
        ([torch.full((3, 48), math.nan)], "layer '0': the data leads to inputs that are NaN"),
        ([torch.randn(0, 48)], "layer '0': the data never reached it"),
    ],
)
def test_data_that_does_not_fit(data: Any, message: str) -> None:
    model = network()
    with pytest.raises(ValueError, match=message):
        ot.adaround_(model, data, QUICK)
    assert type(model[0]) is torch.nn.Linear


@pytest.mark.parametrize("data", [None, 3, "text", torch.randn(3, 48), {"x": 1}, [1], ["a"]])
def test_data_of_another_kind(data: Any) -> None:
    with pytest.raises(TypeError, match="data"):
        ot.adaround_(network(), data, QUICK)


def test_models_and_arguments_that_do_not_fit() -> None:
    data = batches(1)
    model = network()
    ot.adaround_(model, data, QUICK)
    with pytest.raises(ValueError, match="expected float linear layers, got none"):
        ot.adaround_(model, data, QUICK)
    with pytest.raises(ValueError, match="too small to gain"):
        ot.adaround_(network(), data)
    broken = network()
    not_finite(broken)
    with pytest.raises(ValueError, match=r"2\.weight: expected finite"):
        ot.adaround_(broken, data, QUICK)
    with pytest.raises(TypeError, match="config: expected an AdaRound"):
        ot.adaround_(network(), data, ot.Int8Dynamic())
    with pytest.raises(TypeError, match="on_progress"):
        ot.adaround_(network(), data, QUICK, on_progress="yes")
    with pytest.raises(TypeError, match="module: expected"):
        ot.adaround_(None, data)
    for wrong in ({"bits": 9}, {"steps": 0}, {"rate": 0.0}, {"damping": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ot.AdaRound(**wrong)


@pytest.mark.parametrize(
    ("x", "bias"),
    [
        (torch.zeros(9, 64), False),
        (torch.zeros(9, 64), True),
        (torch.full((1, 64), 3.7), True),
        (torch.linspace(-90, 70, 64).expand(9, 64), True),
    ],
    ids=["zeros, no bias", "zeros", "one row", "rows alike"],
)
def test_data_that_says_nothing(x, bias) -> None:
    """Rounding to nearest; a bias makes up for the one row that there is."""
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32, bias=bias))
    model, nearest = copy.deepcopy(plain), copy.deepcopy(plain)
    ot.quantize_(nearest, ot.Int8Dynamic(if_slower="quantize"))
    with pytest.warns(UserWarning, match="data: it says nothing about 0: all rows") as told:
        ot.adaround_(model, [x], ot.AdaRound(steps=10, if_slower="quantize"))
    assert len(told) == 1
    assert torch.equal(model[0].state_dict()["weight"], nearest[0].state_dict()["weight"])
    torch.testing.assert_close(model(x), plain(x), atol=1e-3, rtol=1e-4)


def test_an_input_that_never_comes_is_rounded_to_nearest() -> None:
    x = torch.randn(200, 64)
    x[:, 5] = 0
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32))
    model, nearest = copy.deepcopy(plain), copy.deepcopy(plain)
    ot.quantize_(nearest, ot.Int8Dynamic(if_slower="quantize", symmetric=True))
    ot.adaround_(model, [x], ot.AdaRound(steps=10, if_slower="quantize", symmetric=True))
    found, plainly = (m[0].state_dict()["weight"] for m in (model, nearest))
    assert torch.equal(found[:, 5], plainly[:, 5])
    assert not torch.equal(found, plainly)
