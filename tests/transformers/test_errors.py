# SPDX-License-Identifier: Apache-2.0
"""What OctavoConfig refuses, and what it says then."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
st = pytest.importorskip("safetensors.torch", reason="needs safetensors")

import model_files  # noqa: E402
import octavo  # noqa: E402
from octavo.transformers import OctavoConfig  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


GROUP = model_files.W8A8["config_groups"]["group_0"]
OTHER_LAYERS = GROUP | {"targets": ["re:.*Norm", "Conv1d"]}


@pytest.fixture
def bert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return model_files.write_random(tmp_path / "bert")


@pytest.fixture
def int8(bert: Path) -> Path:
    """A checkpoint that is int8, with a description by octavo."""
    config = OctavoConfig(if_slower="quantize")
    folder = bert.parent / "int8"
    load(bert, quantization_config=config).save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return transformers.AutoModel.from_pretrained(folder, **options)


def set_quantization(folder: Path, value: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": value}))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"width": 4}, TypeError, "unknown option 'width'; there are symmetric, embeddings"),
        ({"bits": 3}, ValueError, "bits: expected 8 or 4, got 3"),
        ({"bits": "4"}, TypeError, "bits: expected an integer"),
        ({"bits": 4, "group": 16}, ValueError, "group: expected 32, 64 or 128, got 16"),
        ({"bits": 4, "symmetric": True}, ValueError, "symmetric: expected False with bits=4"),
        ({"bits": 4, "sparse": "never"}, ValueError, "sparse: expected 'auto' with bits=4"),
        ({"group": 32}, ValueError, "group: expected None with bits=8, got 32"),
        ({"quant_method": "gptq"}, ValueError, "quant_method: expected 'octavo', got 'gptq'"),
        ({"if_slower": "maybe"}, ValueError, "if_slower"),
        ({"symmetric": 1}, TypeError, "symmetric"),
        ({"rows": []}, TypeError, "rows"),
        ({"modules_to_not_convert": "head"}, TypeError, "expected a list of names, got 'head'"),
        ({"modules_to_not_convert": [3]}, TypeError, "expected names of modules, got 3"),
    ],
)
def test_wrong_options(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        OctavoConfig(**options)


def test_a_config_survives_json() -> None:
    config = OctavoConfig(rows=(1, 8), modules_to_not_convert=["head"])
    again = OctavoConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again.to_dict() == config.to_dict()
    assert "rows" in repr(config)


@pytest.mark.parametrize("place", ["cuda:0", {"": "meta"}, {"encoder": "cpu", "pooler": "disk"}])
def test_other_devices(place: Any) -> None:
    made = transformers.quantizers.AutoHfQuantizer.from_config(OctavoConfig())
    with pytest.raises(ValueError, match="device_map: expected 'cpu' or nothing, got"):
        made.validate_environment(device_map=place)
    for usable in (None, {"": "cpu"}, {"": torch.device("cpu")}):
        made.validate_environment(device_map=usable)


def test_auto_is_the_cpu_where_there_is_nothing_else(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate", reason="device_map needs it")
    known = getattr(torch, "accelerator", torch.cuda)
    for word in ("auto", "balanced"):
        monkeypatch.setattr(known, "is_available", lambda: False)
        options = {"quantization_config": OctavoConfig(if_slower="quantize")}
        model = load(bert, device_map=word, **options)
        assert not model.hf_quantizer.summary.kept
        monkeypatch.setattr(known, "is_available", lambda: True)
        with pytest.raises(
            ValueError, match=f"device_map: expected 'cpu' or nothing, got '{word}'"
        ):
            load(bert, device_map=word, **options)


def test_a_model_does_not_leave_the_cpu(bert: Path) -> None:
    model = load(bert, quantization_config=OctavoConfig(if_slower="quantize"))
    with pytest.raises(ValueError, match="int8 layers run on the CPU"):
        model.pooler.to("meta")


def test_unknown_modules(bert: Path) -> None:
    config = OctavoConfig(modules_to_not_convert=["pooler", "lm_head"])
    with pytest.raises(ValueError, match="no module of BertModel is called 'lm_head'"):
        load(bert, quantization_config=config)


def test_nothing_to_gain(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"no layer became int8 .*too small to gain"):
        load(bert, quantization_config=OctavoConfig(embeddings=False))


@pytest.mark.parametrize("method", ["hqq", "torchao", "fp8", "not-known-to-anyone"])
def test_checkpoints_of_other_methods(bert: Path, method: str) -> None:
    set_quantization(bert, {"quant_method": method, "bits": 4})
    with pytest.raises(ValueError, match=f"quantized with '{method}'; octavo reads compressed"):
        load(bert, quantization_config=OctavoConfig())


def test_schemes_that_are_not_read(bert: Path) -> None:
    """tests/compression/test_artifact.py has them all."""
    for field, value, message in (
        ("format", "packed", "format is 'packed'.*load the float checkpoint with"),
        ("sparsity_config", {"format": "sparse-bitmask"}, "format is 'sparse-bitmask'"),
        ("config_groups", {"group_0": OTHER_LAYERS}, "no layer of this model is among"),
    ):
        set_quantization(bert, model_files.W8A8 | {field: value})
        with pytest.raises(ValueError, match=message):
            load(bert, quantization_config=OctavoConfig())


def test_float_weights_that_claim_to_be_int8(bert: Path) -> None:
    path = bert / "model.safetensors"
    tensors = st.load_file(path)
    tensors |= {
        f"{name}_scale": torch.ones(len(value), 1)
        for name, value in tensors.items()
        if name.endswith(".weight") and value.ndim == 2 and "embeddings" not in name
    }
    st.save_file(tensors, path, {"format": "pt"})
    set_quantization(bert, model_files.W8A8)
    with pytest.raises(ValueError, match=r"weight' has type F32, expected I8"):
        load(bert, quantization_config=OctavoConfig())


@pytest.mark.parametrize("part", ["weight", "weight_scale", "bias"])
def test_missing_tensors(int8: Path, part: str) -> None:
    path, name = int8 / "model.safetensors", f"encoder.layer.1.output.dense.{part}"
    tensors = st.load_file(path)
    del tensors[name]
    st.save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ValueError, match=f"{name}: missing in the checkpoint"):
        load(int8)


def test_scales_that_are_no_scales(int8: Path) -> None:
    path, name = int8 / "model.safetensors", "encoder.layer.0.output.dense"
    tensors = st.load_file(path)
    tensors[f"{name}.weight_scale"][0] = float("nan")
    st.save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ValueError, match=f"{name}: .*scale"):
        load(int8)


def test_what_the_config_does_not_announce(bert: Path) -> None:
    path = bert.parent / "out"
    calibration = {"input_ids": [list(range(3, 20))]}
    octavo.compress(bert, {"quantize": {"outliers": 1.0}}, calibration=calibration).save(path)
    config = (path / "config.json").read_text()
    (path / "config.json").write_text(config.replace("octavo-outliers", "int-quantized"))
    with pytest.raises(ValueError, match=r"outlier_\w+' has no place in the model"):
        load(path, quantization_config=OctavoConfig())


def test_options_that_an_int8_checkpoint_decides(int8: Path) -> None:
    with pytest.warns(UserWarning, match="quantized already, symmetric not used"):
        load(int8, quantization_config=OctavoConfig(symmetric=True))


def test_other_configs_are_left_to_transformers(bert: Path) -> None:
    set_quantization(bert, {"quant_method": "fp8"})
    merge = transformers.quantizers.AutoHfQuantizer.merge_quantization_configs
    stored = {"quant_method": "fp8"}
    assert type(merge(stored, None)).__name__ == "FineGrainedFP8Config"
    assert stored == {"quant_method": "fp8"}


@pytest.mark.parametrize(
    ("missing", "extra"), [("torch", "octavo[torch]"), ("transformers", "octavo[transformers]")]
)
def test_a_missing_package_names_the_extra(missing: str, extra: str) -> None:
    code = (
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import octavo.transformers\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert f"ImportError: octavo.{missing} needs" in run.stderr
    assert extra in run.stderr
