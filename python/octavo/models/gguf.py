# SPDX-License-Identifier: Apache-2.0
"""A GGUF file as a decoder's folder would be: its config.json, tensors and side files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from octavo._text import shown
from octavo.io.gguf import GgufFile, open_gguf, tokenizer_files
from octavo.models.gguf_tensors import FACTORS, GEMMA, LONGROPE, GgufTensors
from octavo.models.rope import read_rope

SUFFIX = ".gguf"
_ARCHITECTURES = {
    GEMMA: "Gemma3",
    "llama": "Llama",
    "phi3": "Phi3",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
}
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "num_attention_heads": "attention.head_count",
    "num_hidden_layers": "block_count",
}
_OPTIONS = {
    "head_dim": "attention.key_length",
    "num_key_value_heads": "attention.head_count_kv",
    "sliding_window": "attention.sliding_window",
}
# Keys that would change results.
_UNSUPPORTED = (
    "attention.scale",
    "attn_logit_softcapping",
    "expert_count",
    "final_logit_softcapping",
    "logit_scale",
    "residual_scale",
    "rope.scaling.yarn_log_multiplier",
)
_VOCABULARY = "tokenizer.ggml."
_LAYERS_OF_27B = 62
_ORIGINAL = "original_max_position_embeddings"
# How LLaMA 3 tells its factors; files have what comes of them.
_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_POSITIONS = 8192


class GgufModel(NamedTuple):
    """What a model is made of: the fields of a config.json, tensors, and side files."""

    raw: dict[str, Any]
    tensors: GgufTensors
    files: dict[str, bytes]


def is_gguf(path: Any) -> bool:
    """Whether a path is that of a GGUF file, by its name."""
    return Path(path).suffix == SUFFIX


def read_gguf(path: Path) -> GgufModel:
    """Open a GGUF file of a decoder.

    Raises
    ------
    ValueError
        If its architecture is not supported, or a key is missing or wrong: the message names it.
    """
    file = open_gguf(path)
    keys, files = _Keys(file), tokenizer_files(file)
    raw = _config(keys, file)
    return GgufModel(raw, GgufTensors(file, raw), files)


class _Keys:
    """The values of a file's keys, those of its architecture without its name."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        kind = file.metadata.get("general.architecture")
        if not isinstance(kind, str) or kind not in _ARCHITECTURES:
            known = ", ".join(_ARCHITECTURES)
            raise ValueError(
                f"{file.path}: key 'general.architecture' is {shown(kind)}, supported: {known}"
            )
        if file.metadata.get("general.type") == "adapter":
            raise ValueError(f"{file.path}: a LoRA adapter; load its base and use load_adapter")
        self.architecture = kind
        for key in _UNSUPPORTED:
            if self.number(key):
                self._fail(key, "which is not supported")

    def get(self, key: str, default: Any = None) -> Any:
        return self._file.metadata.get(f"{self.architecture}.{key}", default)

    def number(self, key: str, default: Any = None) -> Any:
        """Return a number; it is checked by whoever knows the field of a config.json."""
        value = self.get(key, default)
        if isinstance(value, (list, np.ndarray)):
            self._fail(key, "a value for each layer, expected one")
        if isinstance(value, (bool, str)):
            self._fail(key, "expected a number")
        return value

    def require(self, key: str) -> Any:
        """Return a number that has to be there."""
        value = self.number(key)
        if value is None:
            raise ValueError(f"{self._file.path}: no key '{self.architecture}.{key}'")
        return value

    def _fail(self, key: str, why: str) -> NoReturn:
        raise ValueError(
            f"{self._file.path}: key '{self.architecture}.{key}' is {shown(self.get(key))}, {why}"
        )


