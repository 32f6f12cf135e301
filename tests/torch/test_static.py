# SPDX-License-Identifier: Apache-2.0
"""octavo.torch's linear layer with a fixed input scale."""

from __future__ import annotations

import numpy as np
import pytest

import model_files
import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")


def test_a_state_that_does_not_fit() -> None:
    weight = np.eye(40, 70, dtype=np.float32)
    layer = ot.Linear(octavo.Linear.from_float(weight, input_scale=0.02, input_zero_point=-31))
    assert "input_scale=0.02" in repr(layer)
    state = layer.state_dict()
    assert state["input_scale"].dtype == torch.float32
    assert state["input_zero_point"].dtype == torch.int8
    with pytest.raises(RuntimeError, match="input_scale"):
        ot.Linear.from_float(torch.nn.Linear(70, 40)).load_state_dict(state)
    dynamic = ot.Linear.from_float(torch.nn.Linear(70, 40)).state_dict()
    with pytest.raises(RuntimeError, match=r"Missing.*input_scale"):
        layer.load_state_dict(dynamic)
    for key, value in {
        "input_scale": torch.ones(2),
        "input_zero_point": torch.ones(1),
    }.items():
        with pytest.raises(RuntimeError, match=key):
            layer.load_state_dict({**state, key: value})
    with pytest.raises(RuntimeError, match="input_scale"):
        layer.load_state_dict({**state, "input_scale": torch.tensor([-1.0])})


def test_an_encoder_keeps_it() -> None:
    model = model_files.in_transformers()
    ot.quantize_(model, ot.Int8Dynamic(if_slower="quantize"))
    for name, part in model.named_modules():
        if isinstance(part, ot.Linear):
            made = octavo.Linear.from_quantized(
                part._weight.codes().numpy(),
                part.weight_scale.numpy(),
                part.bias.numpy(),
                input_scale=0.05,
                input_zero_point=-3,
            )
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, ot.Linear(made))
    encoder = ot.to_encoder(model)
    ids, mask = model_files.batch()
    with torch.no_grad():
        wanted = model(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
    got = encoder(ids, mask)
    dense = encoder.encoder.layer[0].intermediate.dense
    assert float(dense.state_dict()["input_scale"][0]) == np.float32(0.05)
    assert np.abs(got - wanted)[mask == 1].max() < 0.1 * np.abs(wanted).max()
