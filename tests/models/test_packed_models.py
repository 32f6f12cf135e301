# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of GPTQ, AWQ and compressed-tensors: their weights as they are, in whole models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

import decoder_files
import model_files
import octavo
import packed_files
from octavo import nn
from octavo.models.loader import load_with
from octavo.nn.weights import SteppedScale, weight_class
from packed_files import FORMS

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {"hidden_size": 64, "intermediate_size": 128}
BERT = model_files.BERT | SIZES
LLAMA = decoder_files.LLAMA | SIZES
IDS = np.random.default_rng(0).integers(3, 100, (2, 9))
QUERY = "encoder.layer.0.attention.self.query"


def written(folder: Path, family: str, form: str) -> tuple[Path, Path, dict[str, Any]]:
    """A model's folder, that of the same in float, and the float tensors."""
    if family == "bert":
        config, tensors = BERT, model_files.random_tensors(BERT)
        linear: tuple[str, ...] = ("query", "key", "value", "dense")
    else:
        config, tensors = LLAMA, decoder_files.random_tensors(LLAMA)
        linear = ("_proj",)
    packed, floats, described = packed_files.packed_model(tensors, linear, form)
    small = config | {"quantization_config": described}
    return (
        model_files.write_folder(folder / "small", small, packed),
        model_files.write_folder(folder / "float", config, floats),
        floats,
    )


def quantized(model: Any) -> dict[str, Any]:
    return {name: part for name, part in model.named_modules() if nn.is_linear(part)}


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("form", FORMS)
def test_weights_are_those_of_the_file(tmp_path: Path, family: str, form: str) -> None:
    small, whole, floats = written(tmp_path, family, form)
    model, exact = octavo.models.load(small), octavo.models.load(whole)
    layers = quantized(model)
    kind = "int4" if "8 bits" not in form else "int8" if "rows" in form else "int8-group"
    kind = {"packed, 5 bits": "int5", "packed, 6 bits": "int8-group"}.get(form, kind)
    assert {layer.kind for layer in layers.values()} == {kind}
    assert len(layers) in (2 * 6 + 1, 2 * 7)
    for name, layer in layers.items():
        np.testing.assert_array_equal(layer.weight, floats[f"{name}.weight"], err_msg=name)
    if family == "bert":
        assert model.encoder.layer[0].attention.self.in_int8
    found, wanted = model(IDS), exact(IDS)
    cosine = (found * wanted).sum() / np.sqrt((found**2).sum() * (wanted**2).sum())
    assert cosine > 0.995
    model.save(tmp_path / "saved")
    again = octavo.models.load(tmp_path / "saved")
    np.testing.assert_array_equal(again(IDS), found)
    for name, layer in quantized(again).items():
        np.testing.assert_array_equal(layer.weight, layers[name].weight)
        assert layer.held_weight.nbytes == layers[name].held_weight.nbytes


