# SPDX-License-Identifier: Apache-2.0
"""The tensors of a decoder's GGUF file by transformers' names, rows in its order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from octavo._types import Array
from octavo.io.gguf import GgufFile
from octavo.io.header import TensorInfo

GEMMA = "gemma3"
_TURNED = {"llama"}
"""Whose rows of queries and keys stand in pairs, as llama.cpp turns them."""
_WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# What other names mean in some architectures.
_OTHER_PARTS = {
    GEMMA: {
        "ffn_norm": "pre_feedforward_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
}
FACTORS = "rope_freqs.weight"
LONGROPE = {"long_factor": "rope_factors_long.weight", "short_factor": "rope_factors_short.weight"}
"""Tensors of rotary factors, and what those of two kinds are in a config.json."""
_OF_ROPE = {FACTORS, *LONGROPE.values()}


class GgufTensors:
    """The tensors of a file by the names that transformers has for them, as float32 or packed."""

    def __init__(self, file: GgufFile, raw: Mapping[str, Any]) -> None:
        self.path, self._file = file.path, file
        kind = file.metadata["general.architecture"]
        parts = {**_PARTS, **_OTHER_PARTS.get(kind, {})}
        self._names = {_name_of(name, parts): name for name in file.tensors if name not in _OF_ROPE}
        # Files have the weights of Gemma's norms with the 1 that is added to them.
        self._offset = np.float32(kind == GEMMA)
        self.tensors = {
            name: TensorInfo("F32", file.tensors[own].shape, 0, 0)
            for name, own in self._names.items()
        }
        self._heads: dict[str, int] = {}
        if kind in _TURNED:
            heads = raw["num_attention_heads"]
            counts = {"q_proj": heads, "k_proj": raw.get("num_key_value_heads", heads)}
            for name, info in self.tensors.items():
                count = next((n for part, n in counts.items() if f".{part}." in name), 0)
                # What an adapter reads has no rows of heads.
                if count and info.shape[0] % (2 * count) == 0 and not name.endswith("lora_a"):
                    self._heads[name] = count

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def array(self, name: str, rows: tuple[int, int] | None = None) -> Array:
        """Return a tensor, or some of its rows, in the order of transformers."""
        found = self._in_order(name, rows, self._file.float32)
        return found - self._offset if found.ndim == 1 and self._offset else found

    def packed(self, name: str, rows: tuple[int, int]) -> Array:
        """Return some rows as the file has them, uint8, in the order of transformers."""
        return self._in_order(name, rows, self._file.packed)

    def stored(self, name: str) -> TensorInfo:
        """Return what the file says of a tensor: its type is llama.cpp's, such as "Q4_1"."""
        return self._file.tensors[self._names[name]]

    def digests(self) -> list[str]:
        """Return a digest of each part of the file."""
        return self._file.digests()

    def _in_order(
        self, name: str, rows: tuple[int, int] | None, read: Callable[..., Array]
    ) -> Array:
        heads, own = self._heads.get(name), self._names[name]
        if heads is None:
            return read(own, rows=rows)
        count = self.tensors[name].shape[0]
        start, stop, _ = slice(*(rows or (None, None))).indices(count)
        size = max(1, count // heads)
        first, last = start // size * size, -(-stop // size) * size
        found = read(own, rows=(first, min(last, count)))
        # Rows 2 i and 2 i + 1 of a head are a pair there, i and i + size / 2 here.
        pairs = found.reshape(-1, size // 2, 2, *found.shape[1:])
        halves = pairs.swapaxes(1, 2).reshape(found.shape)
        return np.ascontiguousarray(halves[start - first : stop - first])


def _name_of(name: str, parts: Mapping[str, str]) -> str:
    """Return transformers' name of a tensor; one that is not known keeps its own."""
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(.+)", name)
    if block is None:
        head, _, kind = name.partition(".")
        return f"{_WHOLE[head]}.{kind}" if head in _WHOLE else name
    part = parts.get(block[2])
    return name if part is None else f"model.layers.{block[1]}.{part}.{block[3]}"
