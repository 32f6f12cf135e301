# SPDX-License-Identifier: Apache-2.0
"""Decoders of GPTQ, AWQ and compressed-tensors in from_pretrained, and heads that are tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")

import decoder_files  # noqa: E402
import model_files  # noqa: E402
import octavo  # noqa: E402
import octavo.torch as ot  # noqa: E402
import packed_files  # noqa: E402
from octavo.transformers import OctavoConfig  # noqa: E402
from reference import assert_same_bits  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

IDS = np.random.default_rng(0).integers(3, 100, (2, 9))
CONFIG = decoder_files.LLAMA | {"hidden_size": 64, "intermediate_size": 128}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def load(folder: Path, **options: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **options)


def run(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(IDS)).logits


def written(folder: Path, form: str, *, tables: bool = False, **changes: Any) -> Path:
    """A checkpoint of another library, with packed linear layers, and perhaps its table."""
    config = CONFIG | changes
    linear = ("_proj", "embed_tokens") if tables else ("_proj",)
    tensors = decoder_files.random_tensors(config)
    packed, _, described = packed_files.packed_model(tensors, linear, form)
    if tables:
        group = described["config_groups"]["group_0"] | {"targets": ["Linear", "Embedding"]}
        described = described | {"config_groups": {"group_0": group}}
    return model_files.write_folder(folder, config | {"quantization_config": described}, packed)


@pytest.mark.parametrize("form", ["gptq, ordered", "awq", "packed, zeros", "packed, 5 bits"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_are_those_of_the_file(tmp_path: Path, form: str, dtype: Any) -> None:
    folder = written(tmp_path / "packed", form)
    model, own = (
        load(folder, quantization_config=OctavoConfig(), dtype=dtype),
        octavo.models.load(folder),
    )
    for name, part in model.named_modules():
        if isinstance(part, ot.Linear):
            assert_same_bits(part._weight.layer.weight, own.get_submodule(name).weight)
    assert isinstance(model.model.layers[1].mlp.down_proj, ot.Linear)
    assert not isinstance(model.lm_head, ot.Linear)
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(run(load(tmp_path / "again", dtype=dtype)), run(model))


@pytest.mark.parametrize("form", ["packed", "packed, zeros", "packed, 5 bits"])
def test_packed_tables(tmp_path: Path, form: str) -> None:
    folder = written(tmp_path / "a", form, tables=True, tie_word_embeddings=False)
    model = load(folder, quantization_config=OctavoConfig())
    own = octavo.models.load(folder).model.embed_tokens
    assert_same_bits(model.model.embed_tokens.weight.numpy(), own.weight)
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(run(load(tmp_path / "again")), run(model))
    tied = written(tmp_path / "tied", form, tables=True)
    with pytest.raises(ValueError, match=rf"embed_tokens: a table of {own.kind}, which is the he"):
        load(tied, quantization_config=OctavoConfig())


@pytest.mark.parametrize("recipe", ["int8", {"quantize": "int4"}], ids=str)
def test_a_head_that_is_the_table(tmp_path: Path, recipe: Any) -> None:
    # transformers 4 reads no rope_parameters: these are its defaults.
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    folder = decoder_files.write_random(tmp_path / "llama", rope_parameters=rope)
    octavo.compress(folder, recipe).save(tmp_path / "small")
    model, own = (
        load(tmp_path / "small", quantization_config=OctavoConfig()),
        octavo.models.load(tmp_path / "small"),
    )
    assert isinstance(model.lm_head, ot.Linear)
    assert model.lm_head._weight is model.model.embed_tokens._weight
    found, wanted = run(model), torch.from_numpy(own(IDS))
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min() > 0.99
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(run(load(tmp_path / "again")), found)
    assert_same_bits(octavo.models.load(tmp_path / "again")(IDS), wanted.numpy())
