# SPDX-License-Identifier: Apache-2.0
"""What a decoder needs to know from a Hugging Face config.json, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from octavo._text import shown
from octavo.models import fields
from octavo.models.rope import FULL, SLIDING, Rope, fields_of_gemma, read_rope

_GEMMA_PATTERN = 6
_MOST_LAYERS = 1 << 14
_LARGEST_HEAD = 1040
"""Of a head whose keys and values are codes of 8 bits, products are exact up to there."""


class _ModelType(NamedTuple):
    """What a model type has that its config.json does not say."""

    family: str
    qkv_bias: bool | None = False  # None: the config says it
    output_bias: bool | None = False
    mlp_bias: bool | None = False
    qk_norm: bool = False
    joined: bool = False  # queries, keys and values in one layer, gate and other half in one
    window_switch: bool = False  # a window counts only with use_sliding_window
    windows: bool = True
    activation_key: str = "hidden_act"
    is_tied: bool = False  # where the config does not say
    is_gemma: bool = False


_TYPES = {
    "gemma3_text": _ModelType(
        "Gemma3",
        None,
        None,
        qk_norm=True,
        activation_key="hidden_activation",
        is_tied=True,
        is_gemma=True,
    ),
    "llama": _ModelType("Llama", None, None, None, windows=False),
    "mistral": _ModelType("Mistral"),
    "phi3": _ModelType("Phi3", joined=True),
    "qwen2": _ModelType("Qwen2", qkv_bias=True, window_switch=True),
    "qwen3": _ModelType("Qwen3", None, None, qk_norm=True, window_switch=True),
}
# Keys of other models, or of variants, that change results; and values with which they do not.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "alibi": (False,),
    "attention_multiplier": (),
    "attn_logit_softcapping": (),
    "clip_qkv": (),
    "embedding_multiplier": (1,),
    "final_logit_softcapping": (),
    "is_encoder_decoder": (False,),
    "logits_scaling": (1,),
    "n_routed_experts": (0,),
    "num_experts": (0,),
    "num_local_experts": (0,),
    "pruned_heads": ({},),
    "residual_multiplier": (1,),
    "use_bidirectional_attention": (False,),
    "use_mrope": (False,),
}


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and choices of a decoder of the LLaMA family.

    Attributes
    ----------
    model_type : str
        "gemma3_text", "llama", "mistral", "phi3", "qwen2" or "qwen3".
    architecture : str
        The class's name in transformers.
    heads, kv_heads, head_size : int
        Heads of queries, those of keys and values, which divide them, and values of each.
    activation : str
        Of the gate in the feed-forward part, by the name octavo's layers know.
    epsilon : float
        Of the norms.
    is_tied : bool
        Whether the table of tokens is the last layer's weight too.
    qkv_bias, output_bias, mlp_bias : bool
        Which layers have biases.
    qk_norm : bool
        Whether queries and keys are normalised, head by head.
    joined : bool
        Whether queries, keys and values are one layer, and so the two halves of a gate.
    windows : tuple of int or None
        How many tokens each layer's attention sees, the own one among them; None: all.
    ropes : tuple of Rope
        How positions turn queries and keys, of each layer.
    attention_scale : float
        What products of queries and keys are multiplied by.
    is_gemma : bool
        Whether tokens' vectors are multiplied by the root of their width, norms have weights that
        1 is added to, and what a part gives is normalised before it is added.
    end_ids : tuple of int
        Tokens that end a text.
    raw : dict
        The whole config.json, kept so that saving loses nothing.
    """

    model_type: str
    architecture: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate_size: int
    activation: str
    epsilon: float
    is_tied: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    joined: bool
    windows: tuple[int | None, ...]
    ropes: tuple[Rope, ...]
    attention_scale: float
    is_gemma: bool
    end_ids: tuple[int, ...]
    raw: dict[str, Any]
    prefix = task = ""

    @property
    def positions(self) -> int:
        """How many tokens a sequence may have."""
        return min(rope.positions for rope in self.ropes)


def is_decoder(raw: dict[str, Any]) -> bool:
    """Whether a config.json is that of a decoder, by its model type."""
    kind = raw.get("model_type")
    return isinstance(kind, str) and kind in _TYPES


def decoder_types() -> list[str]:
    """List the model types that are read."""
    return sorted(_TYPES)


