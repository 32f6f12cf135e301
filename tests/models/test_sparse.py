# SPDX-License-Identifier: Apache-2.0
"""Sparse layers on disk: octavo's bitmaps, and the retired ones of compressed-tensors."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

import model_files
import octavo
from encoders import assert_same_encoder, assert_same_files, linears
from octavo import Linear, nn
from octavo.nn import SparseLinear
from octavo.nn.tree import map_layers
from reference import assert_same_bits
from sparse_files import is_linear, own_parts, pruned_tensors, retired_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from octavo.models import Encoder

SELF = "encoder.layer.0.attention.self"


def sparse_form(layer: Any) -> SparseLinear:
    return SparseLinear.from_state_dict(layer.state_dict(), **layer.config())


def sparse_model(folder: Path, share: float = 0.7) -> Encoder:
    model = octavo.compress(model_files.write_folder(folder, model_files.BERT, pruned(share)))
    return map_layers(model, lambda _, x: sparse_form(x) if isinstance(x, Linear) else x)


def pruned(share: float) -> dict[str, np.ndarray]:
    return pruned_tensors(share)


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_round_trip_is_bit_exact(tmp_path: Path, isa: str) -> None:
    model = sparse_model(tmp_path / "float")
    layers = linears(model)
    assert all(type(layer) is SparseLinear for layer in layers.values())
    model.save(tmp_path / isa)
    again = octavo.models.load(tmp_path / isa)
    for name, layer in linears(again).items():
        assert type(layer) is SparseLinear
        assert layer.format == octavo.tuning.choose(layers[name].weight_codes)
    assert_same_encoder(model, again)
    with octavo._backend.use("numpy"):
        octavo.models.load(tmp_path / isa).save(tmp_path / "again")
    assert_same_files(tmp_path / isa, tmp_path / "again")


def test_the_format_in_memory_leaves_no_trace(tmp_path: Path) -> None:
    model = sparse_model(tmp_path / "float")
    for wanted in ("dense", "windowed16", "windowed64"):

        def hold(_: str, layer: Any, wanted: str = wanted) -> Any:
            if not isinstance(layer, SparseLinear):
                return layer
            options = {**layer.config(), "format": wanted}
            return SparseLinear.from_state_dict(layer.state_dict(), **options)

        map_layers(model, hold).save(tmp_path / wanted)
        assert_same_files(tmp_path / wanted, tmp_path / "dense")


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    model = sparse_model(tmp_path / "float")
    model.save(tmp_path / "sparse")
    stored = safetensors.numpy.load_file(tmp_path / "sparse" / "model.safetensors")
    for name, layer in linears(model).items():
        assert f"{name}.weight" not in stored
        for part, value in own_parts(name, layer.weight_codes).items():
            assert_same_bits(stored[part], value)
    described = config_of(tmp_path / "sparse")["quantization_config"]
    assert described["format"] == "octavo-bitmap"
    groups = {group["targets"][0]: group["format"] for group in described["config_groups"].values()}
    assert groups == {"Linear": "octavo-bitmap", "Embedding": "int-quantized"}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_size_follows_the_zeros(tmp_path: Path, share: float) -> None:
    model = sparse_model(tmp_path / "float", share)
    model.save(tmp_path / "sparse")
    dense = map_layers(
        model,
        lambda _, x: (
            Linear.from_state_dict(x.state_dict(), activation=x.activation)
            if isinstance(x, Linear)
            else x
        ),
    )
    dense.save(tmp_path / "dense")
    sizes = {
        name: sum(
            info.end - info.begin
            for info in octavo.io.TensorFile(tmp_path / name / "model.safetensors").tensors.values()
        )
        for name in ("sparse", "dense")
    }
    saved = sum(
        max(0, x.size - np.count_nonzero(x) - len(x) * -(-x.shape[1] // 8) - 16)
        for x in (layer.weight_codes for layer in linears(model).values())
    )
    assert sizes["dense"] - sizes["sparse"] == saved
    assert (saved > 0) == (share > 0.2)
    if not saved:
        assert_same_files(tmp_path / "sparse", tmp_path / "dense")
    assert_same_encoder(dense, octavo.models.load(tmp_path / "sparse"))


def test_dense_and_sparse_layers_together(tmp_path: Path) -> None:
    model = sparse_model(tmp_path / "float")
    part = model.encoder.layer[0].attention.self
    codes = np.random.default_rng(0).integers(1, 128, (32, 32)).astype(np.int8)
    part.query = SparseLinear.from_quantized(codes, 0.01, np.zeros(32))
    state = part.key.state_dict()
    parts = (state["weight"], state["weight_scale"], state["bias"])
    part.key = SparseLinear.from_quantized(*parts, input_scale=0.05, input_zero_point=-7)
    part.value = Linear.from_quantized(*parts, symmetric=True)
    out = model.encoder.layer[0].attention.output
    out.dense = nn.FloatLinear(out.dense.weight, out.dense.bias)
    model.save(tmp_path / "mixed")
    again = octavo.models.load(tmp_path / "mixed")
    kinds = [type(again.get_submodule(f"{SELF}.{name}")) for name in ("query", "key", "value")]
    assert kinds == [Linear, SparseLinear, Linear]
    assert_same_encoder(model, again)
    again.save(tmp_path / "again")
    assert config_of(tmp_path / "again") == config_of(tmp_path / "mixed")


def test_layers_are_read_one_by_one(tmp_path: Path) -> None:
    """What loading needs besides the model is one layer, not the file."""
    config = {**model_files.BERT, "hidden_size": 256, "intermediate_size": 256}
    config["num_hidden_layers"] = 12
    tensors = model_files.random_tensors(config)
    for name, value in tensors.items():
        if is_linear(name, value):
            value[:, ::2] = 0
    model = octavo.compress(model_files.write_folder(tmp_path / "float", config, tensors))
    model = map_layers(model, lambda _, x: sparse_form(x) if isinstance(x, Linear) else x)
    model.save(tmp_path / "sparse")
    tracemalloc.start()
    try:
        octavo.models.loader.load_with(tmp_path / "sparse", lambda _, x: nn.Activation("none"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20  # a layer has 64 KB of codes, the file 3 MB


def test_compress_keeps_what_is_sparse(tmp_path: Path) -> None:
    model = sparse_model(tmp_path / "float")
    model.save(tmp_path / "sparse")
    again = octavo.compress(tmp_path / "sparse")
    assert all(type(layer) is SparseLinear for layer in linears(again).values())
    assert_same_encoder(model, again)


@pytest.mark.parametrize("everything", [False, True], ids=["linear", "everything"])
@pytest.mark.parametrize("quantized", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_retired_format(tmp_path: Path, quantized: bool, everything: bool, prefix: str) -> None:
    config, stored, dense = retired_checkpoint(quantized, everything)
    folder = model_files.write_folder(tmp_path / "retired", config, stored, prefix)
    plain = dict(config)
    plain["quantization_config"] = model_files.W8A8 if quantized else None
    wanted = octavo.models.load(model_files.write_folder(tmp_path / "dense", plain, dense))
    model = octavo.models.load(folder)
    assert_same_encoder(model, wanted)
    kind = SparseLinear if quantized else nn.FloatLinear
    assert type(model.encoder.layer[0].attention.self.query) is kind
    model.save(tmp_path / "again")
    assert_same_encoder(octavo.models.load(tmp_path / "again"), wanted)
    assert_same_encoder(octavo.compress(folder), octavo.compress(tmp_path / "dense"))


def test_the_retired_format_in_bfloat16(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    config, stored, _ = retired_checkpoint(False, False)
    short = {k: v.astype(ml_dtypes.bfloat16) if v.dtype == "f4" else v for k, v in stored.items()}
    folder = model_files.write_folder(tmp_path / "retired", config, short)
    weight = octavo.models.load(folder).pooler.dense.weight
    values = short["pooler.dense.compressed"].astype(np.float32)
    assert_same_bits(weight[weight != 0], values)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
def test_where_older_releases_describe_it(tmp_path: Path, quantized: bool, nested: bool) -> None:
    config, stored, _ = retired_checkpoint(quantized, True)
    described = config.pop("quantization_config")
    if nested:
        sparsity = described.pop("sparsity_config")
        described = {
            "sparsity_config": sparsity,
            "quantization_config": described if quantized else None,
        }
    config["compression_config"] = described
    folder = model_files.write_folder(tmp_path / "retired", config, stored)
    octavo.models.load(folder).save(tmp_path / "again")
    assert "compression_config" not in config_of(tmp_path / "again")


def test_other_sparse_formats_are_named(tmp_path: Path) -> None:
    config, stored, _ = retired_checkpoint(False, False)
    config["quantization_config"]["sparsity_config"]["format"] = "sparse-24-bitmask"
    folder = model_files.write_folder(tmp_path / "retired", config, stored)
    with pytest.raises(ValueError, match=r"sparsity_config.format is 'sparse-24-bitmask'"):
        octavo.models.load(folder)
    config["quantization_config"] = {"quant_method": "gptq", "sparsity_config": {}}
    model_files.write_folder(folder, config, stored)
    with pytest.raises(ValueError, match="quant_method is 'gptq'"):
        octavo.models.load(folder)


def test_a_bitmap_without_int8_is_refused(tmp_path: Path) -> None:
    sparse_model(tmp_path / "float").save(tmp_path / "sparse")
    config = config_of(tmp_path / "sparse")
    del config["quantization_config"]
    (tmp_path / "sparse" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="is stored as int8, but the quantization_config"):
        octavo.models.load(tmp_path / "sparse")


Q = f"{SELF}.query"
BROKEN: dict[str, tuple[Any, str]] = {
    "no values": (lambda t: t.pop(f"{Q}.weight_values"), "no tensor '.*query.weight_values'"),
    "twice": (
        lambda t: t.update({f"{Q}.weight": np.zeros((32, 32), np.int8)}),
        "'.*query.weight' is stored twice",
    ),
    "no scale": (lambda t: t.pop(f"{Q}.weight_scale"), "missing tensor '.*query.weight_scale'"),
    "nan scale": (lambda t: t[f"{Q}.weight_scale"].fill(np.nan), "weight_scale' holds a scale"),
    "few scales": (
        lambda t: t.update({f"{Q}.weight_scale": np.ones((31, 1), np.float32)}),
        r"weight_scale' has shape \(31, 1\), expected \(32, 1\)",
    ),
    "another shape": (
        lambda t: t.update(own_parts(Q, np.ones((16, 64), np.int8))),
        r"query.weight' has shape \(16, 64\), config.json asks for \(32, 32\)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_layers(tmp_path: Path, name: str) -> None:
    change, message = BROKEN[name]
    sparse_model(tmp_path / "float").save(tmp_path / "sparse")
    rewrite(tmp_path / "sparse", change)
    with pytest.raises(ValueError, match=message):
        octavo.models.load(tmp_path / "sparse")


def test_rows_choose_the_format_at_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sparse_model(tmp_path / "model")
    model.save(tmp_path / "out")
    asked = []

    def choose(codes: np.ndarray, rows: Any = None) -> str:
        asked.append(rows)
        return "windowed16" if rows == 1 else "dense"

    monkeypatch.setattr(octavo.tuning, "choose", choose)
    for rows, wanted in ((None, "dense"), (1, "windowed16")):
        again = octavo.models.load(tmp_path / "out", rows=rows)
        formats = {x.format for x in linears(again).values() if isinstance(x, SparseLinear)}
        assert formats == {wanted}
        assert_same_bits(again(*model_files.batch()), model(*model_files.batch()))
    assert 1 in asked
