# SPDX-License-Identifier: Apache-2.0
"""Sentence vectors: what a folder's modules.json asks for, against sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import model_files
import octavo

TOLERANCE = 1e-5
SIZE = model_files.BERT["hidden_size"]
SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
PACKAGE = "sentence_transformers.models"
MEAN = {"word_embedding_dimension": SIZE, SWITCHES["mean"]: True, SWITCHES["cls"]: False}
DENSE = {
    "in_features": SIZE,
    "out_features": 16,
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
}


def old_pooling(*modes: str) -> dict[str, Any]:
    """Pooling as folders before 2026 say it: a switch for each way."""
    switches = {key: mode in modes for mode, key in SWITCHES.items()}
    return {"word_embedding_dimension": SIZE, **switches}


def new_pooling(*modes: str) -> dict[str, Any]:
    mode = modes[0] if len(modes) == 1 else list(modes)
    return {"embedding_dimension": SIZE, "pooling_mode": mode, "include_prompt": True}


def write_modules(folder: Path, *modules: tuple[str, Any], package: str = PACKAGE) -> Path:
    """Write a random model with these modules behind the encoder."""
    model_files.write_random(folder)
    model_files.write_tokenizer(folder)
    rng = np.random.default_rng(3)
    listed = [{"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"}]
    for index, (kind, config) in enumerate(modules, start=1):
        path = f"{index}_{kind}"
        listed.append({"idx": index, "name": str(index), "path": path, "type": f"{package}.{kind}"})
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        shapes = {}
        if kind == "Dense":
            shapes = {"linear.weight": (config["out_features"], config["in_features"])}
            if config.get("bias", True):
                shapes["linear.bias"] = (config["out_features"],)
        elif kind == "LayerNorm":
            shapes = dict.fromkeys(("norm.weight", "norm.bias"), (config["dimension"],))
        if shapes:
            tensors = {
                key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()
            }
            safetensors.numpy.save_file(tensors, folder / path / "model.safetensors")
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    return folder


FOLDERS: dict[str, list[tuple[str, Any]]] = {
    **{f"{mode}, old": [("Pooling", old_pooling(mode))] for mode in SWITCHES},
    "all, old": [("Pooling", old_pooling(*SWITCHES))],
    "one, new": [("Pooling", new_pooling("lasttoken"))],
    "two, new, in their own order": [("Pooling", new_pooling("max", "cls"))],
    "no word": [("Pooling", {"word_embedding_dimension": SIZE})],
    "dense": [("Pooling", MEAN), ("Dense", DENSE)],
    "identity, no bias": [
        ("Pooling", MEAN),
        (
            "Dense",
            DENSE | {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"},
        ),
        ("Normalize", {}),
    ],
    "everything": [
        ("Pooling", old_pooling("cls", "mean")),
        ("Dropout", {"dropout": 0.1}),
        ("Dense", DENSE | {"in_features": 2 * SIZE, "out_features": 24}),
        ("LayerNorm", {"dimension": 24}),
        (
            "Dense",
            DENSE | {"in_features": 24, "activation_function": "torch.nn.modules.activation.GELU"},
        ),
        ("Normalize", {"module_input_name": "sentence_embedding"}),
    ],
}


@pytest.mark.parametrize("modules", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.filterwarnings("ignore")
def test_as_sentence_transformers(tmp_path: Path, modules: list[tuple[str, Any]]) -> None:
    torch = pytest.importorskip("torch", reason="the reference needs PyTorch")
    peer = pytest.importorskip("sentence_transformers", reason="it is the reference")
    folder = write_modules(tmp_path / "model", *modules)
    ids, mask = model_files.batch()
    mask[2, :3] = 0  # padding on the left
    reference = peer.SentenceTransformer(str(folder), device="cpu").eval()
    with torch.no_grad():
        features = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        wanted = reference(features)["sentence_embedding"].numpy()
    model = octavo.models.load(folder)
    got = model.encode(ids, mask)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)
    # What was compressed and saved is asked to do the same with its own hidden states.
    octavo.compress(folder).save(tmp_path / "small")
    again = octavo.models.load(tmp_path / "small")
    for name in ("modules.json", *(f"{i}_{kind}" for i, (kind, _) in enumerate(modules, 1))):
        for path in (folder / name).rglob("*") if (folder / name).is_dir() else [folder / name]:
            kept = tmp_path / "small" / path.relative_to(folder)
            assert kept.read_bytes() == path.read_bytes()
    features = {
        "token_embeddings": torch.tensor(again(ids, mask)),
        "attention_mask": torch.tensor(mask),
    }
    with torch.no_grad():
        for step in list(reference)[1:]:
            features = step(features)
    wanted = features["sentence_embedding"].numpy()
    np.testing.assert_allclose(again.encode(ids, mask), wanted, rtol=0, atol=TOLERANCE)


def test_the_last_word_is_the_callers(tmp_path: Path) -> None:
    ids, mask = model_files.batch()
    modules = [("Pooling", MEAN), ("Normalize", {})]
    model = octavo.models.load(write_modules(tmp_path / "model", *modules))
    plain = octavo.models.load(write_modules(tmp_path / "plain", *modules[:1]))
    mean = plain.encode(ids, mask)
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    for one in (model, plain):
        np.testing.assert_allclose(one.encode(ids, mask, normalize=True), unit, atol=1e-6)
        np.testing.assert_array_equal(one.encode(ids, mask, normalize=False), mean)
    np.testing.assert_allclose(model.encode(ids, mask), unit, atol=1e-6)
    np.testing.assert_array_equal(plain.encode(ids, mask), mean)


@pytest.mark.parametrize("mode", SWITCHES)
def test_prompts_are_left_out_where_the_folder_says_so(tmp_path: Path, mode: str) -> None:
    torch = pytest.importorskip("torch", reason="the reference needs PyTorch")
    modules = pytest.importorskip(
        "sentence_transformers.sentence_transformer.modules", reason="it is the reference"
    )
    ids, mask = model_files.batch(lengths=(7, 4, 12))
    config = new_pooling(mode) | {"include_prompt": False}
    model = octavo.models.load(write_modules(tmp_path / "model", ("Pooling", config)))
    features = {
        "token_embeddings": torch.tensor(model(ids, mask)),
        "attention_mask": torch.tensor(mask),
        "prompt_length": 3,
    }
    wanted = modules.Pooling(**config)(features)["sentence_embedding"].numpy()
    np.testing.assert_allclose(model.encode(ids, mask, prompt_tokens=3), wanted, atol=TOLERANCE)
    assert not np.allclose(model.encode(ids, mask), wanted, atol=0.01) or mode == "lasttoken"


def test_rows_without_tokens_and_no_rows(tmp_path: Path) -> None:
    folder = write_modules(tmp_path / "model", ("Pooling", old_pooling(*SWITCHES)))
    model = octavo.models.load(folder)
    ids, mask = model_files.batch()
    mask[1] = 0
    vectors = model.encode(ids, mask)
    assert not vectors[1].any()
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[:1], model.encode(ids[:1], mask[:1]), atol=TOLERANCE)
    assert model.encode(ids[:0]).shape == (0, 6 * SIZE)


REFUSED = {
    "unknown module": (
        [("Pooling", MEAN), ("LSTM", {})],
        "module '2_LSTM' is a 'LSTM'; octavo runs",
    ),
    "no pooling first": ([("Dense", DENSE)], "expected Pooling behind the encoder, got 'Dense'"),
    "another size": ([("Pooling", MEAN | {"word_embedding_dimension": 33})], "is 33, expected 32"),
    "no way to pool": ([("Pooling", old_pooling())], r"expected ways to pool .*, got \[\]"),
    "unknown way": ([("Pooling", new_pooling("median"))], r"got \['median'\]"),
    "a number": ([("Pooling", MEAN | {"pooling_mode": 3})], r"got \[3\]"),
    "a list of lists": ([("Pooling", MEAN | {"pooling_mode": [["cls"]]})], r"got \[\['cls'\]\]"),
    "two words": (
        [("Pooling", MEAN | {"pooling_mode": "cls"})],
        r"pooling_mode is \['cls'\], its switches say \['mean'\]",
    ),
    "inputs": ([("Pooling", MEAN), ("Dense", DENSE | {"in_features": 9})], "is 9, expected 32"),
    "activation": (
        [("Pooling", MEAN), ("Dense", DENSE | {"activation_function": "my.code.Swish"})],
        "2_Dense/config.json: activation_function is 'my.code.Swish'",
    ),
    "no name": (
        [("Pooling", MEAN), ("Dense", DENSE | {"activation_function": ["Tanh"]})],
        r"activation_function is \['Tanh'\], supported",
    ),
    "a flag": ([("Pooling", MEAN), ("Dense", DENSE | {"bias": "no"})], "bias is 'no', expected"),
    "tokens": (
        [("Pooling", MEAN), ("Dense", DENSE | {"module_input_name": "token_embeddings"})],
        "module_input_name is 'token_embeddings', expected 'sentence_embedding'",
    ),
    "residual": ([("Pooling", MEAN), ("Dense", DENSE | {"use_residual": True})], "use_residual"),
    "new key": ([("Pooling", MEAN | {"alpha": 2})], "1_Pooling/config.json: 'alpha' is not known"),
}


@pytest.mark.parametrize(("modules", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, modules: list[tuple[str, Any]], message: str) -> None:
    folder = write_modules(tmp_path / "model", *modules)
    with pytest.warns(UserWarning, match=f"{message}.*; encode refuses"):
        model = octavo.models.load(folder)
    ids, mask = model_files.batch()
    assert model(ids, mask).shape == (*ids.shape, SIZE)
    with pytest.raises(ValueError, match=message):
        model.encode(ids, mask)


def test_damaged_folders(tmp_path: Path) -> None:
    folder = write_modules(tmp_path / "model", ("Pooling", MEAN), ("Dense", DENSE))
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    listed = json.loads((folder / "modules.json").read_text())
    elsewhere = [listed[0] | {"type": "pylate.models.Transformer"}, *listed[1:]]
    below = [listed[0] | {"path": "0_Transformer"}, *listed[1:]]
    weights = folder / "2_Dense" / "model.safetensors"
    for path, content, message in (
        (weights, None, "2_Dense/model.safetensors is missing"),
        (weights, b"\x08", "too short"),
        (weights, whole[folder / "model.safetensors"], "missing tensor 'linear.weight'"),
        (folder / "1_Pooling" / "config.json", None, "1_Pooling/config.json is missing"),
        (folder / "modules.json", b"{}", "expected a JSON list, got dict"),
        (folder / "modules.json", b"[1]", "expected a type and a path for each module"),
        (folder / "modules.json", json.dumps(elsewhere).encode(), "expected a Transformer"),
        (folder / "modules.json", json.dumps(below).encode(), "expected a Transformer"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.warns(UserWarning, match=message):
            model = octavo.models.load(folder)
        with pytest.raises(ValueError, match=message):
            model.encode([[1, 2]])
        path.write_bytes(whole[path])
