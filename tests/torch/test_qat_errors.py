# SPDX-License-Identifier: Apache-2.0
"""Training for int8: what stays float, and input that does not fit."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")


def test_what_stays_float_and_why() -> None:
    model = torch.nn.ModuleDict(
        {
            "body": torch.nn.Linear(256, 256),
            "small": torch.nn.Linear(4, 4),
            "left": torch.nn.Linear(256, 256),
            "one": torch.nn.Linear(256, 256),
            "two": torch.nn.Linear(256, 256),
            "int8": ot.Linear.from_float(torch.nn.Linear(256, 256)),
            "table": torch.nn.Embedding(20, 256),
        }
    )
    model["two"].weight = model["one"].weight
    summary = ot.prepare_qat_(model, None, lambda _, name: name != "left")
    assert [layer.name for layer in summary.converted] == ["body"]
    reasons = {layer.name: layer.reason for layer in summary.kept}
    assert reasons.keys() == {"small", "left", "one", "two", "table"}
    assert "tied layers train in float" in reasons["one"]
    assert "trains for int8" in str(summary)
    assert "convert_qat_" in next(
        one.reason for one in ot.quantize_(model).kept if one.name == "body"
    )
    done = ot.convert_qat_(model)
    assert [layer.name for layer in done.converted] == ["body"]
    assert [(layer.name, layer.reason) for layer in done.kept] == [
        ("small", "it did not train for int8")
    ]


class OwnLinear(torch.nn.Linear):
    def forward(self, x: Any) -> Any:
        return super().forward(x) + 1


def test_nothing_to_prepare_or_to_convert() -> None:
    with pytest.raises(ValueError, match=r"got none \(fc: OwnLinear computes"):
        ot.prepare_qat_(torch.nn.ModuleDict({"fc": OwnLinear(256, 256)}))
    with pytest.raises(ValueError, match="got none"):
        ot.prepare_qat_(torch.nn.ReLU())
    model = torch.nn.Sequential(torch.nn.Linear(256, 256))
    with pytest.raises(ValueError, match="that prepare_qat_ made, got none"):
        ot.convert_qat_(model)
    ot.prepare_qat_(model)
    with pytest.raises(ValueError, match=r"got none \(0: it trains for int8"):
        ot.prepare_qat_(model)
    ot.convert_qat_(model)
    with pytest.raises(ValueError, match="that prepare_qat_ made, got none"):
        ot.convert_qat_(model)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Linear(256, 256))
    with torch.no_grad():
        model[1].weight[3, 5] = value
    with pytest.raises(ValueError, match=r"1\.weight: expected finite"):
        ot.prepare_qat_(model)
    assert type(model[0]) is torch.nn.Linear
    with torch.no_grad():
        model[1].weight[3, 5] = 0
    ot.prepare_qat_(model)
    with torch.no_grad():
        model[1].weight_log_scale[0] = value
    with pytest.raises(ValueError, match="1: expected finite weights and scales"):
        ot.convert_qat_(model)
    assert type(model[0]) is ot.QatLinear


def test_static_layers_that_saw_no_data() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(256, 256))
    ot.prepare_qat_(model, ot.Int8Training(activations="static"))
    with pytest.raises(ValueError, match="0: no data ever reached"):
        ot.convert_qat_(model)
    with pytest.raises(ValueError, match="in training mode first"):
        model.eval()(torch.ones(1, 256))
    with pytest.raises(ValueError, match="expected finite values"):
        model.train()(torch.full((1, 256), math.nan))


def test_arguments() -> None:
    layer = torch.nn.Linear(256, 256)
    with pytest.raises(TypeError, match="config: expected an Int8Training"):
        ot.prepare_qat_(layer, ot.Int8Dynamic())
    with pytest.raises(TypeError, match="module: expected"):
        ot.prepare_qat_(3)
    with pytest.raises(TypeError, match="module: expected"):
        ot.convert_qat_(None)
    with pytest.raises(TypeError, match="filter_fn"):
        ot.prepare_qat_(layer, None, "fc")
    with pytest.raises(TypeError, match="config: expected an instance"):
        ot.quantize_(layer, ot.Int8Training())
    for wrong in ({"bits": 9}, {"bits": 1}, {"warmup": 0}, {"activations": "none"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ot.Int8Training(**wrong)
