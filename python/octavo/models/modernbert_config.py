# SPDX-License-Identifier: Apache-2.0
"""What the config.json of a ModernBERT says that no other has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from octavo._text import shown
from octavo.models import fields

_LOCAL, _GLOBAL = "sliding_attention", "full_attention"
# What transformers takes where a config.json says nothing.
_THETAS = {_GLOBAL: 160_000.0, _LOCAL: 10_000.0}
_WINDOW = 128
_GLOBAL_EVERY = 3
# A smaller base would give angles beyond the range in which they are computed.
_LEAST_THETA, _MOST_THETA = 1.0, 1e30


@dataclass(frozen=True)
class ModernBertChoices:
    """Choices of a ModernBERT beside its sizes.

    Attributes
    ----------
    reaches : tuple of (int or None)
        How far a token sees to either side, by layer; None: everything.
    thetas : tuple of float
        The base of the rotary frequencies, by layer.
    attention_bias, mlp_bias, norm_bias, classifier_bias : bool
        Which layers have biases.
    classifier_activation : str
        Before the head's norm, by octavo's name.
    classifier_pooling : str
        "cls" or "mean".
    """

    reaches: tuple[int | None, ...]
    thetas: tuple[float, ...]
    attention_bias: bool
    mlp_bias: bool
    norm_bias: bool
    classifier_bias: bool
    classifier_activation: str
    classifier_pooling: str


def read_choices(raw: dict[str, Any], layers: int) -> ModernBertChoices:
    """Check the fields of a config.json, as transformers 4 or 5 writes it."""
    pooling = raw.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise fields.wrong("classifier_pooling", pooling, "'cls' or 'mean'")
    types = _layer_types(raw, layers)
    thetas = _thetas(raw)
    reach = fields.size(raw, "local_attention", _WINDOW) // 2
    return ModernBertChoices(
        reaches=tuple(reach if kind == _LOCAL else None for kind in types),
        thetas=tuple(thetas[kind] for kind in types),
        attention_bias=fields.flag(raw, "attention_bias"),
        mlp_bias=fields.flag(raw, "mlp_bias"),
        norm_bias=fields.flag(raw, "norm_bias"),
        classifier_bias=fields.flag(raw, "classifier_bias"),
        classifier_activation=fields.activation(raw, "classifier_activation", "gelu"),
        classifier_pooling=pooling,
    )


def _layer_types(raw: dict[str, Any], layers: int) -> list[str]:
    types = raw.get("layer_types")
    if types is None:
        every = fields.size(raw, "global_attn_every_n_layers", _GLOBAL_EVERY)
        return [_LOCAL if index % every else _GLOBAL for index in range(layers)]
    if not isinstance(types, list) or any(kind not in (_LOCAL, _GLOBAL) for kind in types):
        raise fields.wrong("layer_types", types, f"a list of {_LOCAL!r} and {_GLOBAL!r}")
    if len(types) != layers:
        raise ValueError(
            f"config.json: layer_types names {len(types)} layers, num_hidden_layers is {layers}"
        )
    return types


def _thetas(raw: dict[str, Any]) -> dict[str, float]:
    """Read the bases: of transformers 5 by type of layer, of transformers 4 in two fields."""
    scaling = raw.get("rope_scaling")
    if scaling is not None:
        raise ValueError(f"config.json: rope_scaling is {shown(scaling)}, supported: null")
    old = {_GLOBAL: _theta(raw, "global_rope_theta", _THETAS[_GLOBAL])}
    old[_LOCAL] = old[_GLOBAL]
    if raw.get("local_rope_theta", 0) is not None:
        old[_LOCAL] = _theta(raw, "local_rope_theta", _THETAS[_LOCAL])
    given = raw.get("rope_parameters")
    given = {} if given is None else given
    found = {}
    if not isinstance(given, dict) or not given.keys() <= _THETAS.keys():
        raise fields.wrong("rope_parameters", given, f"an object with {_GLOBAL} and {_LOCAL}")
    for kind in _THETAS:
        own = given.get(kind)
        own = {} if own is None else own
        if not isinstance(own, dict) or own.get("rope_type", "default") != "default":
            raise fields.wrong(f"rope_parameters.{kind}", own, "one with rope_type 'default'")
        found[kind] = _theta(own, "rope_theta", old[kind])
    return found


def _theta(raw: dict[str, Any], key: str, default: float) -> float:
    return fields.number(raw, key, default, _LEAST_THETA, _MOST_THETA)