def _config(keys: _Keys, file: GgufFile) -> dict[str, Any]:
    """Return the fields that a config.json of the model would have; its vocabulary is checked."""
    of_tokenizer = {
        key.removeprefix(_VOCABULARY): value
        for key, value in file.metadata.items()
        if key.startswith(_VOCABULARY)
    }
    ends = {of_tokenizer.get(f"{name}_token_id") for name in ("eos", "eot", "eom")} - {None}
    raw: dict[str, Any] = {
        "model_type": keys.architecture,
        "architectures": [f"{_ARCHITECTURES[keys.architecture]}ForCausalLM"],
        "vocab_size": len(of_tokenizer["tokens"]),
        "hidden_act": "silu",
        "rms_norm_eps": float(keys.require("attention.layer_norm_rms_epsilon")),
        "tie_word_embeddings": "output.weight" not in file,
        "attention_bias": "blk.0.attn_q.bias" in file and keys.architecture != "qwen2",
        "bos_token_id": of_tokenizer.get("bos_token_id"),
        "eos_token_id": sorted(ends),
    }
    raw |= {name: keys.require(key) for name, key in _SIZES.items()}
    options = {name: keys.number(key) for name, key in _OPTIONS.items()}
    raw |= {name: value for name, value in options.items() if value is not None}
    raw["use_sliding_window"] = "sliding_window" in raw
    raw["max_window_layers"] = 0
    width = raw.get("head_dim", _head_size(raw))
    raw["rope_parameters"] = rope = _rope(keys, file, raw, width)
    if rope["rope_type"] == "longrope":
        # Where Phi-3's config.json has it.
        raw[_ORIGINAL] = rope.pop(_ORIGINAL)
    return raw if keys.architecture != GEMMA else _as_gemma(keys, raw, width)


def _as_gemma(keys: _Keys, raw: dict[str, Any], width: int) -> dict[str, Any]:
    """Return the fields of a Gemma 3, of which files leave some to the reader."""
    queries = width
    if raw["num_hidden_layers"] == _LAYERS_OF_27B:
        queries = _head_size(raw)
    theta = float(keys.number("rope.freq_base_swa", 10_000.0))
    local = {"rope_type": "default", "rope_theta": theta}
    given = {"full_attention": raw["rope_parameters"], "sliding_attention": local}
    return {
        **raw,
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": queries,
        "rope_parameters": given,
    }


def _head_size(raw: dict[str, Any]) -> Any:
    return raw["hidden_size"] // max(1, raw["num_attention_heads"])


def _rope(keys: _Keys, file: GgufFile, raw: dict[str, Any], width: int) -> dict[str, Any]:
    # Without a type, a factor is that of linear scaling, which older files had under another key.
    kind = keys.get("rope.scaling.type", "linear")
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear"))
    given: dict[str, Any] = {
        "rope_type": kind,
        "rope_theta": float(keys.number("rope.freq_base", 10_000.0)),
    }
    turned = keys.number("rope.dimension_count", width)
    if turned != width:
        given["partial_rotary_factor"] = turned / max(1, width)
    if all(name in file for name in LONGROPE.values()):
        given |= {key: file.float32(name).tolist() for key, name in LONGROPE.items()}
        given["rope_type"] = "longrope"
        if keys.number("rope.scaling.attn_factor") is not None:
            given["attention_factor"] = float(keys.number("rope.scaling.attn_factor"))
    elif kind == "none" or (kind == "linear" and not factor):
        given["rope_type"] = "default"
    else:
        given["factor"] = factor or keys.require("rope.scaling.factor")
    if given["rope_type"] in ("longrope", "yarn"):
        given[_ORIGINAL] = keys.require("rope.scaling.original_context_length")
    if FACTORS not in file:
        return given
    return _by_factors(file, raw, given, width)


def _by_factors(
    file: GgufFile, raw: dict[str, Any], plain: dict[str, Any], width: int
) -> dict[str, Any]:
    """Return the fields of LLaMA 3 that give the divisors of frequencies that a file has."""
    divisors = file.float32(FACTORS)
    given = {
        **plain,
        **_LLAMA3,
        "factor": float(divisors.max()),
        _ORIGINAL: _LLAMA3_POSITIONS,
    }
    frequencies = [
        np.array(read_rope({**raw, "rope_parameters": fields}, width).frequencies)
        for fields in (plain, given)
    ]
    is_llama3 = divisors.shape == frequencies[0].shape and np.allclose(
        frequencies[0] / divisors, frequencies[1], rtol=1e-5, atol=0
    )
    if plain["rope_type"] != "default" or not is_llama3:
        raise ValueError(
            f"{file.path}: tensor {FACTORS!r} has other divisors than those of LLaMA 3, which are"
            " not supported"
        )
    return given
