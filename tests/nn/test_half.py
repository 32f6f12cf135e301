# SPDX-License-Identifier: Apache-2.0
"""Layers with weights of 16 bits: exact widening, float32 results, half the memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors

import model_files
import octavo
from octavo import _backend, _numpy, nn
from octavo.nn.weights.half import to_half
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = ["float16", "bfloat16"]
EVERY = np.arange(1 << 16, dtype=np.uint16)


def widened(x: np.ndarray, backend: Any) -> np.ndarray:
    out = np.empty(x.shape, np.float32)
    backend.widen(x, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", octavo.runtime.cpu_info()["isa_tiers"] or [None])
def test_every_value_is_widened_exactly(dtype: str, isa: str | None) -> None:
    x = EVERY.view(np.float16) if dtype == "float16" else EVERY
    bits = (EVERY.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # of signaling NaNs on ARM
        expected = x.astype(np.float32) if dtype == "float16" else bits
    with octavo.runtime.use_isa(isa):
        for backend in (_backend.backend, _numpy):
            for size in (1 << 16, 0, 1, 15, 17):
                found = widened(x[:size].copy(), backend)
                nan = np.isnan(expected[:size])
                assert np.array_equal(nan, np.isnan(found))
                assert_same_bits(found[~nan], expected[:size][~nan])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_is_half_to_even(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.standard_normal(10_000).astype(np.float32) * np.float32(10) ** rng.integers(
        -8, 4, 10_000
    )
    x = np.concatenate(
        [x.astype(np.float32), np.float32([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 0.0, -0.0, 6e-8])]
    )
    halves = to_half(x, dtype)
    expected = torch.from_numpy(x).to(getattr(torch, dtype)).view(torch.uint16).numpy()
    assert_same_bits(halves.view(np.uint16), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
@pytest.mark.parametrize("sizes", [(7, 5), (300, 400), (1, 1)])
def test_linear(dtype: str, shape: tuple[int, ...], sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    n, k = sizes
    weight = rng.standard_normal((n, k)).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32)
    layer = nn.HalfLinear.from_float(weight, bias, activation="gelu", dtype=dtype)
    same = octavo.nn.FloatLinear(layer.weight, bias, activation="gelu")
    x = rng.standard_normal((*shape, k)).astype(np.float32)
    residual = rng.standard_normal((*shape, n)).astype(np.float32)
    assert np.allclose(layer(x, residual), same(x, residual), rtol=1e-5, atol=1e-4)
    assert np.abs(layer.weight - weight).max() <= 2.0 ** (-8 if dtype == "bfloat16" else -11) * 5
    assert layer.nbytes == 2 * n * k + 4 * n
    assert layer.dtype == nn.HalfEmbedding.from_float(weight, dtype=dtype).kind == dtype


def test_no_float32_copy_is_kept() -> None:
    layer = nn.HalfLinear.from_float(np.ones((2048, 1024), np.float32))
    x = np.ones((1, 1024), np.float32)
    layer(x)
    tracemalloc.start()
    layer(x)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2048 * 1024


BAD: dict[str, tuple[type[Exception], str, Any]] = {
    "float32": (TypeError, "weight: expected float16", lambda: nn.HalfLinear(np.ones((2, 2)))),
    "large": (ValueError, "weight: .* 65504", lambda: nn.HalfLinear.from_float([[1e5]])),
    "larger": (
        ValueError,
        "bfloat16",
        lambda: nn.HalfLinear.from_float(np.float32([[3.4e38]]), dtype="bfloat16"),
    ),
    "nan": (ValueError, "weight: expected finite", lambda: nn.HalfLinear.from_float([[np.nan]])),
    "dtype": (ValueError, "dtype: ", lambda: nn.HalfLinear.from_float([[1.0]], dtype="float8")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("recipe", ["fp16", "bf16"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_recipe(tmp_path: Path, recipe: str, family: str) -> None:
    folder = model_files.write_random(tmp_path / "a", family)
    model = octavo.models.load(folder)
    made = octavo.compress(folder, recipe)
    dtype = {"fp16": "float16", "bf16": "bfloat16"}[recipe]
    kinds = {type(layer).__name__ for _, layer in made.named_modules() if layer.state_dict()}
    assert {"HalfLinear", "HalfEmbedding", "LayerNorm"} <= kinds
    assert not {"FloatLinear", "FloatEmbedding", "Linear"} & kinds
    batch = model_files.batch()
    assert np.abs(made(*batch) - model(*batch)).max() < (0.02 if recipe == "fp16" else 0.15)

    made.save(tmp_path / "b")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["torch_dtype"] == dtype
    assert "quantization_config" not in config
    with safetensors.safe_open(tmp_path / "b" / "model.safetensors", "np") as file:
        found = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert found == {"F32", "F16" if recipe == "fp16" else "BF16"}


def test_transformers_reads_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = model_files.write_random(tmp_path / "a")
    made = octavo.compress(folder, "bf16")
    made.save(tmp_path / "b")
    model = transformers.BertModel.from_pretrained(tmp_path / "b", dtype="auto")
    assert model.dtype == torch.bfloat16
    layer = model.encoder.layer[0].output.dense.weight
    ours = made.get_submodule("encoder.layer.0.output.dense")
    assert_same_bits(layer.detach().float().numpy(), ours.weight)


def test_kept_layers_are_halves(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path / "a")
    names = ["encoder.layer.0.*", "embeddings.word_embeddings"]
    recipe = {"quantize": {"exclude": names, "keep": "float16"}}
    made = octavo.compress(folder, recipe)
    kept = [name for name, layer in made.named_modules() if isinstance(layer, nn.HalfLinear)]
    assert len(kept) == 6
    made.save(tmp_path / "b")
    again = octavo.models.load(tmp_path / "b")
    assert_same_bits(again(*model_files.batch()), made(*model_files.batch()))
    assert isinstance(again.get_submodule("embeddings.word_embeddings"), nn.HalfEmbedding)


def test_half_files_of_others_become_float32(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path / "a")
    made = octavo.compress(folder, "fp16")
    made.recipe = None
    made.save(tmp_path / "b")
    again = octavo.models.load(tmp_path / "b")
    assert isinstance(again.get_submodule("pooler.dense"), octavo.nn.FloatLinear)
