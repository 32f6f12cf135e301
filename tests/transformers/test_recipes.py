# SPDX-License-Identifier: Apache-2.0
"""from_pretrained of what each recipe writes: the layers of octavo.models.load, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
pytest.importorskip("safetensors.torch", reason="needs safetensors")

import model_files  # noqa: E402
import octavo  # noqa: E402
import octavo.torch as ot  # noqa: E402
from octavo.compression import PRESETS, read_recipe  # noqa: E402
from octavo.transformers import OctavoConfig, compressed  # noqa: E402
from reference import assert_same_bits  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

RECIPES: dict[str, Any] = {
    **{name: name for name in PRESETS},
    **{name: name for name in ("sparse50-int8", "2:4-int8", "sparse50", "2:4")},
    "int4": {"quantize": {"dtype": "int4", "group": 64}},
    "4 bits": {"quantize": {"bits": 4, "rounding": "gptq"}},
    "4 bits, zstd": {"quantize": {"bits": 4}, "store": "zstd"},
    "symmetric": {"quantize": {"symmetric": True}},
    "static symmetric": {"quantize": {"activations": "static", "symmetric": True}},
    "outliers": {"quantize": {"outliers": 2.5}},
    "sparse outliers": {"prune": {"sparsity": 0.5}, "quantize": {"outliers": 2.5}},
    "smooth outliers": {"quantize": {"outliers": 2.5, "smooth": "auto"}},
    "half rest": {"quantize": {"exclude": ["*.query"], "keep": "float16"}},
    "shared": {"share": {"clusters": 16}},
    "sparse shared": {"prune": {"sparsity": 0.5}, "share": {"clusters": 16}},
    "fp16, zstd": {"quantize": "float16", "store": "zstd"},
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def quantizes(recipe: Any) -> bool:
    return read_recipe(recipe).quantize.dtype in ("int8", "int4")


def load(folder: Path, recipe: Any) -> Any:
    """The model, with OctavoConfig if the recipe quantizes: it would quantize what does not."""
    options = {"quantization_config": OctavoConfig()} if quantizes(recipe) else {}
    auto = transformers.AutoModelForSequenceClassification
    return auto.from_pretrained(folder, dtype=torch.float32, **options)


def assert_same_layers(own: Any, ours: Any) -> int:
    """Compare all quantized layers; returns how many there are."""
    parts = {name.removeprefix("bert."): part for name, part in ours.named_modules()}
    count = 0
    rng = np.random.default_rng(3)
    for name, layer in own.named_modules():
        if layer.kind not in ("int8", "int4"):
            continue
        part = parts[name]
        assert isinstance(part, ot.Linear if layer.role == "linear" else ot.Embedding), name
        count += 1
        is_table = layer.role == "embedding"
        held = part._held() if is_table else part._weight.layer.held_weight
        for key, wanted in layer.held_weight.tensors().items():
            assert_same_bits(held.tensors()[key], wanted)
        if is_table:
            continue
        made = part._weight.layer
        assert made.state_beside_weight().keys() == layer.state_beside_weight().keys()
        assert (made.side_path is None) == (layer.side_path is None)
        x = rng.standard_normal((5, layer.in_features)).astype(np.float32)
        plain = layer.replace(activation="none")
        assert_same_bits(part(torch.from_numpy(x)).numpy(), plain(x))
    return count


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_read(tmp_path: Path, name: str) -> None:
    recipe = RECIPES[name]
    if read_recipe(recipe).store == "zstd":
        pytest.importorskip("zstandard", reason="needs zstandard")
    ids, mask = model_files.batch()
    folder, out = model_files.write_classifier(tmp_path / "bert"), tmp_path / "out"
    given = {"input_ids": ids, "attention_mask": mask}
    calibration = given if read_recipe(recipe).resolved(True).needs_data else None
    octavo.compress(folder, recipe, calibration=calibration).save(out)
    own = octavo.models.load(out)
    before = len(compressed._UNPACKED)
    ours = load(out, recipe)
    coarse = quantizes(recipe)
    assert bool(assert_same_layers(own, ours)) == coarse
    with torch.inference_mode():
        logits = ours(torch.tensor(ids), torch.tensor(mask)).logits.numpy()
    wanted = own.logits(ids, mask)
    # The float parts round otherwise, which may move a value to the next code.
    assert np.abs(logits - wanted).max() < (0.05 if coarse else 1e-4) * np.abs(wanted).max()
    if coarse:
        assert len(compressed._UNPACKED) == before
        ours.save_pretrained(tmp_path / "again")
        again = load(tmp_path / "again", recipe)
        assert_same_layers(own, again)
        with torch.inference_mode():
            assert torch.equal(
                again(torch.tensor(ids), torch.tensor(mask)).logits, torch.from_numpy(logits)
            )