def read_decoder_config(raw: dict[str, Any]) -> DecoderConfig:
    """Check the JSON object of a decoder's config.json.

    Parameters
    ----------
    raw : dict
        The parsed file.

    Returns
    -------
    DecoderConfig

    Raises
    ------
    ValueError
        For an unknown architecture, a missing or impossible field, or one that asks for what is
        not supported; the message names it.

    Examples
    --------
    >>> from octavo.models.decoder_config import read_decoder_config
    >>> config = read_decoder_config({
    ...     "model_type": "llama", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64,
    ...     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    ...     "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5})
    >>> config.architecture, config.head_size, config.positions
    ('LlamaForCausalLM', 8, 64)
    """
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in _TYPES:
        known = ", ".join(decoder_types())
        raise ValueError(f"config.json: unknown model_type {shown(model_type)}; supported: {known}")
    for key, neutral in _UNSUPPORTED.items():
        if raw.get(key) is not None and raw[key] not in neutral:
            raise ValueError(f"config.json: {key} is {shown(raw[key])}, which is not supported")
    kind = _TYPES[model_type]
    _check_architecture(raw, kind)
    layers, heads = (fields.size(raw, f"num_{key}") for key in ("hidden_layers", "attention_heads"))
    if layers > _MOST_LAYERS:
        raise fields.wrong("num_hidden_layers", layers, f"at most {_MOST_LAYERS}")
    hidden = fields.size(raw, "hidden_size")
    kv_heads = heads
    if raw.get("num_key_value_heads") is not None:
        kv_heads = fields.size(raw, "num_key_value_heads")
    if heads % kv_heads:
        raise fields.wrong("num_key_value_heads", kv_heads, f"a divisor of {heads}, all heads")
    head_size = _head_size(raw, hidden, heads)
    if head_size > _LARGEST_HEAD:
        raise ValueError(f"config.json: heads of {head_size}, expected at most {_LARGEST_HEAD}")
    windows = _windows(raw, layers, kind)
    by_kind = fields_of_gemma(raw) if kind.is_gemma else [raw, raw]
    ropes = [read_rope(given, head_size) for given in by_kind]
    return DecoderConfig(
        model_type=model_type,
        architecture=f"{kind.family}ForCausalLM",
        vocab_size=fields.size(raw, "vocab_size"),
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        intermediate_size=fields.size(raw, "intermediate_size"),
        activation=fields.activation(raw, kind.activation_key, "silu"),
        epsilon=fields.number(raw, "rms_norm_eps", 1e-6, 0, 1),
        is_tied=fields.flag({"tie_word_embeddings": kind.is_tied, **raw}, "tie_word_embeddings"),
        qkv_bias=_bias(raw, "attention_bias", kind.qkv_bias),
        output_bias=_bias(raw, "attention_bias", kind.output_bias),
        mlp_bias=_bias(raw, "mlp_bias", kind.mlp_bias),
        qk_norm=kind.qk_norm,
        joined=kind.joined,
        windows=windows,
        ropes=tuple(ropes[window is not None] for window in windows),
        attention_scale=_attention_scale(raw, kind, head_size),
        is_gemma=kind.is_gemma,
        end_ids=read_end_ids(raw, "config.json"),
        raw=raw,
    )


def read_end_ids(raw: dict[str, Any], file: str) -> tuple[int, ...]:
    """Return the ``eos_token_id`` of a config.json or generation_config.json: one, or several."""
    value = raw.get("eos_token_id")
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if any(isinstance(index, bool) or not isinstance(index, int) for index in ids):
        raise ValueError(f"{file}: eos_token_id is {shown(value)}, expected integers")
    return tuple(ids)


def _check_architecture(raw: dict[str, Any], kind: _ModelType) -> None:
    named = raw.get("architectures")
    expected = f"{kind.family}ForCausalLM"
    if isinstance(named, list) and named and named[0] != expected:
        raise ValueError(
            f"config.json: architectures is {shown(named[0])}, of the model type "
            f"{raw['model_type']!r} {expected!r} is supported"
        )


def _head_size(raw: dict[str, Any], hidden: int, heads: int) -> int:
    if raw.get("head_dim") is not None:
        return fields.size(raw, "head_dim")
    if hidden % heads:
        raise ValueError(
            f"config.json: hidden_size {hidden} is no multiple of num_attention_heads {heads}"
        )
    return hidden // heads


def _attention_scale(raw: dict[str, Any], kind: _ModelType, head_size: int) -> float:
    given = raw.get("query_pre_attn_scalar")
    if given is None:
        return float(1 / np.sqrt(head_size))
    if not kind.is_gemma:
        raise ValueError(
            f"config.json: query_pre_attn_scalar is {shown(given)}, which is not supported"
        )
    return float(1 / np.sqrt(fields.number(raw, "query_pre_attn_scalar", 0, 1e-6, 1e6)))


def _bias(raw: dict[str, Any], key: str, known: bool | None) -> bool:
    return fields.flag(raw, key) if known is None else known


def _windows(raw: dict[str, Any], layers: int, kind: _ModelType) -> tuple[int | None, ...]:
    """Return how many tokens each layer sees."""
    none: tuple[int | None, ...] = (None,) * layers
    is_off = kind.window_switch and not fields.flag(raw, "use_sliding_window")
    if not kind.windows or is_off or raw.get("sliding_window") is None:
        return none
    window = min(fields.size(raw, "sliding_window"), 1 << 30)  # more than any context
    types = raw.get("layer_types")
    if types is None and kind.is_gemma:
        every = fields.size(raw, "sliding_window_pattern", _GEMMA_PATTERN)
        types = [FULL if (index + 1) % every == 0 else SLIDING for index in range(layers)]
    elif types is None:
        first = 0
        if kind.window_switch:
            first = int(fields.number(raw, "max_window_layers", 28, 0, 1e9))
        types = [FULL if index < first else SLIDING for index in range(layers)]
    if not isinstance(types, list) or any(one not in (SLIDING, FULL) for one in types):
        raise fields.wrong("layer_types", types, f"a list of {SLIDING!r} and {FULL!r}")
    if len(types) != layers:
        raise ValueError(
            f"config.json: layer_types names {len(types)} layers, num_hidden_layers is {layers}"
        )
    return tuple(window if one == SLIDING else None for one in types)
