# SPDX-License-Identifier: Apache-2.0
"""Recipes that look at data, and targets, of decoders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import decoder_gguf
import model_files
import octavo
from octavo import cli
from octavo.compression import TargetNotMetError, read_recipe
from octavo.compression.equalize import equalize
from octavo.compression.smooth import smooth
from octavo.compression.work import Work
from octavo.data.batches import batches_of
from octavo.evaluation import perplexity
from octavo.models import Cache

if TYPE_CHECKING:
    from pathlib import Path

MASK = np.arange(24) < np.array([24, 5, 17, 1, 9])[:, None]
IDS = np.where(MASK, np.random.default_rng(3).integers(3, 100, MASK.shape), 0)
DATA = {"input_ids": IDS, "attention_mask": MASK}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma3_text": {
        "architectures": ["Gemma3ForCausalLM"],
        "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": 5,
        "rope_parameters": None,
        "rope_theta": 1000.0,
    },
    "phi3": {"architectures": ["Phi3ForCausalLM"], "tie_word_embeddings": False},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "num_key_value_heads": 1},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"]},
}
BAD = "model.layers.1.mlp.down_proj"


def of_kind(folder: Path, kind: str) -> Any:
    return decoder_files.loaded(folder, model_type=kind, **KINDS[kind])


def spread(folder: Path, **changes: Any) -> Any:
    """A LLaMA in which two channels behind each norm are forty times as large as they need be."""
    config = {**decoder_files.LLAMA, **changes}
    tensors = decoder_files.random_tensors(config)
    for name, values in tensors.items():
        if name.endswith("layernorm.weight"):
            values[:2] *= 40
        elif name.split(".")[-2] in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"):
            values[:, :2] /= 40
    return octavo.models.load(model_files.write_folder(folder, config, tensors))


def exactly(model: Any, ids: Any = IDS[0]) -> Any:
    return model(ids, Cache(model, "float32"))


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_the_model(tmp_path: Path, kind: str, isa: str) -> None:
    """Of rows with padding, as often as they are run, with the bits of a cache in float32."""
    model = of_kind(tmp_path / "m", kind)
    head = model.lm_head or octavo.nn.FloatLinear(model.model.embed_tokens.weight)
    wanted = [exactly(model, row[kept]) for row, kept in zip(IDS, MASK, strict=True)]
    for _ in range(2):
        got = head(model.forward(IDS, MASK))
        # By BLAS on the NumPy backend.
        bound = 1e-4 if isa == "numpy" else 0
        np.testing.assert_allclose(got, np.concatenate(wanted), rtol=0, atol=bound)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["smooth", "equalize"])
def test_the_float_model_stays_what_it_was(tmp_path: Path, kind: str, step: str) -> None:
    """All goes into layers before, so that no layer multiplies what it reads."""
    model = of_kind(tmp_path / "m", kind)
    recipe = read_recipe({"quantize": {"smooth": 0.5} if step == "smooth" else {"equalize": True}})
    work = Work(recipe, model, batches_of(DATA, model))
    (smooth if step == "smooth" else equalize)(work)
    wanted = exactly(model)
    np.testing.assert_allclose(exactly(work.model), wanted, rtol=1e-3, atol=2e-4 * wanted.max())
    linear = [layer for _, layer in work.model.named_modules() if layer.role == "linear"]
    multiplied = [layer for layer in linear if layer.input_multiplier is not None]
    assert len(multiplied) == (step == "smooth" and kind == "phi3")  # lm_head
    changed = {
        name
        for name, layer in work.model.named_modules()
        if layer.role in ("linear", "rms_norm")
        and (layer.weight != model.get_submodule(name).weight).any()
    }
    for pair in model.pairs():
        is_norm = "norm" in pair.first
        assert {pair.first, *pair.readers} <= changed or (is_norm and step == "equalize")


def test_smoothing_brings_the_model_closer(tmp_path: Path) -> None:
    model = spread(tmp_path / "m")
    wanted = exactly(model)
    plain = octavo.compress(model)
    small = octavo.compress(model, "int8-smooth", calibration=DATA)
    errors = [np.square(exactly(one) - wanted).mean() for one in (plain, small)]
    assert errors[1] < 0.5 * errors[0]
    assert small.recipe == {
        "quantize": {"dtype": "int8", "smooth": "auto"},
        "calibration_tokens": int(MASK.sum()),
    }
    small.save(tmp_path / "small")
    again = octavo.models.load(tmp_path / "small")
    assert again.lm_head is None
    np.testing.assert_array_equal(again(IDS[0]), small(IDS[0]))


@pytest.mark.parametrize(
    ("quantize", "bound"),
    [
        ({"activations": "static"}, 0.5),
        ({"outliers": 3.0}, 0.02),
        ({"smooth": 0.4, "activations": "static"}, 0.02),
    ],
    ids=str,
)
def test_other_recipes_with_data(tmp_path: Path, quantize: dict[str, Any], bound: float) -> None:
    model = spread(tmp_path / "m", tie_word_embeddings=False)
    small = octavo.compress(model, {"quantize": quantize}, calibration=DATA)
    wanted = exactly(model)
    assert np.square(exactly(small) - wanted).mean() < bound * np.square(wanted).mean()
    linear = [layer for _, layer in small.named_modules() if layer.role == "linear"]
    static = [layer.options.input_scale is not None for layer in linear]
    assert all(static) if "activations" in quantize else not any(static)
    small.save(tmp_path / "small")
    np.testing.assert_array_equal(octavo.models.load(tmp_path / "small")(IDS[0]), small(IDS[0]))


def test_a_gguf_file_is_compressed_from_its_own_numbers(tmp_path: Path) -> None:
    file = decoder_gguf.write(tmp_path / "model.gguf", decoder_files.LLAMA)
    small = octavo.compress(file, "int8-smooth", calibration=DATA)
    same = octavo.compress(
        decoder_files.write_random(tmp_path / "m"), "int8-smooth", calibration=DATA
    )
    np.testing.assert_array_equal(small(IDS[0]), same(IDS[0]))


def write_bad(folder: Path) -> Path:
    """A model one of whose layers has a channel that leaves others few codes."""
    tensors = decoder_files.random_tensors(decoder_files.LLAMA)
    tensors[f"{BAD}.weight"][:, 5] *= 1000
    tensors["model.layers.1.mlp.up_proj.weight"][5] /= 1000
    return model_files.write_folder(folder, decoder_files.LLAMA, tensors)


def test_only_the_bad_layer_is_kept(tmp_path: Path) -> None:
    folder = write_bad(tmp_path / "m")
    table = octavo.compression.sensitivity(folder, DATA)
    assert (table[0].name, len(table)) == (BAD, 15)
    ids = np.concatenate([row[kept] for row, kept in zip(IDS, MASK, strict=True)])
    texts = {"input_ids": ids[:48].reshape(2, 24)}
    small = octavo.compress(folder, calibration=texts, target={"perplexity": 1.05})
    found = small.recipe["target"]
    assert (found["metric"], found["at_most"], found["kept"]) == ("perplexity", 1.05, [BAD])
    exact = octavo.models.load(folder)
    exact.attention_precision = "float32"
    change = perplexity(small, ids[:48], context=24, reference=exact).change
    assert found["reached"] == pytest.approx(1 + change)
    assert small.get_submodule(BAD).kind == "float32"


@pytest.mark.parametrize("tied", [True, False])
def test_sensitivity_is_that_of_the_whole_model(tmp_path: Path, tied: bool) -> None:
    """Of the logits of every eighth token; a tied table is measured as what gives them too."""
    model = decoder_files.loaded(tmp_path / "m", tie_word_embeddings=tied)
    small = octavo.compress(model)
    table = octavo.compression.sensitivity(model, {"input_ids": IDS[:1]}).to_dict()
    assert len(table) == (15 if tied else 16)
    wanted = exactly(model)[::8]
    for name in ("model.embed_tokens", BAD, *([] if tied else ["lm_head"])):
        other = octavo.models.load(tmp_path / "m")
        other.set_submodule(name, small.get_submodule(name))
        noise = np.square(exactly(other)[::8] - wanted, dtype=np.float64).sum()
        signal = np.square(wanted, dtype=np.float64).sum()
        sqnr = 10 * np.log10(signal / noise)
        assert table[name]["sqnr_db"] == pytest.approx(sqnr, abs=1e-3)


def test_targets_that_cannot_be_met(tmp_path: Path) -> None:
    folder = write_bad(tmp_path / "m")
    with pytest.raises(TargetNotMetError, match=r"perplexity of at most 0.5, got at least") as e:
        octavo.compress(folder, calibration=DATA, target={"perplexity": 0.5})
    assert 0.9 < e.value.value < 1.1
    small = octavo.compress(
        folder, calibration=DATA, target={"metric": lambda model: model.nbytes, "at_most": 1e9}
    )
    assert small.recipe["target"]["kept"] == []


# Recipe, and the same without a look at data.
BY_DATA: dict[str, tuple[Any, Any]] = {
    "gptq": (
        {"quantize": {"bits": 4, "rounding": "gptq", "embedding_bits": 8}},
        {"quantize": {"bits": 4, "embedding_bits": 8}},
    ),
    "int4-gptq": ("int4-gptq", {"quantize": "int4"}),
    "sparsegpt": ("sparse50-int8", {"prune": {"sparsity": 0.5}}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BY_DATA)
def test_layers_are_fitted_in_order(tmp_path: Path, name: str, kind: str) -> None:
    """Nearer on other texts of the same kind than what is chosen without data; no new biases."""
    model = of_kind(tmp_path / "m", kind)
    texts = skewed(1, 60)
    steps: list[tuple[str, float]] = []
    small = octavo.compress(
        model, BY_DATA[name][0], calibration=texts, on_progress=lambda *step: steps.append(step)
    )
    others = [octavo.compress(model, BY_DATA[name][1]), small]
    new = skewed(2, 30)["input_ids"]
    wanted = np.concatenate([exactly(model, row) for row in new])
    errors = [
        np.square(np.concatenate([exactly(one, row) for row in new]) - wanted).mean()
        for one in others
    ]
    assert errors[1] < 0.7 * errors[0]
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    for path, layer in small.named_modules():
        if layer.role == "linear":
            assert (layer.bias is None) == (model.get_submodule(path).bias is None)  # type: ignore[attr-defined]
            assert path != "lm_head" or (layer.kind, layer.sparsity < 0.2) == ("int8", True)
    small.save(tmp_path / "small")
    np.testing.assert_array_equal(octavo.models.load(tmp_path / "small")(IDS[0]), small(IDS[0]))


def test_errors_count_as_their_inputs_do(tmp_path: Path) -> None:
    model = spread(tmp_path / "m")
    texts, new = skewed(1, 40), skewed(2, 1)["input_ids"][0]
    small = [octavo.compress(model, "int4"), octavo.compress(model, "int4", calibration=texts)]
    wanted = exactly(model, new)
    errors = [np.square(exactly(one, new) - wanted).mean() for one in small]
    assert errors[1] < 0.95 * errors[0]
    assert small[1].recipe["quantize"] == {"dtype": "int4", "rounding": "weighted"}


def skewed(seed: int, rows: int) -> dict[str, np.ndarray]:
    """Texts in which few tokens are frequent."""
    ids = np.random.default_rng(seed).geometric(0.1, (rows, 24))
    return {"input_ids": np.minimum(ids + 2, 99)}


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ({"quantize": {"correct_bias": True}}, {}, r"quantize.correct_bias: expected false of a "),
        ("int8", {"target": {"cosine": 0.9}}, "target: expected perplexity or a callable of a "),
        ("int8", {"target": {"perplexity": 0}}, r"target: perplexity: expected a value in \(0, in"),
        ("int8", {"target": {"metric": "perplexity", "at_least": 1}}, "expected at_most, got at_l"),
        ("int8", {"target": {"metric": len}}, "target: expected .* got the keys"),
        ("int8-smooth", {"calibration": [[1, 101]]}, r"input_ids: expected values in \[0, 99\]"),
        ("int8-smooth", {"calibration": [[1] * 65]}, "65 tokens, the model has 64 positions"),
        ("int8-smooth", {"calibration": (IDS, None, IDS)}, "a llama model has no token types"),
    ],
)
def test_refused(tmp_path: Path, recipe: Any, options: dict[str, Any], message: str) -> None:
    model = decoder_files.loaded(tmp_path / "m")
    if "calibration" in options:
        options = {"calibration": [options["calibration"]]}
    with pytest.raises(ValueError, match=message):
        octavo.compress(model, recipe, **{"calibration": DATA, **options})


def test_single_tokens_have_no_perplexity(tmp_path: Path) -> None:
    model = decoder_files.loaded(tmp_path / "m")
    with pytest.raises(ValueError, match="calibration: expected texts of at least 2 tokens"):
        octavo.compress(model, calibration={"input_ids": [[5]]}, target={"perplexity": 1.1})


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A text goes in windows, not in lines; sentences in a list go one by one."""
    pytest.importorskip("typer", reason="needs the extra `cli`")
    pytest.importorskip("tokenizers", reason="texts need a tokenizer")
    folder, out = decoder_files.write_chat(tmp_path / "m"), tmp_path / "out"
    text = "Once upon a time there was a castle.\nAnd a king.\n" * 5
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    words = ["compress", folder, out, "--calibration", tmp_path / "text.txt", "--json"]
    words += ["--recipe", "int8-smooth", "--target", "perplexity=1.2"]
    assert cli.main([str(word) for word in words]) == 0
    applied = json.loads(capsys.readouterr().out)["applied"]
    said = len(text.replace("\n", ""))
    assert applied["calibration_tokens"] == said
    assert applied["target"]["at_most"] == 1.2
    assert octavo.models.load(out).recipe == applied
    small = octavo.compress(folder, "int8-smooth", calibration=text.splitlines())
    assert small.recipe["calibration_tokens"] == said
