# SPDX-License-Identifier: Apache-2.0
"""Folders that cannot be loaded say why, by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo

if TYPE_CHECKING:
    from pathlib import Path

QUERY = "encoder.layer.1.attention.self.query.weight"


def bert_tensors() -> dict[str, np.ndarray]:
    return model_files.random_tensors(model_files.BERT)


def expect(folder: Path, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        octavo.models.load(folder)
    with pytest.raises(error, match=message):
        octavo.compress(folder)


def test_no_folder(tmp_path: Path) -> None:
    expect(tmp_path / "absent", FileNotFoundError, "no such folder: .*absent")
    (tmp_path / "file").write_bytes(b"")
    expect(tmp_path / "file", NotADirectoryError, "file is a file")
    expect(tmp_path, FileNotFoundError, "no config.json")


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(model_files.BERT), encoding="utf-8")
    expect(tmp_path, FileNotFoundError, "no model.safetensors")
    (tmp_path / "tf_model.h5").write_bytes(b"")
    expect(tmp_path, FileNotFoundError, "found tf_model.h5; convert it")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    expect(tmp_path, ValueError, "pytorch_model.bin: not tensors by their names")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not valid JSON"), ("{", "not valid JSON"), ("[]", "a JSON object, got list")],
)
def test_config_is_no_object(tmp_path: Path, text: str, message: str) -> None:
    model_files.write_random(tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    expect(tmp_path, ValueError, f"config.json: .*{message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "longformer"},
            "unknown model_type 'longformer'; supported: bert, camembert, distilbert",
        ),
        ({"model_type": None}, "unknown model_type None"),
        ({"model_type": ["bert"]}, "unknown model_type"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_size": "32"}, "hidden_size is '32'"),
        ({"hidden_size": 32.0}, "hidden_size is 32.0"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": -32}, "hidden_size is -32"),
        ({"num_attention_heads": 5}, "hidden_size 32 is no multiple of num_attention_heads 5"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish', supported: gelu"),
        ({"hidden_act": None}, "hidden_act is None"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps is '1e-5'"),
        ({"layer_norm_eps": -1}, "layer_norm_eps is -1"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is set"),
        ({"add_cross_attention": True}, "add_cross_attention is set"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is set; attention with some heads cut out"),
    ],
)
def test_config_makes_no_sense(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    expect(model_files.write_random(tmp_path, **changes), ValueError, message)


YARN = {"full_attention": {"rope_type": "yarn", "factor": 2.0}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_activation": "mish"}, "hidden_activation is 'mish', supported: gelu"),
        ({"hidden_activation": None}, "hidden_activation is None"),
        ({"classifier_activation": "mish"}, "classifier_activation is 'mish', supported: gelu"),
        ({"classifier_pooling": "max"}, "classifier_pooling is 'max', expected 'cls' or 'mean'"),
        ({"classifier_pooling": []}, r"classifier_pooling is \[\], expected 'cls' or 'mean'"),
        ({"norm_eps": "1e-5"}, "norm_eps is '1e-5', expected a number"),
        ({"num_attention_heads": 32}, "num_attention_heads 32 gives heads of 1, expected an even"),
        ({"local_attention": 0}, "local_attention is 0, expected a positive integer"),
        ({"local_attention": None}, "local_attention is None"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers is 0"),
        ({"layer_types": "full_attention"}, "layer_types is 'full_attention', expected a list"),
        ({"layer_types": [[], 3]}, r"layer_types is \[\[\], 3\], expected a list"),
        ({"layer_types": ["full_attention"]}, "layer_types names 1 layers, num_hidden_layers is 4"),
        ({"global_rope_theta": 0.5}, r"global_rope_theta is 0.5, expected a number in \[1, "),
        ({"local_rope_theta": "x"}, "local_rope_theta is 'x'"),
        ({"rope_scaling": {"factor": 2}}, "rope_scaling is {'factor': 2}, supported: null"),
        ({"rope_parameters": {"rope_theta": 1e4}}, "rope_parameters is .* expected an object with"),
        ({"rope_parameters": []}, r"rope_parameters is \[\], expected an object with"),
        ({"rope_parameters": {"full_attention": 3}}, "rope_parameters.full_attention is 3"),
        ({"rope_parameters": YARN}, "rope_parameters.full_attention is .* rope_type 'default'"),
        ({"attention_bias": 1}, "attention_bias is 1, expected true or false"),
        ({"mlp_bias": True}, "missing tensor 'layers.0.mlp.Wi.bias'"),
        ({"num_hidden_layers": 10**12}, "missing tensor 'layers.4.attn_norm.weight'"),
        ({"local_attention": 10**30, "num_hidden_layers": 3}, "tensor 'layers.3.* has no place"),
    ],
)
def test_modernbert_config_makes_no_sense(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    expect(model_files.write_random(tmp_path, "modernbert", **changes), ValueError, message)


@pytest.mark.parametrize("extra", [{}, {"architectures": ["BertForPreTraining"], "cell": {}}])
def test_a_config_of_2019_has_no_type(tmp_path: Path, extra: dict[str, Any]) -> None:
    old = {key: value for key, value in model_files.BERT.items() if key != "model_type"} | extra
    folder = model_files.write_folder(tmp_path / "old", old, bert_tensors())
    model = octavo.models.load(folder)
    known = octavo.models.load(model_files.write_random(tmp_path / "new"))
    np.testing.assert_array_equal(model([[2, 7, 5]]), known([[2, 7, 5]]))
    for _ in range(2):  # what was saved is known as a model, and may be replaced
        model.save(tmp_path / "saved")
    assert octavo.models.load(tmp_path / "saved").config.raw["model_type"] == "bert"
    for other in (
        {"type_vocab_size": 1},
        {"embedding_size": 8},
        {"architectures": ["AlbertModel"]},
    ):
        unknown = model_files.write_folder(tmp_path / "unknown", old | other, bert_tensors())
        expect(unknown, ValueError, "unknown model_type None; supported: bert")


def test_code_of_its_own_is_not_run(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path, auto_map={"AutoModel": "modeling.MyBert"})
    with pytest.warns(UserWarning, match=r"names code of its own \(auto_map\), which is not run"):
        octavo.models.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 64}, r"'embeddings.word_embeddings.weight' has shape \(100, 32\)"),
        ({"vocab_size": 10**15}, r"has shape \(100, 32\), config.json asks for \(1000000000000000"),
        (
            {"intermediate_size": 47},
            r"'encoder.layer.0.intermediate.dense.weight' has shape \(48, ",
        ),
        ({"max_position_embeddings": 512}, "'embeddings.position_embeddings.weight' has shape"),
        ({"type_vocab_size": 1}, "'embeddings.token_type_embeddings.weight' has shape"),
        ({"num_hidden_layers": 3}, r"missing tensor 'encoder.layer.2.attention.self.query.weight'"),
        ({"num_hidden_layers": 10**12}, "missing tensor 'encoder.layer.2"),
        ({"num_hidden_layers": 1}, "tensor 'encoder.layer.1.* has no place"),
    ],
)
def test_config_lies(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    expect(model_files.write_random(tmp_path, **changes), ValueError, message)


def test_missing_tensors(tmp_path: Path) -> None:
    for index, name in enumerate(bert_tensors()):
        if name.startswith("pooler.") and name.endswith("weight"):
            continue
        tensors = bert_tensors()
        del tensors[name]
        folder = model_files.write_folder(tmp_path / str(index), model_files.BERT, tensors)
        with pytest.raises(ValueError, match="missing tensor.*" + name.replace(".", r"\.")):
            octavo.models.load(folder)


def test_missing_pooler_is_fine(tmp_path: Path) -> None:
    tensors = {k: v for k, v in bert_tensors().items() if not k.startswith("pooler.")}
    model = octavo.models.load(model_files.write_folder(tmp_path, model_files.BERT, tensors))
    assert model.pooler is None


@pytest.mark.parametrize("shape", [(32,), (32, 31), (31, 32), (1, 32, 32), ()])
def test_wrong_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = bert_tensors() | {QUERY: np.zeros(shape, np.float32)}
    folder = model_files.write_folder(tmp_path, model_files.BERT, tensors)
    expect(folder, ValueError, f"'{QUERY}' has shape .*config.json asks for")


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_wrong_type(tmp_path: Path, dtype: str) -> None:
    tensors = bert_tensors() | {QUERY: np.zeros((32, 32), dtype)}
    folder = model_files.write_folder(tmp_path, model_files.BERT, tensors)
    expect(folder, ValueError, f"'{QUERY}' has type .* expected floats")


@pytest.mark.parametrize("kept", [0, 7, 100, 2000, -1])
def test_truncated_weights(tmp_path: Path, kept: int) -> None:
    path = model_files.write_random(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    expect(tmp_path, ValueError, "model.safetensors: not a valid safetensors file")


def shard(folder: Path) -> Path:
    """Split a model's weights over two files."""
    import safetensors.numpy

    model_files.write_random(folder)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for index, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{index}-of-00002.safetensors"
        safetensors.numpy.save_file({name: tensors[name] for name in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    write_index(folder, weight_map)
    return folder


def write_index(folder: Path, weight_map: Any) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def test_shards(tmp_path: Path) -> None:
    one = octavo.models.load(model_files.write_random(tmp_path / "one")).state_dict()
    two = octavo.models.load(shard(tmp_path / "two")).state_dict()
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_broken_index(tmp_path: Path) -> None:
    shard(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text(encoding="utf-8"))
    good = index["weight_map"]
    for bad in ("../model-00001-of-00002.safetensors", "/etc/passwd", "..", "", 7, None):
        write_index(tmp_path, good | {QUERY: bad})
        expect(tmp_path, ValueError, f"index.json: tensor '{QUERY}' is mapped to")
    write_index(tmp_path, good | {"extra": "model-00001-of-00002.safetensors"})
    expect(tmp_path, ValueError, "00001-of-00002.safetensors: missing tensor 'extra'")
    write_index(tmp_path, good | {QUERY: "gone.safetensors"})
    expect(tmp_path, FileNotFoundError, "gone.safetensors")
    write_index(tmp_path, [1])
    expect(tmp_path, ValueError, "no weight_map")


def test_names_of_the_first_bert(tmp_path: Path) -> None:
    def old(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    new_folder = model_files.write_random(tmp_path / "new")
    renamed = {old(name): value for name, value in bert_tensors().items()}
    old_folder = model_files.write_folder(tmp_path / "old", model_files.BERT, renamed, "bert.")
    ids, mask = model_files.batch()
    ours = octavo.models.load(old_folder)(ids, mask)
    np.testing.assert_array_equal(ours, octavo.models.load(new_folder)(ids, mask))


def test_stored_positions_are_passed_over(tmp_path: Path) -> None:
    extra = {"embeddings.position_ids": np.arange(24)[None]}
    folder = model_files.write_folder(tmp_path, model_files.BERT, bert_tensors() | extra)
    octavo.models.load(folder)


def test_weights_stay_in_the_file(tmp_path: Path) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path))
    weight = model.encoder.layer[0].attention.self.query.weight
    assert not weight.flags.owndata
    assert not weight.flags.writeable
