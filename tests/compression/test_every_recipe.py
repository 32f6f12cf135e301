# SPDX-License-Identifier: Apache-2.0
"""What holds whatever the recipe: artifacts come back, sources stay, what is bad is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from encoders import assert_same_encoder, assert_same_files, linears, token_rows
from octavo.io.folder import check_replaceable
from octavo.io.side_files import weight_bytes

if TYPE_CHECKING:
    from pathlib import Path

SHARE = {"clusters": 8, "embedding_clusters": 16}
STATIC = {"activations": "static"}

# Recipe, whether it needs data, and the format that config.json tells.
RECIPES: dict[str, tuple[Any, bool, str | None]] = {
    "int8": ("int8", False, "int-quantized"),
    "fp16": ("fp16", False, None),
    "bf16": ("bf16", False, None),
    "int4": ("int4", False, "mixed-precision"),
    "int4 all over": (
        {"quantize": {"dtype": "int4", "embedding_bits": 4}},
        False,
        "pack-quantized",
    ),
    "int4 weighted": (
        {"quantize": {"dtype": "int4", "rounding": "weighted"}},
        True,
        "mixed-precision",
    ),
    "int4 gptq": ("int4-gptq", True, "mixed-precision"),
    "int4 smooth": ("int4-smooth", True, "octavo-multiplier"),
    "int4 sparse": (
        {"prune": {"sparsity": 0.5}, "quantize": {"dtype": "int4", "rounding": "gptq"}},
        True,
        "mixed-precision",
    ),
    "int5": ({"quantize": "int5"}, False, "octavo-groups"),
    "symmetric": ({"quantize": {"symmetric": True}}, False, "int-quantized"),
    "4 bits": ({"quantize": {"bits": 4}, "store": "zstd"}, False, "int-quantized"),
    "equalized": ({"quantize": {"equalize": True}}, False, "int-quantized"),
    "kept": ({"quantize": {"exclude": ["*.0.*"], "keep": "float16"}}, False, "int-quantized"),
    "sparse float": ("sparse50", False, None),
    "global": ({"prune": {"sparsity": 0.6, "scope": "global"}}, False, "octavo-bitmap"),
    "2:4": ("2:4-int8", True, "octavo-bitmap"),
    "wanda": ({"prune": {"method": "wanda", "sparsity": 0.5}}, True, "octavo-bitmap"),
    "static": ({"quantize": {**STATIC, "dynamic": ["*.0.*"]}}, True, "int-quantized"),
    "static symmetric": ({"quantize": {**STATIC, "symmetric": True}}, True, "int-quantized"),
    "gptq": ("int8-gptq", True, "int-quantized"),
    "smooth": ({"quantize": {"smooth": 0.5}}, True, "octavo-multiplier"),
    "outliers": ({"quantize": {"outliers": 2.0}}, True, "octavo-outliers"),
    "smooth static outliers": (
        {"quantize": {"outliers": 2.0, "smooth": 0.3, **STATIC}},
        True,
        "octavo-multiplier-outliers",
    ),
    "smooth sparse": (
        {"prune": {"sparsity": 0.8, "method": "magnitude"}, "quantize": {"smooth": 0.5}},
        True,
        "octavo-bitmap-multiplier",
    ),
    "share": ({"share": SHARE}, False, "octavo-codebook"),
    "share sparse": ({"share": SHARE, "prune": {"sparsity": 0.6}}, False, "octavo-codebook"),
    "deep": ("deep-compression", True, "octavo-bitmap"),
    "zstd": ({"store": "zstd"}, False, "int-quantized"),
}
every = pytest.mark.parametrize("name", RECIPES)
needing_data = pytest.mark.parametrize(
    "name", [name for name, row in RECIPES.items() if row[1] and name != "deep"]
)


def made(name: str, model: Any, **options: Any) -> Any:
    recipe, needs_data, _ = RECIPES[name]
    if "deep" in name or "zstd" in str(recipe):
        pytest.importorskip("zstandard")
    data = token_rows() if needs_data else None
    return octavo.compress(model, **{"recipe": recipe, "calibration": data, **options})


@every
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_what_is_saved_is_loaded(tmp_path: Path, family: str, name: str) -> None:
    small = made(name, model_files.write_random(tmp_path / "float", family))
    small.save(tmp_path / "out")
    again = octavo.models.load(tmp_path / "out")
    assert_same_encoder(small, again)
    assert (again.recipe, again.nbytes) == (small.recipe, small.nbytes)
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["octavo"] == {"version": octavo.__version__, "recipe": small.recipe}
    assert config.get("quantization_config", {}).get("format") == RECIPES[name][2]
    weights = "model.safetensors.zst" if "zstd" in str(small.recipe) else "model.safetensors"
    assert weight_bytes(tmp_path / "out") == (tmp_path / "out" / weights).stat().st_size
    check_replaceable(tmp_path / "out")
    again.save(tmp_path / "again")
    assert_same_files(tmp_path / "again", tmp_path / "out")


@every
def test_folders_and_models_give_the_same(tmp_path: Path, name: str) -> None:
    folder = model_files.write_random(tmp_path / "float")
    model = octavo.models.load(folder)
    names: list[str] = []
    shares: list[float] = []
    small = made(
        name, model, on_layer=names.append, on_progress=lambda _, share: shares.append(share)
    )
    written = {key: value for key, value in small.recipe.items() if key != "calibration_tokens"}
    assert_same_encoder(small, made(name, str(folder), recipe=written))
    assert_same_encoder(model, octavo.models.load(folder))
    assert type(small) is type(model)
    assert model.recipe is None
    assert sorted(names) == sorted(
        path for path, m in small.named_modules() if not any(True for _ in m.named_children())
    )
    assert bool(shares) is RECIPES[name][1]
    assert all(0 <= share < 1 for share in shares)


@every
def test_int8_layers_are_kept(tmp_path: Path, name: str) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path))
    old = model.encoder.layer[1].output.dense
    chosen = octavo.Linear.from_float(old.weight, old.bias, symmetric=True)
    model.encoder.layer[1].output.dense = chosen
    assert made(name, model).encoder.layer[1].output.dense is chosen


@every
def test_weights_that_are_not_finite_are_named(tmp_path: Path, name: str) -> None:
    tensors = model_files.random_tensors(model_files.BERT)
    tensors["encoder.layer.1.attention.self.value.weight"].flat[3] = np.nan
    folder = model_files.write_folder(tmp_path, model_files.BERT, tensors)
    # Observers of inputs see what the layer gives to those behind it.
    with pytest.raises(ValueError, match=r"layer.*'encoder\.layer\.1\..*: expected finite"):
        made(name, folder)


@needing_data
def test_data_is_asked_for(tmp_path: Path, name: str) -> None:
    if name == "2:4":
        pytest.skip("goes by magnitude without data")
    with pytest.raises(ValueError, match=r"calibration: expected data, .* needs it.*; got none"):
        made(name, model_files.write_random(tmp_path), calibration=None)


@needing_data
def test_padding_does_not_count(tmp_path: Path, name: str) -> None:
    """What stands for it changes nothing; that it is there changes what floats round to."""
    folder = model_files.write_random(tmp_path / "float")
    ids, mask = model_files.batch(lengths=(3, 24, 11, 17, 5, 20, 8, 2) * 4)
    rows = [row[None, :length] for row, length in zip(ids, mask.sum(axis=1), strict=True)]
    bare = made(name, folder, calibration=rows)
    padded, changed = (
        made(name, folder, calibration={"input_ids": one, "attention_mask": mask})
        for one in (ids, np.where(mask == 1, ids, 99))
    )
    assert_same_encoder(padded, changed)
    assert padded.recipe == bare.recipe
    assert padded.recipe["calibration_tokens"] == mask.sum()
    for path, layer in linears(padded).items():
        other = linears(bare)[path]
        for key, value in layer.state_dict().items():
            if "scale" in key or "multiplier" in key:
                np.testing.assert_allclose(other.state_dict()[key], value, rtol=1e-4)
        changes = (np.abs(layer.weight - other.weight) > 1e-4 * np.abs(layer.weight).max()).mean()
        assert changes < 0.02, path
