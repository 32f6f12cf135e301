# SPDX-License-Identifier: Apache-2.0
"""octavo.torch.prune: the same state as PyTorch's own functions leave, and int8 afterwards."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import numpy as np
import pytest

from octavo.algorithms import pruning

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
prune = ot.prune
nn = torch.nn

ALL = ot.Int8Dynamic(if_slower="quantize")


def test_nm_and_block_leave_what_torch_leaves() -> None:
    for apply, expected in (
        (partial(prune.nm, n=2, m=4), lambda w: pruning.nm(w, 2, 4)),
        (partial(prune.block, rows=1, cols=4), lambda w: pruning.block(w, 0.5, 1, 4)),
        (partial(prune.block, rows=4, cols=2, amount=0.7), lambda w: pruning.block(w, 0.7, 4, 2)),
    ):
        layer = nn.Linear(22, 9)
        weight = layer.weight.detach().numpy().copy()
        assert apply(layer, "weight") is layer
        assert set(layer.state_dict()) == {"weight_orig", "weight_mask", "bias"}
        np.testing.assert_array_equal(layer.weight_mask.numpy(), expected(weight))
        np.testing.assert_array_equal(layer.weight_orig.detach().numpy(), weight)
        assert prune.is_pruned(layer)
        layer(torch.randn(3, 22)).sum().backward()
        assert (layer.weight_orig.grad[layer.weight_mask == 0] == 0).all()
        prune.remove(layer, "weight")
        np.testing.assert_array_equal(layer.weight.detach().numpy(), weight * expected(weight))


def test_methods_come_on_top_of_each_other() -> None:
    layer = nn.Linear(32, 16)
    prune.l1_unstructured(layer, "weight", 0.25)
    first = layer.weight_mask.clone()
    prune.nm(layer, "weight", 2, 4)
    second = layer.weight_mask.clone()
    assert (second <= first).all()
    assert (second.reshape(-1, 4).sum(dim=1) <= 2).all()
    prune.block(layer, "weight", 1, 4, amount=0.5)
    third = layer.weight_mask
    assert (third <= second).all()
    gone = (third.reshape(-1, 4) == 0).all(dim=1).sum() - (second.reshape(-1, 4) == 0).all(1).sum()
    assert gone == round(0.5 * int((second.reshape(-1, 4) != 0).any(dim=1).sum()))
    prune.block(layer, "weight", 1, 4, amount=3)
    assert isinstance(
        next(iter(layer._forward_pre_hooks.values())), torch.nn.utils.prune.PruningContainer
    )


def test_convolutions_count_as_rows() -> None:
    layer = prune.nm(nn.Conv2d(4, 6, 3), "weight", 1, 4)
    np.testing.assert_array_equal(
        layer.weight_mask.reshape(6, -1).numpy(),
        pruning.nm(layer.weight_orig.detach().reshape(6, -1).numpy(), 1, 4),
    )


def test_bad_arguments() -> None:
    layer = nn.Linear(8, 8)
    before = set(layer.state_dict())
    for call, message in (
        (lambda: prune.nm(layer, "weight", 4, 4), "n: expected fewer than m = 4, got 4"),
        (lambda: prune.block(layer, "weight", 0, 4), "rows: expected a value"),
        (lambda: prune.block(layer, "weight", 1, 4, amount=1.5), "amount: expected a value"),
        (lambda: prune.block(layer, "weight", 1, 4, amount=99), "expected at most 16 blocks, got"),
        (lambda: ot.prune_(nn.ReLU()), "module: expected linear layers to prune, got none"),
        (lambda: ot.prune_(layer, "l3"), "method: expected one of l1_unstructured"),
        (lambda: ot.prune_(3), "module: expected a torch.nn.Module, got int"),
        (lambda: ot.prune_(layer, filter_fn=3), "filter_fn: expected a function"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
        assert set(layer.state_dict()) == before


def net() -> Any:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("l1_unstructured", {"amount": 0.5}),
        ("random_unstructured", {"amount": 0.5}),
        ("ln_structured", {"amount": 0.5, "n": 2, "dim": 0}),
        ("random_structured", {"amount": 0.5, "dim": 1}),
        ("nm", {"n": 2, "m": 4}),
        ("block", {"rows": 1, "cols": 4, "amount": 0.5}),
        (prune.nm, {"n": 1, "m": 2}),
    ],
)
def test_a_whole_model(method: Any, arguments: dict[str, Any]) -> None:
    model = net()
    assert ot.prune_(model, method, **arguments) == {"0": 0.5, "2": 0.5}
    only = net()
    found = ot.prune_(only, method, filter_fn=lambda _, name: name == "2", **arguments)
    assert found == {"2": 0.5}
    assert not prune.is_pruned(only[0])


def test_all_layers_against_each_other() -> None:
    model = net()
    with torch.no_grad():
        model[2].weight *= 100
    found = ot.prune_(model, "global_unstructured", amount=0.5)
    assert found["0"] > 0.98
    assert found["2"] < 0.02


def test_quantize_takes_pruned_layers_as_they_are() -> None:
    for method in ("l1_unstructured", "nm"):
        arguments = {"amount": 0.5} if method == "l1_unstructured" else {"n": 2, "m": 4}
        model = net()
        ot.prune_(model, method, **arguments)
        prune.random_unstructured(model[0], "bias", 0.5)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model(torch.randn(8, 64)).square().sum().backward()
        optimizer.step()  # now module.weight is stale, weight_orig is not
        permanent = net()
        for own, part in ((permanent[0], model[0]), (permanent[2], model[2])):
            own.weight.data = (part.weight_orig * part.weight_mask).detach()
            bias = part.bias_orig * part.bias_mask if hasattr(part, "bias_mask") else part.bias
            own.bias.data = bias.detach()
        ot.quantize_(permanent, ALL)
        masks = [part.weight_mask.bool() for part in (model[0], model[2])]
        summary = ot.quantize_(model, ALL)
        assert [layer.name for layer in summary.converted] == ["0", "2"]
        x = torch.randn(5, 64)
        assert torch.equal(model(x), permanent(x))
        for part, mask in zip((model[0], model[2]), masks, strict=True):
            assert isinstance(part, ot.Linear)
            assert not part._forward_pre_hooks
            assert {"weight_scale", "bias"} < set(part.state_dict())
            assert (part.weight[~mask] == 0).all()


def test_a_copy_is_quantized_after_training() -> None:
    model = nn.Sequential(nn.Linear(256, 256))
    ot.prune_(model, "nm", n=2, m=4)
    model(torch.randn(2, 256)).sum().backward()
    twin = ot.quantize_dynamic(model)
    assert isinstance(twin[0], ot.Linear)
    assert type(model[0]) is nn.Linear
    assert prune.is_pruned(model)
    model(torch.randn(2, 256)).sum().backward()
    assert (twin[0].weight[model[0].weight_mask == 0] == 0).all()


def test_from_float_sees_the_mask_and_the_latest_numbers() -> None:
    layer = prune.l1_unstructured(nn.Linear(64, 64), "weight", 0.5)
    with torch.no_grad():
        layer.weight_orig += 1
    made = ot.Linear.from_float(layer)
    assert (made.weight[layer.weight_mask == 0] == 0).all()
    error = (made.weight - layer.weight_orig * layer.weight_mask).abs().max()
    assert error <= layer.weight_orig.abs().max() / 254 + 1e-6
    assert prune.is_pruned(layer)


def test_what_cannot_be_quantized_stays_pruned() -> None:
    tied = nn.ModuleDict({"a": nn.Linear(64, 64), "b": nn.Linear(64, 64)})
    tied["b"].weight = tied["a"].weight
    prune.l1_unstructured(tied["a"], "weight", 0.5)
    summary = ot.quantize_(tied, ALL)
    assert not summary.converted
    assert all("a.weight_orig has a mask of its own" in layer.reason for layer in summary.kept)
    assert prune.is_pruned(tied["a"])
    bad = prune.nm(nn.Linear(64, 64), "weight", 2, 4)
    with torch.no_grad():
        bad.weight_orig[0, 0] = math.nan
    with pytest.raises(ValueError, match="weight_orig: expected finite values"):
        ot.quantize_(bad, ALL)
    assert prune.is_pruned(bad)
    bad(torch.zeros(1, 64))
    with pytest.raises(ValueError, match="weight: expected finite values"):
        prune.nm(bad, "weight", 1, 4)


def test_small_pruned_layers_stay_as_they_are() -> None:
    layer = prune.nm(nn.Linear(8, 8), "weight", 2, 4)
    assert "too small" in ot.quantize_(layer).kept[0].reason
    assert prune.is_pruned(layer)


def train(model: Any, schedule: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 64)).square().mean().backward()
        optimizer.step()
        found.append(schedule.step())
    return found


METHODS = [
    prune.l1_unstructured,
    prune.random_unstructured,
    partial(prune.ln_structured, n=2, dim=0),
    partial(prune.block, rows=1, cols=4),
    prune.L1Unstructured,
]


@pytest.mark.parametrize("method", METHODS)
def test_the_cubic_schedule(method: Any) -> None:
    model = net()
    schedule = prune.GradualPruning(model, method, 0.75, begin=2, end=10, every=2)
    masks = [model[0].weight_mask, model[2].weight_mask]
    found = []
    for _ in range(12):
        found += train(model, schedule, 1)
        latest = [model[0].weight_mask, model[2].weight_mask]
        assert all((new <= old).all() for new, old in zip(latest, masks, strict=True))
        masks = [mask.clone() for mask in latest]
    for step, share in enumerate(found, 1):
        pruned_at = min(10, step - step % 2)
        left = 1 - max(0, pruned_at - 2) / 8
        assert share == pytest.approx(0.75 * (1 - left**3), abs=0.01)
    assert found[0] == 0
    assert found[-1] == found[9] == 0.75


def test_the_schedule_of_a_pattern() -> None:
    layer = nn.Linear(64, 64)
    schedule = prune.GradualPruning(layer, partial(prune.nm, m=4), 0.5, end=6)
    kept = []
    for _ in range(6):
        schedule.step()
        kept.append(int(layer.weight_mask.reshape(-1, 4).sum(dim=1).max()))
    assert kept == sorted(kept, reverse=True)
    assert (kept[0], kept[-1]) == (4, 2)
    assert 3 in kept


def test_a_schedule_goes_on_where_it_was() -> None:
    def fresh() -> tuple[Any, Any]:
        torch.manual_seed(3)
        model = net()
        return model, prune.GradualPruning(model, prune.l1_unstructured, 0.8, end=8)

    model, schedule = fresh()
    torch.manual_seed(1)
    train(model, schedule, 4)
    saved = copy.deepcopy(model.state_dict()), schedule.state_dict()
    torch.manual_seed(2)
    expected = train(model, schedule, 4)
    again, other = fresh()
    again.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    torch.manual_seed(2)
    assert train(again, other, 4) == expected
    assert torch.equal(again[0].weight_mask, model[0].weight_mask)
    with pytest.raises(ValueError, match="state: expected the keys steps, initial"):
        other.load_state_dict({"steps": 3})


def test_schedules_that_make_no_sense() -> None:
    layer, l1 = nn.Linear(8, 8), prune.l1_unstructured
    for call, message in (
        (lambda: prune.GradualPruning(layer, "l1", 0.5, end=3), "method: expected a function"),
        (lambda: prune.GradualPruning(layer, l1, 1.0, end=3), "final: expected a value"),
        (lambda: prune.GradualPruning(layer, l1, 0.5, initial=0.6, end=3), "final: expected more"),
        (lambda: prune.GradualPruning(layer, l1, 0.5, begin=3, end=3), "end: expected a value"),
        (lambda: prune.GradualPruning(layer, l1, 0.5, end=3, every=0), "every: expected a value"),
        (lambda: prune.GradualPruning(nn.ReLU(), l1, 0.5, end=3), "parameters: expected something"),
        (lambda: prune.GradualPruning(3, l1, 0.5, end=3), "parameters: expected a model or a list"),
        (lambda: prune.GradualPruning([layer], l1, 0.5, end=3), "expected pairs"),
        (lambda: prune.GradualPruning([(layer, "w")], l1, 0.5, end=3), "name of a parameter, got"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
        assert not prune.is_pruned(layer)
