# SPDX-License-Identifier: Apache-2.0
"""Targets that hold weights: tensor files, checkpoint folders, models, adapters.

What they mean is read a second time by the `safetensors` package, and by definitions written down
one bit at a time.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import zstandard

from fuzz.engine import Target, Unknown
from fuzz.mutate import Files, change_files, join_tensors
from octavo import compress, lora, models, nn
from octavo.io import Checkpoint, TensorFile, TensorPlan, write_tensor_file
from octavo.io.bitmap import pack_bitmap
from octavo.io.codebook import pack_indices
from octavo.io.header import DTYPES
from octavo.models.config import read_config
from octavo.models.loader import build

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 9,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 6,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
_FROM_PADDING = {"pad_token_id": 1, "max_position_embeddings": 8}
CONFIGS: tuple[dict[str, Any], ...] = (
    BERT,
    {
        "model_type": "modernbert",
        "architectures": ["XForSequenceClassification"],
        "hidden_activation": "gelu",
        "num_hidden_layers": 2,
        "local_attention": 2,
        "norm_bias": True,
    },
    {
        "model_type": "distilbert",
        "dim": 8,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 12,
        "activation": "gelu",
    },
    {"model_type": "camembert", "architectures": ["XForTokenClassification"]} | _FROM_PADDING,
    {"model_type": "electra", "architectures": ["XForQuestionAnswering"], "embedding_size": 4},
    {"model_type": "mpnet", "architectures": ["XForSequenceClassification"]} | _FROM_PADDING,
    {"model_type": "roberta"} | _FROM_PADDING,
    {"model_type": "xlm-roberta"} | _FROM_PADDING,
)
_RECIPES: tuple[Any, ...] = (
    *("int8", "2:4-int8", "sparse50-int8", "fp16", "bf16"),
    {"quantize": "int4"},
    {"quantize": {"dtype": "int8"}, "share": {"clusters": 4}},
    {"quantize": {"dtype": "int8"}, "share": {"clusters": 4}, "store": "zstd"},
)
IDS = np.array([[1, 4, 2], [3, 3, 0]])


class RandomLayers:
    """Where a very small model's constructor gets its layers from."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def _values(self, *shape: int) -> Array:
        return self._rng.standard_normal(shape).astype(np.float32)

    def has(self, _: str) -> bool:
        """Yes."""
        return True

    def linear(
        self, _: str, outputs: int, inputs: int, activation: str = "none", *, has_bias: bool = True
    ) -> nn.Linear:
        """Return a float layer."""
        bias = self._values(outputs) if has_bias else None
        return nn.FloatLinear(self._values(outputs, inputs), bias, activation=activation)

    def embedding(self, _: str, rows: int, columns: int) -> nn.Embedding:
        """Return a float table."""
        return nn.FloatEmbedding(self._values(rows, columns))

    def layer_norm(
        self, _: str, size: int, epsilon: float, *, has_bias: bool = True
    ) -> nn.LayerNorm:
        """Return a norm."""
        bias = self._values(size) if has_bias else None
        return nn.LayerNorm(self._values(size), bias, epsilon)


def packed_file(place: Path, name: str, tensors: Arrays) -> bytes:
    """Return what the package writes for some tensors."""
    plans = [TensorPlan(key, v.dtype, v.shape, partial(np.array, v)) for key, v in tensors.items()]
    write_tensor_file(place / name, plans)
    return (place / name).read_bytes()


def files_of(folder: Path) -> Files:
    """Return the files of a folder that was saved."""
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    shutil.rmtree(folder)
    return found


