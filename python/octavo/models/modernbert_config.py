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
    layer_types : tuple of str, optional
        "full_attention" or "sliding_attention", by layer.
    global_every : int
        Without them: the distance of layers that see everything, from the first on.
    local_reach : int
        How far a token sees to either side in the others.
    global_theta, local_theta : float
        The bases of the rotary frequencies of both.
    attention_bias, mlp_bias, norm_bias, classifier_bias : bool
        Which layers have biases.
    classifier_activation : str
        Before the head's norm, by octavo's name.
    classifier_pooling : str
        "cls" or "mean".
    """

    layer_types: tuple[str, ...] | None
    global_every: int
    local_reach: int
    global_theta: float
    local_theta: float
    attention_bias: bool
    mlp_bias: bool
    norm_bias: bool
    classifier_bias: bool
    classifier_activation: str
    classifier_pooling: str

    def reach(self, index: int) -> int | None:
        """Return how far a token sees to either side in a layer; None: everything."""
        return self.local_reach if self._is_local(index) else None

    def theta(self, index: int) -> float:
        """Return the base of the rotary frequencies of a layer."""
        return self.local_theta if self._is_local(index) else self.global_theta

    def _is_local(self, index: int) -> bool:
        if self.layer_types is None:
            return index % self.global_every > 0
        return self.layer_types[index] == _LOCAL


def read_choices(raw: dict[str, Any], layers: int) -> ModernBertChoices:
    """Check the fields of a config.json, as transformers 4 or 5 writes it."""
    pooling = raw.get("classifier_pooling", "cls")
    if pooling not in ("cls", "mean"):
        raise fields.wrong("classifier_pooling", pooling, "'cls' or 'mean'")
    thetas = _thetas(raw)
    return ModernBertChoices(
        layer_types=_layer_types(raw, layers),
        global_every=fields.size(raw, "global_attn_every_n_layers", _GLOBAL_EVERY),
        local_reach=fields.size(raw, "local_attention", _WINDOW) // 2,
        global_theta=thetas[_GLOBAL],
        local_theta=thetas[_LOCAL],
        attention_bias=fields.flag(raw, "attention_bias"),
        mlp_bias=fields.flag(raw, "mlp_bias"),
        norm_bias=fields.flag(raw, "norm_bias"),
        classifier_bias=fields.flag(raw, "classifier_bias"),
        classifier_activation=fields.activation(raw, "classifier_activation", "gelu"),
        classifier_pooling=pooling,
    )


def _layer_types(raw: dict[str, Any], layers: int) -> tuple[str, ...] | None:
    types = raw.get("layer_types")
    if types is None:
        return None
    if not isinstance(types, list) or any(kind not in (_LOCAL, _GLOBAL) for kind in types):
        raise fields.wrong("layer_types", types, f"a list of {_LOCAL!r} and {_GLOBAL!r}")
    if len(types) != layers:
        raise ValueError(
            f"config.json: layer_types names {len(types)} layers, num_hidden_layers is {layers}"
        )
    return tuple(types)


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
