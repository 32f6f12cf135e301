# SPDX-License-Identifier: Apache-2.0
"""The target of decoders in GGUF files: weights of every type, as they run."""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.engine import Target
from fuzz.gguf import change_keys, changed_tensors
from fuzz.mutate import LARGEST, Files, change_bytes
from fuzz.weights import check_saved, same
from octavo import models, nn
from octavo.io.gguf.formats import FORMATS, LAYOUTS
from octavo.io.gguf.groups import GROUPED
from octavo.io.gguf.regroup import ROUNDED
from octavo.models.gguf import read_gguf
from octavo.models.loader import load_with
from tests.support.gguf_files import Stored, float_tensor, gguf_bytes, random_tensor

if TYPE_CHECKING:
    import random
    from pathlib import Path

_NAME = "x.gguf"
_WIDE, _LAYERS = 256, 4
_ONE_IN = 16
_SHAPES = {
    "attn_q": (32, 32),
    "attn_k": (16, 32),
    "attn_v": (16, 32),
    "attn_output": (32, 32),
    "ffn_gate": (_WIDE, 32),
    "ffn_up": (_WIDE, 32),
    "ffn_down": (32, _WIDE),
}
_IDS = np.array([1, 4, 2, 8, 0])
_READ = {kind.name: kind for kind in FORMATS.values() if kind.name in LAYOUTS}


def _fitting(shape: tuple[int, ...]) -> list[str]:
    """Return the types whose blocks fill the rows of a matrix."""
    return [name for name, kind in _READ.items() if shape[-1] % kind.values == 0]


@cache
def _tensors() -> tuple[Stored, ...]:
    rng, found = np.random.default_rng(0), []

    def take(name: str, shape: tuple[int, ...], index: int) -> None:
        kinds = [name for name in _fitting(shape) if _READ[name].values == min(256, shape[-1])]
        found.append(random_tensor(name, shape, kinds[index % len(kinds)], rng))

    take("token_embd.weight", (40, 32), 4)
    for index in range(_LAYERS):
        for place, (part, shape) in enumerate(_SHAPES.items()):
            take(f"blk.{index}.{part}.weight", shape, len(_SHAPES) * index + place)
    norms = [f"blk.{n}.{part}" for n in range(_LAYERS) for part in ("attn_norm", "ffn_norm")]
    ones = np.ones(32, np.float32)
    return (*found, *(float_tensor(f"{name}.weight", ones) for name in (*norms, "output_norm")))


def _keys() -> dict[str, Any]:
    sizes = {"embedding_length": 32, "feed_forward_length": _WIDE, "context_length": 16}
    sizes |= {"attention.head_count": 4, "attention.head_count_kv": 2, "block_count": _LAYERS}
    return {
        "general.architecture": "llama",
        **{f"llama.{key}": value for key, value in sizes.items()},
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [f"t{index}" for index in range(40)],
        "tokenizer.ggml.merges": [],
    }


def _seeds(_: Path) -> list[Files]:
    return [{_NAME: gguf_bytes(_keys(), _tensors())}]


def _change(rng: random.Random, files: Files) -> Files:
    if rng.random() < 0.3:
        return {_NAME: change_bytes(rng, files[_NAME])[:LARGEST]}
    keys, tensors = _keys(), _tensors()
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.random()
        if kind < 0.15:
            change_keys(rng, keys)
        elif kind < 0.55:
            tensors = changed_tensors(rng, tensors)
        else:
            tensors = _with_another_type(rng, tensors)
    return {_NAME: gguf_bytes(keys, tensors)[:LARGEST]}


def _with_another_type(rng: random.Random, tensors: tuple[Stored, ...]) -> tuple[Stored, ...]:
    at = rng.randrange(len(tensors))
    old, seed = tensors[at], rng.randrange(1 << 32)
    shape = old.dims[::-1]
    if len(shape) != 2 or not 0 < np.prod(shape) <= 32 * _WIDE or not (kinds := _fitting(shape)):
        return tensors
    scale = rng.choice((1e-8, 1e-3, 1e-2, 1.0, 1e4))
    new = random_tensor(old.name, shape, rng.choice(kinds), np.random.default_rng(seed), scale)
    return (*tensors[:at], new, *tensors[at + 1 :])


def _read(place: Path) -> models.Decoder:
    model: models.Decoder = models.load(place / _NAME)
    return model


def _check(place: Path, model: models.Decoder) -> None:
    """The same values as in float32, where nothing had to be rounded; and so saved."""
    rounded = {one.type for one in model.rounded}
    tensors = read_gguf(place / _NAME).tensors
    assert rounded & {*ROUNDED} == {tensors.stored(name).dtype for name in tensors} & {*ROUNDED}
    exact = load_with(place / _NAME, None)
    for name, layer in exact.named_modules():
        if nn.is_linear(layer) or nn.is_embedding(layer):
            weight: Any = model.get_submodule(name)
            held, values = weight.held_weight.dequantized(), layer.held_weight.dequantized()
            assert np.isfinite(held).all(), name
            if tensors.stored(f"{name}.weight").dtype in set(GROUPED) - set(ROUNDED):
                assert np.array_equal(held, values), name
    room = model.config.positions
    ids = _IDS[:room] % model.config.vocab_size
    expected, pieces = model(ids), models.Cache(model)
    parts = [model(part, pieces) for part in np.split(ids, [len(ids) // 2])]
    same(np.concatenate(parts), expected, "output of two parts")
    if zlib.crc32((place / _NAME).read_bytes()) % _ONE_IN == 0:  # it takes longer than all else
        check_saved(model, ids, expected, place / "saved")


TARGET = Target("gguf-model", _seeds, _change, _read, _check)
