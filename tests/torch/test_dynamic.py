# SPDX-License-Identifier: Apache-2.0
"""octavo.torch.quantize_dynamic reads its arguments as the call that it stands in for."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
pytest.importorskip("torch.ao.quantization", reason="needs a PyTorch that still has torch.ao")
nn = torch.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]


def dynamic_model() -> torch.nn.Module:
    return nn.Sequential(nn.Linear(256, 256), nn.Sequential(nn.Linear(256, 256)), nn.LSTM(4, 4))


def test_quantize_dynamic_copies_unless_inplace() -> None:
    model = dynamic_model()
    made = ot.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert type(model[0]) is nn.Linear
    assert [type(part) for part in (made[0], made[1][0], made[2])] == [
        ot.Linear,
        ot.Linear,
        nn.LSTM,
    ]
    assert ot.quantize_dynamic(model, inplace=True) is model
    assert type(model[0]) is ot.Linear


@pytest.mark.parametrize(
    ("spec", "converted"),
    [
        ({"1"}, ["1.0"]),
        ({"1.0"}, ["1.0"]),
        ({nn.Linear: "default", "1": None}, ["0", "1.0"]),
        ({nn.Linear: "default", "1.0": None}, ["0"]),
        ({"": "default", "0": None}, ["1.0"]),
        (set(), []),
    ],
)
def test_quantize_dynamic_reads_the_spec(spec, converted) -> None:
    if isinstance(spec, dict):
        qconfig = torch.ao.quantization.default_dynamic_qconfig
        spec = {key: value and qconfig for key, value in spec.items()}
    made = ot.quantize_dynamic(dynamic_model(), spec)
    found = [name for name, part in made.named_modules() if isinstance(part, ot.Linear)]
    assert found == converted
    kinds = torch.ao.nn.quantized.dynamic.Linear
    theirs = torch.ao.quantization.quantize_dynamic(dynamic_model(), spec or {"2": None})
    assert [name for name, part in theirs.named_modules() if isinstance(part, kinds)] == converted


def test_quantize_dynamic_limits_by_mapping() -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.Embedding(9, 4))
    both = {nn.Linear, nn.Embedding}
    made = ot.quantize_dynamic(model, both, mapping={nn.Embedding: ot.Embedding})
    assert [type(part) for part in made] == [nn.Linear, ot.Embedding]


def test_quantize_dynamic_refuses() -> None:
    model = dynamic_model()
    half = torch.ao.quantization.float16_dynamic_qconfig
    with pytest.raises(ValueError, match=r"dtype: expected torch\.qint8, got torch\.float16"):
        ot.quantize_dynamic(model, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"qconfig_spec: expected torch\.nn\.Linear.*LSTM"):
        ot.quantize_dynamic(model, {nn.LSTM})
    with pytest.raises(ValueError, match="names of modules, got 'nowhere'"):
        ot.quantize_dynamic(model, {"nowhere"})
    with pytest.raises(ValueError, match=r"weights of torch\.qint8, got torch\.float16"):
        ot.quantize_dynamic(model, {nn.Linear: half})
    with pytest.raises(TypeError, match="qconfig_spec: expected a set or a dict, got list"):
        ot.quantize_dynamic(model, [nn.Linear])
    with pytest.raises(ValueError, match="mapping: expected"):
        ot.quantize_dynamic(model, mapping={nn.Linear: nn.Linear})
    with pytest.raises(TypeError, match="model: expected"):
        ot.quantize_dynamic(nn.Linear)
