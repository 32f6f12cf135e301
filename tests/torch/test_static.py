# SPDX-License-Identifier: Apache-2.0
"""octavo.torch's linear layer with a fixed input scale."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]


def layers(scale: float = 0.02, zero_point: int = -31):
    torch.manual_seed(5)
    weight, bias = torch.randn(40, 70).numpy(), torch.randn(40).numpy()
    options = {"input_scale": scale, "input_zero_point": zero_point}
    return octavo.Linear.from_float(weight, bias, **options), ot.Linear(
        octavo.Linear.from_float(weight, bias, **options)
    )


def test_equals_the_numpy_layer_by_every_way() -> None:
    plain, layer = layers()
    x = torch.randn(2, 9, 70)
    wanted = plain(x.numpy())
    np.testing.assert_array_equal(layer(x).numpy(), wanted)
    with_gradient = layer(x.clone().requires_grad_())
    np.testing.assert_array_equal(with_gradient.detach().numpy(), wanted)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    np.testing.assert_array_equal(compiled(x).numpy(), wanted)
    exported = torch.export.export(layer, (x,))
    np.testing.assert_array_equal(exported.module()(x).numpy(), wanted)
    copied = torch.ops.octavo.linear(
        x, [layer.packed.clone(), layer.weight_scale], layer.bias, layer._weight.text
    )
    np.testing.assert_array_equal(copied.numpy(), wanted)


def test_gradient_is_that_of_the_dequantized_weight() -> None:
    _, layer = layers()
    x = torch.randn(3, 70, requires_grad=True)
    y = layer(x)
    g = torch.randn_like(y)
    y.backward(g)
    torch.testing.assert_close(x.grad, g @ layer.weight)


def test_state_goes_round() -> None:
    _, layer = layers()
    _, other = layers(0.5, 4)
    x = torch.randn(5, 70)
    state = layer.state_dict()
    assert state["input_scale"].dtype == torch.float32
    assert state["input_zero_point"].dtype == torch.int8
    other.load_state_dict(state)
    assert torch.equal(other(x), layer(x))
    assert (other.input_scale, other.input_zero_point) == (layer.input_scale, -31)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), layer(x))
    assert "input_scale=0.02" in repr(layer)


def test_a_state_that_does_not_fit() -> None:
    _, layer = layers()
    state = layer.state_dict()
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
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    import model_files
    from octavo import nn

    options = {k: v for k, v in model_files.BERT.items() if k != "model_type"}
    model = transformers.BertModel(transformers.BertConfig(**options)).eval()
    ot.quantize_(model, ot.Int8Dynamic(if_slower="quantize"))
    for name, part in model.named_modules():
        if isinstance(part, ot.Linear):
            made = nn.Linear.from_quantized(
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