def grouped_weight(rng: np.random.Generator, shape: tuple[int, int], how: str) -> Any:
    """A weight that only octavo's own format can hold: steps of units, minima of any size."""
    n, k = shape
    groups = -(-k // 32)
    scale, minimum = (rng.standard_normal((n, groups)).astype(np.float32) / 64 for _ in range(2))
    unit = rng.random((n, -(-groups // 8))).astype(np.float16) / 64
    steps = SteppedScale(rng.integers(0, 64, (n, groups), np.uint8), unit)
    kind, given = {
        "minima": ("int4", {"scale": scale, "minimum": minimum}),
        "steps": ("int4", {"scale": steps, "minimum": steps}),
        "steps of 5 bits": ("int5", {"scale": steps, "minimum": minimum.astype(np.float16)}),
        "steps of 8 bits": ("int8-group", {"scale": steps, "order": rng.permutation(k)}),
    }[how]
    made: Any = weight_class(kind)
    codes = rng.integers(0, 1 << made.bits, shape)
    codes = codes.astype(np.uint8) if "minimum" in given else (codes - 128).astype(np.int8)
    return made.from_quantized(codes, given.pop("scale"), group=32, **given)


@pytest.mark.parametrize("how", ["minima", "steps", "steps of 5 bits", "steps of 8 bits"])
@pytest.mark.parametrize("multiplied", [False, True])
def test_what_others_cannot_hold(tmp_path: Path, how: str, multiplied: bool) -> None:
    rng = np.random.default_rng(4)
    folder = model_files.write_folder(tmp_path / "a", BERT, model_files.random_tensors(BERT))
    multiplier = np.linspace(0.5, 2, 64, dtype=np.float32) if multiplied else None

    def coarse(_: str, layer: Any) -> Any:
        if not nn.is_linear(layer):
            return layer
        weight = grouped_weight(rng, layer.shape, how)
        options = {"input_multiplier": multiplier} if layer.in_features == 64 else {}
        return layer.replace(weight=weight, **options)

    model = load_with(folder, coarse)
    model.save(tmp_path / "b")
    config = json.loads((tmp_path / "b" / "config.json").read_text())["quantization_config"]
    formats = {group["format"] for group in config["config_groups"].values()}
    assert formats == {"octavo-groups", *["octavo-multiplier-groups"] * multiplied}
    again = octavo.models.load(tmp_path / "b")
    np.testing.assert_array_equal(again(IDS), model(IDS))
    for name, layer in quantized(again).items():
        wanted = model.get_submodule(name).held_weight
        assert type(layer.held_weight) is type(wanted)
        for key, value in wanted.tensors().items():
            np.testing.assert_array_equal(layer.held_weight.tensors()[key], value, err_msg=key)


def changed(folder: Path, name: str, value: Any) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("form", "name", "value", "message"),
    [
        ("gptq", f"{QUERY}.qzeros", None, f"missing tensor '{QUERY}.qzeros'"),
        ("gptq", f"{QUERY}.g_idx", np.full(64, 7, np.int32), f"'{QUERY}.g_idx': expected groups"),
        ("gptq", f"{QUERY}.scales", np.full((2, 64), np.inf, "f2"), "scales' holds NaN or inf"),
        ("gptq", f"{QUERY}.extra", np.ones(1, "f4"), "extra' has no place in the model"),
        ("packed", f"{QUERY}.weight_packed", None, f"missing tensor '{QUERY}.weight_packed'"),
        (
            "packed",
            f"{QUERY}.weight_packed",
            np.zeros((64, 9), np.int32),
            rf"'{QUERY}.weight_packed' has shape \(64, 9\), expected \(64, 8\)",
        ),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, form: str, name: str, value: Any, message: str
) -> None:
    small, _, _ = written(tmp_path, "bert", form)
    changed(small, name, value)
    with pytest.raises(ValueError, match=message):
        octavo.models.load(small)


def test_layers_in_float_and_biases_of_zeros(tmp_path: Path) -> None:
    """The tensors tell which layers are packed; old writers gave each a bias."""
    small, _, floats = written(tmp_path, "llama", "gptq, symmetric")
    name = "model.layers.0.mlp.up_proj"
    for key in ("qweight", "qzeros", "scales", "g_idx"):
        changed(small, f"{name}.{key}", None)
    changed(small, f"{name}.weight", floats[f"{name}.weight"])
    other = "model.layers.1.mlp.up_proj"
    changed(small, f"{other}.bias", np.zeros(128, np.float16))
    model = octavo.models.load(small)
    assert model.get_submodule(name).kind == "float32"
    assert model.get_submodule(other).kind == "int4"
    changed(small, f"{other}.bias", np.ones(128, np.float16))
    with pytest.raises(ValueError, match=f"'{other}.bias': the model that config.json describes"):
        octavo.models.load(small)


def test_words_that_the_config_does_not_speak_of(tmp_path: Path) -> None:
    packed, _, _ = packed_files.packed_model(model_files.random_tensors(BERT), ("query",), "gptq")
    folder = model_files.write_folder(tmp_path / "x", BERT, packed)
    with pytest.raises(ValueError, match=rf"'{QUERY}.qweight' is stored in packed words, but"):
        octavo.models.load(folder)
