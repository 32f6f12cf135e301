# SPDX-License-Identifier: Apache-2.0
"""Recipes that share weights, and compressed artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from encoders import cosines, token_rows
from octavo import nn
from octavo.io.side_files import weight_bytes
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

pytest.importorskip("zstandard")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_files.write_random(tmp_path / "float")


def layers_of(model: Encoder) -> dict[str, Any]:
    wanted = (nn.Linear, nn.Embedding)
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, wanted)}


SHARE: dict[str, Any] = {"share": {"clusters": 8, "embedding_clusters": 16}}
DEEP: dict[str, Any] = {**SHARE, "prune": {"sparsity": 0.6}, "store": "zstd"}


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_layers_have_few_codes(tmp_path: Path, family: str) -> None:
    folder = model_files.write_random(tmp_path, family)
    made = octavo.compress(folder, SHARE)
    for name, layer in layers_of(made).items():
        most = 16 if isinstance(layer, nn.Embedding) else 8
        assert len(np.unique(layer.weight_codes)) <= most, name
    assert cosines(octavo.models.load(folder), made).min() > 0.8


def test_pruned_weights_stay_zero(folder: Path) -> None:
    made = octavo.compress(folder, DEEP)
    pruned = octavo.compress(folder, {"prune": {"sparsity": 0.6}, "quantize": "none"})
    for name, layer in layers_of(made).items():
        if nn.is_linear(layer, "int8"):
            assert isinstance(layer, nn.SparseLinear)
            weight: Any = pruned.get_submodule(name)
            assert not layer.weight_codes[weight.weight == 0].any()
            assert 0.59 < np.mean(layer.weight_codes == 0) < 0.8


def test_shared_and_compressed_files_are_smaller(tmp_path: Path, folder: Path) -> None:
    sizes = {}
    for name, recipe in (("int8", {}), ("share", SHARE), ("deep", DEEP)):
        octavo.compress(folder, recipe).save(tmp_path / name)
        found = octavo.io.Checkpoint(tmp_path / name)
        linear = "encoder.layer.0.intermediate.dense.weight"
        assert found.is_shared(linear) == (name != "int8")
        sizes[name] = weight_bytes(tmp_path / name)
    assert sizes["int8"] > sizes["share"] > sizes["deep"]


def test_excluded_layers_keep_their_codes(folder: Path) -> None:
    exclude = ["pooler.dense", "*.query"]
    made = octavo.compress(folder, {"share": {**SHARE["share"], "exclude": exclude}})
    plain = octavo.compress(folder)
    for name in ("pooler.dense", "encoder.layer.1.attention.self.query"):
        ours: Any = made.get_submodule(name)
        theirs: Any = plain.get_submodule(name)
        assert_same_bits(ours.weight_codes, theirs.weight_codes)
    with pytest.raises(ValueError, match=r"share\.exclude: expected names of .*, got 'nothing'"):
        octavo.compress(folder, {"share": {"exclude": ["nothing"]}})


@pytest.mark.parametrize("prune", [None, {"sparsity": 0.5, "method": "sparsegpt"}])
def test_gptq_rounds_to_the_codebook(folder: Path, prune: dict[str, Any] | None) -> None:
    ids = token_rows(rows=64)
    recipe = {**SHARE, "prune": prune, "quantize": {"rounding": "gptq"}}
    made = octavo.compress(folder, recipe, calibration=ids)
    for name, layer in layers_of(made).items():
        most = 16 if isinstance(layer, nn.Embedding) else 8
        assert len(np.unique(layer.weight_codes)) <= most, name
        if prune is not None and nn.is_linear(layer, "int8") and name.startswith("encoder"):
            assert np.mean(layer.weight_codes == 0) > 0.45, name
    nearest = octavo.compress(folder, SHARE) if prune is None else None
    if nearest is not None:
        model = octavo.models.load(folder)
        errors = [np.square(one(ids) - model(ids)).mean() for one in (made, nearest)]
        assert errors[0] < errors[1]
