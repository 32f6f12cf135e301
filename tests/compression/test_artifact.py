# SPDX-License-Identifier: Apache-2.0
"""The artifact on disk: the same bits back, the same bytes always, and others' int8 files."""

from __future__ import annotations

import copy
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

import model_files
import octavo
from encoders import assert_same_encoder, assert_same_files, cosines

if TYPE_CHECKING:
    from pathlib import Path


def quantization(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config["quantization_config"]


def test_bytes_are_the_same_on_every_tier(tmp_path: Path, isa: str) -> None:
    folder = model_files.write_random(tmp_path / "float")
    octavo.compress(folder).save(tmp_path / isa)
    with octavo._backend.use("numpy"):
        octavo.compress(octavo.models.load(folder)).save(tmp_path / "reference")
    assert_same_files(tmp_path / isa, tmp_path / "reference")


def test_follows_the_convention(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path / "float")
    octavo.compress(folder).save(tmp_path / "int8")
    described = quantization(tmp_path / "int8")
    assert described["quant_method"] == "compressed-tensors"
    assert described["format"] == "int-quantized"
    groups = {group["targets"][0]: group for group in described["config_groups"].values()}
    weights = groups["Linear"]["weights"]
    assert (weights["num_bits"], weights["type"], weights["strategy"]) == (8, "int", "channel")
    assert weights["symmetric"] is True
    inputs = groups["Linear"]["input_activations"]
    assert (inputs["dynamic"], inputs["strategy"], inputs["symmetric"]) == (True, "token", False)
    assert groups["Embedding"]["input_activations"] is None
    tensors = safetensors.numpy.load_file(tmp_path / "int8" / "model.safetensors")
    floats = safetensors.numpy.load_file(folder / "model.safetensors")
    for name, value in floats.items():
        stored = tensors[name]
        assert stored.shape == value.shape
        if value.ndim == 2:
            scale = tensors[f"{name}_scale"]
            assert stored.dtype == np.int8
            assert (scale.dtype, scale.shape) == (np.float32, (len(value), 1))
            assert np.abs(stored * scale - value).max() <= 0.5001 * scale.max()
        else:
            np.testing.assert_array_equal(stored, value)


def test_float_and_mixed_models(tmp_path: Path) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path / "float", prefix="bert."))
    model.save(tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config
    assert_same_encoder(model, octavo.models.load(tmp_path / "copy"))
    old = model.encoder.layer[1].output.dense
    model.encoder.layer[1].output.dense = octavo.Linear.from_float(old.weight, old.bias)
    model.save(tmp_path / "mixed")
    ignored = quantization(tmp_path / "mixed")["ignore"]
    assert "encoder.layer.0.output.dense" in ignored
    assert "encoder.layer.1.output.dense" not in ignored
    assert_same_encoder(model, octavo.models.load(tmp_path / "mixed"))


def test_several_schemes(tmp_path: Path) -> None:
    model = octavo.compress(model_files.write_random(tmp_path / "float"))
    layer = model.encoder.layer[0].attention.self
    state = layer.key.state_dict()
    layer.key = octavo.Linear.from_state_dict(state, symmetric=True)
    layer.query = octavo.Linear.from_quantized(
        state["weight"], state["weight_scale"], state["bias"], input_scale=0.05
    )
    layer.value = octavo.Linear.from_quantized(
        state["weight"],
        state["weight_scale"],
        state["bias"],
        input_scale=0.05,
        input_zero_point=-7,
    )
    model.save(tmp_path / "int8")
    assert len(quantization(tmp_path / "int8")["config_groups"]) == 5
    again = octavo.models.load(tmp_path / "int8")
    assert_same_encoder(model, again)
    assert again.encoder.layer[0].attention.self.key.config()["symmetric"] is True


@pytest.mark.parametrize("scale_dtype", [np.float32, np.float16])
@pytest.mark.parametrize("low", [-127, -128])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_reads_others_files(
    tmp_path: Path, prefix: str, low: int, scale_dtype: type[np.floating[Any]]
) -> None:
    floats = model_files.random_tensors(model_files.BERT)
    codes = model_files.quantized_tensors(floats, low, scale_dtype)
    config = model_files.BERT | {"quantization_config": model_files.W8A8}
    folder = model_files.write_folder(tmp_path / "int8", config, codes, prefix)
    model = octavo.models.load(folder)
    layer = model.encoder.layer[0].attention.self.query
    assert layer.config()["symmetric"] is True
    name = "encoder.layer.0.attention.self.query.weight"
    np.testing.assert_array_equal(layer.weight_codes, codes[name])
    np.testing.assert_array_equal(layer.weight_scale, codes[f"{name}_scale"][:, 0])
    exact = octavo.models.load(model_files.write_folder(tmp_path / "f", model_files.BERT, floats))
    assert cosines(exact, model).min() > 0.99


def edited(folder: Path, edit: Any) -> Path:
    """Write an int8 model whose quantization_config went through `edit`."""
    described = copy.deepcopy(model_files.W8A8)
    edit(described, described["config_groups"]["group_0"])
    codes = model_files.quantized_tensors(model_files.random_tensors(model_files.BERT))
    shutil.rmtree(folder, ignore_errors=True)
    config = model_files.BERT | {"quantization_config": described}
    return model_files.write_folder(folder, config, codes)


# What other tools write beside that, and what changes nothing.
HISTORY = {
    "global_compression_ratio": 1.4,
    "kv_cache_scheme": None,
    "sparsity_config": {"format": "dense", "global_sparsity": 0.0, "ignore": [], "targets": []},
    "transform_config": {},
    "version": "0.15.0",
}
ROUNDING = {
    "actorder": "static",
    "block_structure": None,
    "group_size": None,
    "observer": "minmax",
    "observer_kwargs": {"averaging_constant": 0.01},
    "scale_dtype": None,
    "zp_dtype": "torch.int8",
}
NUMBERS = ("weights", "input_activations")


def test_other_ways_to_say_the_same(tmp_path: Path) -> None:
    plain = octavo.models.load(edited(tmp_path / "plain", lambda c, g: None))
    for edit in (
        lambda c, g: c.update(config_groups={"W8A8": ["Linear"]}),
        lambda c, g: g.update(targets=["re:.*(query|key|value|dense)$"]),
        lambda c, g: g.update(format="int-quantized"),
        lambda c, g: c.update(sparsity_config={"format": "dense"}),
        lambda c, g: c.update(ignore=["lm_head", "re:.*classifier"]),
        lambda c, g: [c.update(HISTORY), *(g[key].update(ROUNDING) for key in NUMBERS)],
    ):
        assert_same_encoder(octavo.models.load(edited(tmp_path / "other", edit)), plain)


def test_weights_alone(tmp_path: Path) -> None:
    """Activations that others leave in float are quantized as they come."""
    plain = octavo.models.load(edited(tmp_path / "plain", lambda c, g: None))
    model = octavo.models.load(edited(tmp_path / "x", lambda c, g: g.pop("input_activations")))
    layer, same = (one.encoder.layer[0].attention.self.query for one in (model, plain))
    assert not layer.config()["symmetric"]
    np.testing.assert_array_equal(layer.weight, same.weight)
    assert cosines(plain, model).min() > 0.999


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c, g: c.update(quant_method="fp8"), "quant_method is 'fp8'"),
        (lambda c, g: c.update(format="pack-quantized"), "missing tensor '.*weight_shape'"),
        (lambda c, g: c.update(format=None), "format is None"),
        (lambda c, g: c.update(config_groups={}), "config_groups must be"),
        (lambda c, g: c.update(config_groups=[1]), "config_groups must be"),
        (lambda c, g: c.update(config_groups={"a": 1}), "config_groups.a must be an object"),
        (lambda c, g: c.update(config_groups={"W4A16": ["Linear"]}), "preset is 'W4A16'"),
        (lambda c, g: c.update(ignore="lm_head"), "ignore must be a list of strings"),
        (lambda c, g: c.update(kv_cache_scheme={"num_bits": 8}), "kv_cache_scheme is not"),
        (lambda c, g: c.update(sparsity_config={"format": "sparse-24"}), "is 'sparse-24'"),
        (lambda c, g: g.update(targets=["re:("]), r"targets: pattern '\('"),
        (lambda c, g: g.update(targets=None), "targets must be a list of strings"),
        (lambda c, g: g.update(weights=None), "weights.num_bits is None"),
        (lambda c, g: g["weights"].update(num_bits=2), "weights.num_bits is 2"),
        (lambda c, g: g["weights"].update(num_bits=4), "weights.num_bits is 4, supported: 8"),
        (lambda c, g: g["weights"].update(num_bits=8.0), "weights.num_bits is 8.0"),
        (lambda c, g: g["weights"].update(type="float"), "weights.type is 'float'"),
        (lambda c, g: g["weights"].update(symmetric=False), "weights.symmetric is False"),
        (lambda c, g: g["weights"].update(strategy="group"), "weights.strategy is 'group'"),
        (lambda c, g: g["input_activations"].update(num_bits=4), "activations.num_bits is 4"),
        (lambda c, g: g["input_activations"].update(strategy="tensor"), "strategy is 'tensor'"),
        (lambda c, g: g["input_activations"].update(dynamic="local"), "dynamic is 'local'"),
        (lambda c, g: g.update(output_activations={"num_bits": 8}), "output_activations is not"),
        (lambda c, g: c.update(moe_sparsity_config={"method": "x"}), "moe_sparsity_config is not"),
        (lambda c, g: c.update(sparsity_config=[1]), "sparsity_config must be an object"),
        (lambda c, g: c.update(rotation=1), "quantization_config: 'rotation' is not known"),
        (lambda c, g: c.update(sparsity_config={"seed": 1}), "sparsity_config: 'seed' is not kn"),
        (lambda c, g: g.update(scale_by=2), "config_groups.group_0: 'scale_by' is not known"),
        *(
            case
            for key in NUMBERS
            for case in (
                (lambda c, g, key=key: g[key].update(codes="log"), f"{key}: 'codes' is not known"),
                (lambda c, g, key=key: g[key].update(actorder="group"), f"{key}.actorder is 'gr"),
                (lambda c, g, key=key: g[key].update(group_size=32), f"{key}.group_size is 32"),
                (
                    lambda c, g, key=key: g[key].update(block_structure=[8, 8]),
                    rf"{key}.block_structure is \[8, 8\]",
                ),
            )
        ),
        (lambda c, g: c.update(ignore=["pooler.dense"]), "'pooler.dense.weight' is stored as int8"),
        (lambda c, g: g.update(targets=["Conv1D"]), "weight' is stored as int8, but"),
        (lambda c, g: g["targets"].append("Embedding"), "has type F32, expected I8"),
    ],
)
def test_schemes_that_are_not_read(tmp_path: Path, edit: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octavo.models.load(edited(tmp_path / "x", edit))


QUERY = "encoder.layer.0.attention.self.query"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_scale", None, f"missing tensor '{QUERY}.weight_scale'"),
        ("weight_scale", np.ones((31, 1), np.float32), "has shape .31, 1., expected .32, 1."),
        ("weight_scale", np.zeros((32, 1), np.float32), "not positive and finite"),
        ("weight_scale", np.full((32, 1), np.nan, np.float32), "not positive and finite"),
        ("weight_scale", -np.ones((32, 1), np.float32), "not positive and finite"),
        ("weight_scale", np.ones((32, 1), np.int8), "has type I8, expected floats"),
        ("weight", np.ones((32, 31), np.int8), "has shape .32, 31."),
        ("weight", np.ones((32, 32), np.uint8), "has type U8, expected I8"),
        ("weight_zero_point", np.ones((32, 1), np.int8), "asymmetric weights are not read"),
        ("bias", np.full(32, np.nan, np.float32), f"'{QUERY}.bias' holds NaN or infinity"),
    ],
)
def test_broken_layers(tmp_path: Path, name: str, value: Any, message: str) -> None:
    codes = model_files.quantized_tensors(model_files.random_tensors(model_files.BERT))
    codes.pop(f"{QUERY}.{name}", None)
    if value is not None:
        codes[f"{QUERY}.{name}"] = value
    config = model_files.BERT | {"quantization_config": model_files.W8A8}
    folder = model_files.write_folder(tmp_path, config, codes)
    with pytest.raises(ValueError, match=message):
        octavo.models.load(folder)


def test_one_scale_for_a_tensor_and_zero_points_of_zero(tmp_path: Path) -> None:
    codes = model_files.quantized_tensors(model_files.random_tensors(model_files.BERT))
    codes[f"{QUERY}.weight_scale"] = np.full(1, 0.01, np.float32)
    codes[f"{QUERY}.weight_zero_point"] = np.zeros((32, 1), np.int8)
    config = model_files.BERT | {"quantization_config": model_files.W8A8}
    model = octavo.models.load(model_files.write_folder(tmp_path, config, codes))
    scale = model.encoder.layer[0].attention.self.query.weight_scale
    np.testing.assert_array_equal(scale, np.full(32, 0.01, np.float32))
