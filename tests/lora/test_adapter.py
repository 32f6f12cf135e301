# SPDX-License-Identifier: Apache-2.0
"""Adapter folders: what peft's files mean, read and written without peft; bad files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy as st

from octavo.lora import Adapter, LowRank

if TYPE_CHECKING:
    from pathlib import Path

QUERY = "bert.encoder.layer.0.attention.self.query"
VALUE = "bert.encoder.layer.0.attention.self.value"
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 16,
    "target_modules": ["query", "value"],
    "modules_to_save": ["classifier"],
    "bias": "none",
    "init_lora_weights": True,
}


def tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    made = {}
    for name in (QUERY, VALUE):
        made[f"base_model.model.{name}.lora_A.weight"] = floats(4, 32)
        made[f"base_model.model.{name}.lora_B.weight"] = floats(32, 4)
    made["base_model.model.classifier.weight"] = floats(3, 32)
    made["base_model.model.classifier.bias"] = floats(3)
    return made


def write(folder: Path, config: dict[str, Any], arrays: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    st.save_file(arrays, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return tensors(rng)


@pytest.fixture
def folder(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    return write(tmp_path / "adapter", CONFIG, arrays)


def test_reads_what_the_files_hold(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    adapter = Adapter.load(folder)
    assert set(adapter.layers) == {QUERY, VALUE}
    side = adapter.layers[QUERY]
    assert (side.rank, side.scale, side.shape, side.bias) == (4, 4.0, (32, 32), None)
    np.testing.assert_array_equal(side.a, arrays[f"base_model.model.{QUERY}.lora_A.weight"])
    np.testing.assert_allclose(side.delta(), side.b @ side.a * 4.0)
    head = adapter.modules["classifier"]
    np.testing.assert_array_equal(head["weight"], arrays["base_model.model.classifier.weight"])
    assert adapter.nbytes == sum(value.nbytes for value in arrays.values())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(tmp_path: Path, folder: Path, dtype: str) -> None:
    adapter = Adapter.load(folder)
    adapter.save(tmp_path / "copy", dtype)
    again = Adapter.load(tmp_path / "copy")
    assert again.config == adapter.config
    for name, side in adapter.layers.items():
        for mine, other in ((side.a, again.layers[name].a), (side.b, again.layers[name].b)):
            np.testing.assert_array_equal(other, mine.astype(dtype).astype(np.float32))
    adapter.save(tmp_path / "copy", dtype)  # an adapter is replaced
    (tmp_path / "copy" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds more than an adapter"):
        adapter.save(tmp_path / "copy")
    with pytest.raises(ValueError, match=r"dtype: expected .*got 'int8'"):
        adapter.save(tmp_path / "other", "int8")
    assert not (tmp_path / "other").exists()


def test_float16_that_overflows(tmp_path: Path) -> None:
    side = LowRank(np.full((4, 8), 1e6, np.float32), np.ones((8, 4), np.float32), 4.0)
    with pytest.raises(ValueError, match="dtype: expected values within float16"):
        Adapter(CONFIG, {QUERY: side}).save(tmp_path / "big", "float16")
    assert not (tmp_path / "big").exists()


def test_patterns_and_rslora(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    key = f"base_model.model.{VALUE}.lora"
    arrays[f"{key}_A.weight"] = arrays[f"{key}_A.weight"][:2].copy()
    arrays[f"{key}_B.weight"] = arrays[f"{key}_B.weight"][:, :2].copy()
    config = {
        **CONFIG,
        "use_rslora": True,
        "rank_pattern": {"self.value": 2},
        "alpha_pattern": {r".*layer\.0.*query": 6},
    }
    adapter = Adapter.load(write(tmp_path / "patterns", config, arrays))
    assert adapter.layers[QUERY].scale == pytest.approx(6 / 2)
    assert adapter.layers[VALUE].scale == pytest.approx(16 / np.sqrt(2))


def test_bfloat16_is_read(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch to write bfloat16")
    from safetensors.torch import save_file

    folder = write(tmp_path / "bf16", CONFIG, arrays)
    cast = {key: torch.from_numpy(value).bfloat16() for key, value in arrays.items()}
    save_file(cast, folder / "adapter_model.safetensors")
    a = Adapter.load(folder).layers[QUERY].a
    wanted = cast[f"base_model.model.{QUERY}.lora_A.weight"].float().numpy()
    np.testing.assert_array_equal(a, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, r"peft_type: expected 'LORA', got 'IA3'"),
        ({"peft_type": None}, r"peft_type: expected 'LORA', got None"),
        ({"use_dora": True}, r"use_dora: expected plain LoRA, got DoRA"),
        ({"bias": "all"}, r"bias: expected 'none', got 'all'"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights: .* got 'pissa'"),
        ({"r": 0}, r"r: expected a positive number, got 0"),
        ({"r": "8"}, r"r: expected a positive number, got '8'"),
        ({"lora_alpha": None}, r"lora_alpha: expected a positive number, got None"),
        ({"r": 8}, r"query\.lora_A\.weight': expected \(8, K\), got \(4, 32\)"),
        ({"rank_pattern": {"value": 3}}, r"value\.lora_A\.weight': expected \(3, K\)"),
        ({"rank_pattern": {"(": 3}}, r"rank_pattern: pattern '\(', character 1: '\('"),
        ({"lora_alpha": 1e308}, r"lora_alpha: expected a scale that float32 holds, got 2.5e.307"),
        ({"lora_alpha": 10**400}, r"lora_alpha: expected a positive number, got 1000"),
        ({"lora_alpha": 1e-300}, r"lora_alpha: expected a scale that float32 holds, got "),
        ({"lora_alpha": 1e39}, r"lora_alpha: the scale .* makes .* infinite"),
        ({"modules_to_save": [["a"]]}, r"modules_to_save: expected a list of names, got"),
        ({"rank_pattern": [3]}, r"rank_pattern: expected an object, got list"),
        ({"modules_to_save": None}, r"'classifier\.\w+': expected lora_A, lora_B or one of"),
        ({"layer_replication": [[0, 2]]}, r"layer_replication: expected plain LoRA"),
    ],
)
def test_configs_that_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], change: dict[str, Any], message: str
) -> None:
    folder = write(tmp_path / "bad", {**CONFIG, **change}, arrays)
    with pytest.raises(ValueError, match=message) as caught:
        Adapter.load(folder)
    assert str(caught.value).startswith(str(folder))


def test_files_that_are_missing(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Adapter.load(tmp_path / "nowhere")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=r"no adapter_model\.safetensors \(found .*\.bin"):
        Adapter.load(folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no adapter_config\.json"):
        Adapter.load(folder)


def test_every_truncation_is_noticed(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    whole = path.read_bytes()
    for size in [*range(40), *range(40, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a valid safetensors file"):
            Adapter.load(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(
    tmp_path: Path, arrays: dict[str, np.ndarray], value: float
) -> None:
    arrays[f"base_model.model.{VALUE}.lora_B.weight"][3, 1] = value
    with pytest.raises(ValueError, match=r"value\.lora_B\.weight': expected finite values"):
        Adapter.load(write(tmp_path / "bad", CONFIG, arrays))


def test_tensors_that_do_not_belong(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    def refused(name: str, message: str, **changes: Any) -> None:
        changed = {**arrays, **changes}
        changed = {key: value for key, value in changed.items() if value is not None}
        with pytest.raises(ValueError, match=message):
            Adapter.load(write(tmp_path / name, CONFIG, changed))

    a = f"base_model.model.{QUERY}.lora_A.weight"
    b = f"base_model.model.{QUERY}.lora_B.weight"
    refused("half", r"missing tensor '.*query\.lora_B\.weight'", **{b: None})
    refused("integers", "expected floats, got I8", **{a: np.ones((4, 32), np.int8)})
    refused("flat", r"expected \(4, K\), got \(128,\)", **{a: arrays[a].reshape(-1)})
    refused("wide", r"expected \(N, 4\), got \(32, 5\)", **{b: np.ones((32, 5), np.float32)})
    refused("foreign", "expected a name that begins with", other=np.ones(3, np.float32))
    head = {key: value for key, value in arrays.items() if "classifier" in key}
    alone = write(tmp_path / "head", CONFIG, head)
    with pytest.raises(ValueError, match="expected tensors of lora_A and lora_B, got none"):
        Adapter.load(alone)