def independent(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return type, shape and bytes of each tensor, as the `safetensors` package has them.

    It refuses files with a tensor of a type that it does not know; octavo lets that one be.
    """
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        if "unknown variant" in str(error):
            raise Unknown from None
        raise
    return {
        name: (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for name, info in tensors
    }


def array_of(kind: str, shape: tuple[int, ...], data: bytes) -> Array:
    """Return a tensor that the `safetensors` package read, as NumPy has it."""
    return np.frombuffer(data, DTYPES[kind]).reshape(shape)


def same(found: Array, expected: Array, name: str) -> None:
    """Compare bits."""
    assert found.dtype == expected.dtype, f"{name}: {found.dtype}, expected {expected.dtype}"
    assert found.shape == expected.shape, f"{name}: {found.shape}, expected {expected.shape}"
    assert found.tobytes() == expected.tobytes(), f"{name}: other values"


def _tensor_seeds(place: Path) -> list[Files]:
    kinds = ("f4", "f2", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")
    tensors = {f"x.{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    tensors |= {"empty": np.zeros((0, 4), np.float32), "scalar": np.float32(3).reshape(())}
    plain = packed_file(place, "x.safetensors", tensors)
    bfloat = join_tensors([("b", "BF16", [2], b"abcd")], {"format": "pt"})
    return [{"x.safetensors": plain}, {"x.safetensors": bfloat}]


def _read_tensors(place: Path, name: str) -> Arrays:
    file = TensorFile(place / name)
    return {key: np.array(file.array(key)) for key in file}


def _check_tensors(content: bytes, found: Arrays) -> None:
    expected = independent(content)
    assert set(found) == set(expected), f"tensors {sorted(found)}, expected {sorted(expected)}"
    for name, array in found.items():
        same(array, array_of(*expected[name]), name)


def _decompressed(path: Path) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(
        path.read_bytes(), read_across_frames=True
    ) as stream:
        return stream.read()


def _zst_seeds(place: Path) -> list[Files]:
    tensors = {"a": np.zeros((3, 5), np.int8), "b": np.arange(40, dtype=np.float32)}
    return [{"x.safetensors.zst": packed_file(place, "x.safetensors.zst", tensors)}]


_SHARDS = ("a.safetensors", "b.safetensors")
_INDEX = "model.safetensors.index.json"


def _folder_seeds(place: Path) -> list[Files]:
    codes = np.array([[0, 5, 0, -7, 0, 0, 0, 0, 127], [0, 0, 1, 0, 0, 0, 0, 0, 0]], np.int8)
    bitmap, values = pack_bitmap(codes)
    shape = np.array(codes.shape, np.int64)
    own = {"p.weight_shape": shape, "p.weight_bitmap": bitmap, "p.weight_values": values}
    retired = {
        "r.shape": shape,
        "r.bitmask": bitmap,
        "r.compressed": values.astype(np.float32),
        "r.row_offsets": np.array([0, 3]),
    }
    book = np.unique(codes)
    shared = {
        "s.weight_shape": shape,
        "s.weight_codebook": book,
        "s.weight_indices": pack_indices(codes, book),
    }
    parts = (
        {"x": np.ones(3, np.float32), **own},
        {"y": np.ones((2, 2), np.int8), **retired, **shared},
    )
    shards = {
        name: packed_file(place, name, part) for name, part in zip(_SHARDS, parts, strict=True)
    }
    where = {key: name for name, part in zip(_SHARDS, parts, strict=True) for key in part}
    index = json.dumps({"metadata": {"total_size": 9}, "weight_map": where}).encode()
    whole = packed_file(place, "model.safetensors", {**parts[0], **parts[1]})
    return [{_INDEX: index, **shards}, {"model.safetensors": whole}]


def _read_folder(place: Path) -> Arrays:
    checkpoint = Checkpoint(place)
    return {name: np.array(checkpoint.raw(name)) for name in checkpoint}


def _dense(kept: Array, values: Array, shape: list[int]) -> Array:
    bits = np.unpackbits(kept.reshape(-1, kept.shape[-1]), axis=1, bitorder="little")
    whole = np.zeros(shape, values.dtype)
    whole.reshape(-1)[np.flatnonzero(bits[:, : shape[-1]])] = values
    return whole


def _from_codebook(book: Array, packed: Array, shape: list[int]) -> Array:
    width = max(1, (len(book) - 1).bit_length())
    stream = np.unpackbits(packed, bitorder="little")[: shape[0] * shape[1] * width]
    index = stream.reshape(-1, width) @ (1 << np.arange(width))
    found: Array = book[index].reshape(shape)
    return found


def _check_folder(place: Path, found: Arrays) -> None:
    if (place / "model.safetensors").is_file():
        tensors = independent((place / "model.safetensors").read_bytes())
    else:
        where = json.loads((place / _INDEX).read_bytes())["weight_map"]
        shards = {name: independent((place / name).read_bytes()) for name in set(where.values())}
        tensors = {name: shards[shard][name] for name, shard in where.items()}
    arrays = {name: array_of(*tensor) for name, tensor in tensors.items()}
    for name, array in found.items():
        if name in arrays:
            same(array, arrays[name], name)
            continue
        base = name.removesuffix(".weight")
        if f"{name}_codebook" in arrays:
            parts = (arrays[f"{name}_codebook"], arrays[f"{name}_indices"])
            same(array, _from_codebook(*parts, arrays[f"{name}_shape"].tolist()), name)
        elif f"{name}_bitmap" in arrays:
            parts = (arrays[f"{name}_bitmap"], arrays[f"{name}_values"])
            same(array, _dense(*parts, arrays[f"{name}_shape"].tolist()), name)
        else:
            base = name if f"{name}.bitmask" in arrays else base
            parts = (arrays[f"{base}.bitmask"], arrays[f"{base}.compressed"])
            same(array, _dense(*parts, arrays[f"{base}.shape"].tolist()), name)


def _model_seeds(place: Path) -> list[Files]:
    seeds = []
    beside = {
        "modules.json": b'[{"idx": 0, "name": "0", "path": "", "type": "x.Transformer"}]',
        "vocab.txt": b"[PAD]\n[UNK]\na\n",
    }
    static = {"quantize": {"activations": "static"}}
    saved = place / "saved"
    for index, config in enumerate(CONFIGS):
        model = build(read_config({**BERT, **config}), RandomLayers())
        model.save(saved)
        seeds.append({**files_of(saved), **beside})
        # All recipes for two of them: what they write does not depend on names.
        for recipe in _RECIPES if index < 2 else _RECIPES[:1]:
            compress(model, recipe).save(saved)
            seeds.append(files_of(saved))
        compress(model, static, calibration=[{"input_ids": IDS}]).save(saved)
        seeds.append(files_of(saved))
    return seeds


def _read_model(place: Path) -> models.Encoder:
    return models.load(place)


def _check_model(place: Path, model: models.Encoder) -> None:
    """Save it and read it again: the same files, the same results; what is kept is kept."""
    ids = IDS[:, : model.config.positions] % model.config.vocab_size
    saved = place / "saved"
    check_saved(model, ids, model(ids), saved)
    source, result = _read_folder(place), _read_folder(saved)
    for name, array in result.items():
        there = source.get(name, np.zeros(0))
        # A scale of the whole tensor becomes one of each row; what fills up the last word of 4-bit
        # codes may be anything.
        if (there.size, there.dtype) == (array.size, array.dtype) and not name.endswith("_packed"):
            same(array, there.reshape(array.shape), name)


def check_saved(model: Any, ids: Array, expected: Array, saved: Path) -> None:
    """Save a model and what is read of it: the same result, the same weights."""
    model.save(saved)
    again = models.load(saved)
    same(again(ids), expected, "output")
    first = load_weights(saved)
    again.save(saved)
    assert load_weights(saved) == first, "saved again: other files"


def load_weights(folder: Path) -> bytes:
    """Return a model's tensor file, decompressed."""
    plain = folder / "model.safetensors"
    return (
        plain.read_bytes() if plain.is_file() else _decompressed(folder / "model.safetensors.zst")
    )


def _adapter_seeds(place: Path) -> list[Files]:
    ones = np.ones((2, 8), np.float32)
    pair = lora.LowRank(ones, ones.T.copy(), 2.0)
    config = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["query"],
        "rank_pattern": {"key": 2},
        "alpha_pattern": {"encoder.*query": 4},
        "modules_to_save": ["classifier"],
        "bias": "none",
    }
    head = {"classifier": {"weight": ones, "bias": ones[:, 0].copy()}}
    layers = {f"encoder.layer.0.attention.self.{name}": pair for name in ("query", "key")}
    seeds = []
    for dtype in ("float32", "float16"):
        lora.Adapter(config, layers, head).save(place / "adapter", dtype)
        seeds.append(files_of(place / "adapter"))
    return seeds


