# SPDX-License-Identifier: Apache-2.0
"""quantize_ to 4 bits: linear layers in groups, tables and what is tied to them int8."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
nn = torch.nn

pytestmark = [pytest.mark.filterwarnings("ignore:At pre-dispatch tracing, we will assume")]
IDS = torch.arange(12).reshape(2, 6)


class Small(nn.Module):
    """A language model with a head of its own, or tied to its table."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(50, 64)
        self.body = nn.Linear(64, 64)
        self.head = nn.Linear(64, 50, bias=tied)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids: Any) -> Any:
        return self.head(torch.relu(self.body(self.table(ids))))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("group", [32, 64])
def test_a_model(tied: bool, group: int) -> None:
    plain = Small(tied)
    model = copy.deepcopy(plain)
    summary = ot.quantize_(model, ot.Int4Dynamic(group=group, if_slower="quantize"))
    kinds = {layer.name: layer.weight for layer in summary.converted}
    assert kinds == {"table": "int8", "body": "int4", "head": "int8" if tied else "int4"}
    first = "1 layer is int4, 2 int8, " if tied else "2 layers are int4, 1 int8, "
    assert str(summary).startswith(first)
    assert summary.bytes_after == sum(
        part.nbytes for part in (model.table, model.body, *([] if tied else [model.head]))
    ) + tied * (4 * 50)
    own = octavo.nn.Linear.from_float(
        plain.body.weight.detach().numpy(), plain.body.bias.detach().numpy(), bits=4, group=group
    )
    x = torch.randn(3, 64)
    assert torch.equal(model.body(x), torch.from_numpy(own(x.numpy())))
    assert repr(model.body) == (
        f"Linear(in_features=64, out_features=64, bias=True, kind='int4', group={group})"
    )
    y = model(IDS)
    for call in (
        torch.compile(model, fullgraph=True, backend="aot_eager"),
        torch.export.export(model, (IDS,)).module(),
        copy.deepcopy(model),
    ):
        assert torch.equal(call(IDS), y)
    fresh = Small(tied)
    ot.quantize_(fresh, ot.Int4Dynamic(group=group, if_slower="quantize"))
    with torch.no_grad():
        model.body.weight_scale.mul_(0.5)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(IDS), model(IDS))
    assert not torch.equal(model(IDS), y)


def test_configs_and_layers_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 2), nn.Embedding(5, 4))
    summary = ot.quantize_(model, "int4_dynamic", lambda _, name: name != "2")
    assert [layer.weight for layer in summary.converted] == ["int4"]
    assert "too small" in {layer.name: layer.reason for layer in summary.kept}["1"]
    asked = []
    monkeypatch.setattr(ot._checks, "_speedup", lambda *given: asked.append(given) or 2.0)
    ot.quantize_(nn.Linear(64, 32), ot.Int4Dynamic(64, if_slower="measure", rows=(4,)))
    assert asked == [(32, 64, True, torch.float32, (4,), torch.get_num_threads(), 64)]
    monkeypatch.undo()
    assert ot._checks._speedup(32, 64, True, torch.float32, (4,), 1, 64) > 0
    for bad, error, match in (
        ({"group": 16}, ValueError, "group: expected 32, 64 or 128, got 16"),
        ({"group": "32"}, TypeError, "group: expected an integer"),
        ({"embeddings": 1}, TypeError, "embeddings: expected"),
        ({"rows": [1]}, TypeError, "rows: expected a tuple"),
    ):
        with pytest.raises(error, match=match):
            ot.Int4Dynamic(**bad)
    for given, error, match in (
        ({"bits": 3}, ValueError, "bits: expected those of int8, int4"),
        ({"bits": 4, "kind": "int4"}, TypeError, "bits: expected either kind or bits"),
        ({"bits": 4, "group": 16}, ValueError, "group: expected 32, 64 or 128"),
    ):
        with pytest.raises(error, match=match):
            ot.Linear.from_float(nn.Linear(64, 32), **given)
