# SPDX-License-Identifier: Apache-2.0
"""The target of decoders' folders, and of files of keys and values beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.engine import Target
from fuzz.mutate import Files, change_files
from fuzz.weights import RandomLayers, check_saved, files_of, same
from octavo import compress, models, nn
from octavo.models.decoder_config import read_decoder_config

if TYPE_CHECKING:
    from pathlib import Path

_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 9,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_YARN = {"rope_type": "yarn", "beta_fast": 8, "mscale": 0.7, "mscale_all_dim": 1.3}
_FACTORS = {"rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 8}
_LONGROPE = {"rope_type": "longrope", "long_factor": [1.5, 4.0], "short_factor": [1.0, 1.0]}
_CONFIGS: tuple[dict[str, Any], ...] = (
    {"rope_parameters": {**_FACTORS, **_LLAMA3}},
    {"attention_bias": True, "mlp_bias": True, "rope_parameters": {**_FACTORS, **_YARN}},
    {"model_type": "gemma3_text", "sliding_window": 2, "hidden_activation": "gelu_pytorch_tanh"},
    {"model_type": "phi3", "rope_parameters": _LONGROPE, "sliding_window": 3}
    | {"original_max_position_embeddings": 8, "tie_word_embeddings": False},
    {"model_type": "qwen2", "rope_scaling": {"type": "linear", "factor": 2.0}},
    {"model_type": "qwen3", "head_dim": 6, "use_sliding_window": True, "sliding_window": 2},
)
_IDS = np.array([1, 4, 2, 8, 0])
_CACHE = "text.cache"
_TOKENS = 3


class RandomDecoderLayers(RandomLayers):
    """Where a very small decoder gets its layers from."""

    def rms_norm(self, _: str, size: int, epsilon: float, offset: float = 0.0) -> nn.RMSNorm:
        """Return a norm."""
        return nn.RMSNorm(self._values(size) + np.float32(offset), epsilon)


def _seeds(place: Path) -> list[Files]:
    seeds, saved = [], place / "saved"
    for config in _CONFIGS:
        model = models.Decoder(read_decoder_config({**_LLAMA, **config}), RandomDecoderLayers())
        model.save(saved)
        seeds.append(files_of(saved))
    compress(model, "int8").save(saved)
    small = models.load(saved)
    for precision in ("int8", "float32"):
        cache = models.Cache(small, precision)
        small(_IDS[:_TOKENS], cache)
        cache.save(place / _CACHE)
        files = {path.name: path.read_bytes() for path in saved.iterdir()}
        seeds.append({**files, _CACHE: (place / _CACHE).read_bytes()})
    files_of(saved)
    return seeds


def _read(place: Path) -> tuple[models.Decoder, models.Cache]:
    model = models.load(place)
    if not isinstance(model, models.Decoder):
        raise ValueError("another model")
    if (place / _CACHE).is_file():
        return model, models.Cache.load(place / _CACHE, model)
    return model, models.Cache(model)


def _check(place: Path, found: tuple[models.Decoder, models.Cache]) -> None:
    """Save both and read them again: the same results; and so cut in two."""
    model, cache = found
    room = model.config.positions
    ids = _IDS[:room] % model.config.vocab_size
    expected = model(ids)
    check_saved(model, ids, expected, place / "saved")
    pieces = models.Cache(model)
    parts = [model(part, pieces) for part in np.split(ids, [len(ids) // 2])]
    if model.model.layers[0].mlp.down_proj.kind == "int8":
        same(np.concatenate(parts), expected, "output of two parts")
    if len(cache) < room:
        cache.save(place / _CACHE)
        kept = models.Cache.load(place / _CACHE, model)
        same(model([0], kept), model([0], cache), "output behind the cache")


TARGET = Target("decoder", _seeds, change_files, _read, _check)