def _check_adapter(place: Path, adapter: lora.Adapter) -> None:
    content = (place / "adapter_model.safetensors").read_bytes()
    known = {name: tensor for name, tensor in independent(content).items() if tensor[0] != "BF16"}
    for name, side in adapter.layers.items():
        for key, value in (("lora_A.weight", side.a), ("lora_B.weight", side.b)):
            full = f"base_model.model.{name}.{key}"
            if full in known:
                same(value, array_of(*known[full]).astype(np.float32), full)
    saved = place / "saved"
    adapter.save(saved)
    again = lora.Adapter.load(saved)
    assert again.config == adapter.config
    assert again.layers.keys() == adapter.layers.keys()
    for name, side in adapter.layers.items():
        assert again.layers[name].scale == side.scale, name
        same(again.layers[name].a, side.a, name)


TARGETS = (
    Target(
        "tensors",
        _tensor_seeds,
        change_files,
        lambda place: _read_tensors(place, "x.safetensors"),
        lambda place, found: _check_tensors((place / "x.safetensors").read_bytes(), found),
    ),
    Target(
        "zst",
        _zst_seeds,
        change_files,
        lambda place: _read_tensors(place, "x.safetensors.zst"),
        lambda place, found: _check_tensors(_decompressed(place / "x.safetensors.zst"), found),
    ),
    Target("checkpoint", _folder_seeds, change_files, _read_folder, _check_folder),
    Target("model", _model_seeds, change_files, _read_model, _check_model),
    Target("adapter", _adapter_seeds, change_files, lora.Adapter.load, _check_adapter),
)
