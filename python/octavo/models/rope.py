# SPDX-License-Identifier: Apache-2.0
"""Rotary frequencies of decoders: what a config.json says of them, and what comes of it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from octavo._elementary import log
from octavo._text import shown
from octavo._types import Float32
from octavo.models import fields
from octavo.models.rotary import rotary_frequencies

_F = np.float32
FULL, SLIDING = "full_attention", "sliding_attention"
"""Layers that see everything, and those that see what is near, as config.json calls them."""
_GEMMA_THETA, _GEMMA_LOCAL_THETA = 1e6, 1e4
_THETA = 10_000.0
_LEAST_THETA, _MOST_THETA = 1.0, 1e30
_MOST_FACTOR = 1e6
_MOST_POSITIONS = 1 << 20
"""Up to there angles are exact enough (`octavo._elementary.sin_cos`)."""
_IGNORED = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_ORIGINAL = "original_max_position_embeddings"
# What each type is told beside its name.
_KEYS = {
    "default": frozenset[str](),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor", _ORIGINAL}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", _ORIGINAL}),
    "yarn": frozenset(
        {"factor", _ORIGINAL, "attention_factor", "beta_fast", "beta_slow"}
        | {"mscale", "mscale_all_dim", "truncate"}
    ),
    "longrope": frozenset({"factor", _ORIGINAL, "attention_factor", "long_factor", "short_factor"}),
}
_UNSCALED = ("default", "linear", "dynamic")
_PHI3 = "phi3"
_PHI3_POSITIONS = 4096
_PHI3_NAMES = ("su", "yarn")
"""What Phi-3's first files called longrope."""


class Rope(NamedTuple):
    """How positions turn queries and keys.

    Attributes
    ----------
    frequencies : tuple of float
        Of each pair of values; two for each are turned, and what lies behind in a head is not.
    scale : float
        What cosines and sines are multiplied by.
    positions : int
        How many positions they are for.
    """

    frequencies: tuple[float, ...]
    scale: float
    positions: int


def read_rope(raw: dict[str, Any], head_size: int) -> Rope:
    """Read ``rope_parameters``, or the ``rope_theta`` and ``rope_scaling`` of transformers 4.

    Keys that are kept cannot change with the length of the text.  So of type "dynamic" positions
    end where the frequencies would begin to; and type "longrope" has its long factors wherever the
    config has more positions than the original ones, also for texts of fewer.
    """
    given = _given(raw)
    kind = given.get("rope_type", given.get("type", "default"))
    if kind in _PHI3_NAMES and raw.get("model_type") == _PHI3:
        kind = "longrope"
    if not isinstance(kind, str) or kind not in _KEYS:
        raise fields.wrong("rope_type", kind, f"one of {', '.join(_KEYS)}")
    unknown = given.keys() - _IGNORED - _KEYS[kind]
    if unknown:
        raise ValueError(
            f"config.json: rope type {kind!r} has {shown(min(unknown))}, which is not supported"
        )
    theta = fields.number(given, "rope_theta", _THETA, _LEAST_THETA, _MOST_THETA)
    share = fields.number(given, "partial_rotary_factor", 1.0, 0, 1.0 + 1e-9)
    width = int(head_size * share)
    if width < 2 or width % 2:
        raise ValueError(
            f"config.json: {width} of {head_size} values of a head are turned, expected an even "
            "number"
        )
    positions = fields.size(raw, "max_position_embeddings")
    plain: Float32 = np.array(rotary_frequencies(width, theta), np.float32)
    scale = 1.0
    if kind == "linear":
        plain = np.divide(plain, _F(_factor(given)))
    elif kind == "llama3":
        plain = _llama3(plain, given)
    elif kind == "longrope":
        plain, scale = _longrope(plain, positions, given)
    elif kind == "yarn":
        original = fields.size(given, _ORIGINAL, positions)
        plain, scale = _yarn(plain, theta, original, given)
        positions = max(positions, int(original * _factor(given)))
    if positions > _MOST_POSITIONS:
        raise ValueError(
            f"config.json: a context of {positions} tokens, expected at most {_MOST_POSITIONS}"
        )
    return Rope(tuple(plain.tolist()), scale, positions)


def fields_of_gemma(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what `read_rope` takes of layers that see everything, and of those with a window."""
    given = raw.get("rope_parameters")
    if given is None:
        full = {"rope_theta": _GEMMA_THETA, **raw}
        theta = raw.get("rope_local_base_freq", _GEMMA_LOCAL_THETA)
        return [full, {**raw, "rope_theta": theta, "rope_scaling": None}]
    if not isinstance(given, dict) or not given.keys() <= {FULL, SLIDING}:
        raise fields.wrong("rope_parameters", given, f"an object with {FULL} and {SLIDING}")
    return [{**raw, "rope_parameters": given.get(one)} for one in (FULL, SLIDING)]


def _given(raw: dict[str, Any]) -> dict[str, Any]:
    for key in ("rope_parameters", "rope_scaling"):
        if raw.get(key) is not None and not isinstance(raw[key], dict):
            raise fields.wrong(key, raw[key], "an object")
    given = {
        key: raw[key] for key in ("rope_theta", "partial_rotary_factor") if raw.get(key) is not None
    }
    given |= {**(raw.get("rope_scaling") or {}), **(raw.get("rope_parameters") or {})}
    # Beside the others, it goes before what stands among them.
    known = _PHI3_POSITIONS if raw.get("model_type") == _PHI3 else None
    original = raw.get(_ORIGINAL, given.get(_ORIGINAL, known))
    is_scaled = given.get("rope_type", given.get("type", "default")) not in _UNSCALED
    return {**given, _ORIGINAL: original} if is_scaled and original is not None else given


def _factor(given: dict[str, Any], key: str = "factor", default: Any = None) -> float:
    return fields.number(given, key, default, 1e-6, _MOST_FACTOR)


def _llama3(plain: Float32, given: dict[str, Any]) -> Float32:
    """Slow long waves down, leave short ones, and go from one to the other between."""
    factor = _F(_factor(given))
    low, high = (_factor(given, key) for key in ("low_freq_factor", "high_freq_factor"))
    if low >= high:
        raise fields.wrong("high_freq_factor", high, f"more than low_freq_factor, {low:g}")
    original = _F(fields.size(given, _ORIGINAL))
    waves = _F(2 * math.pi) / plain
    share = (original / waves - _F(low)) / _F(high - low)
    between = (_F(1) - share) * (plain / factor) + share * plain
    slowed = np.where(waves > original / _F(low), plain / factor, between)
    return np.where(waves < original / _F(high), plain, slowed)


def _longrope(plain: Float32, positions: int, given: dict[str, Any]) -> tuple[Float32, float]:
    """Divide by the factors that were found for texts of this length (Ding et al., 2024)."""
    original = fields.size(given, _ORIGINAL)
    key = "long_factor" if positions > original else "short_factor"
    factors = given.get(key)
    numbers = factors if isinstance(factors, list) else []
    known = [isinstance(one, (int, float)) and 1e-6 <= one <= _MOST_FACTOR for one in numbers]
    if len(known) != len(plain) or not all(known):
        raise fields.wrong(key, factors, f"a list of {len(plain)} positive numbers")
    factor = _factor(given, "factor", positions / original)
    scale = math.sqrt(1 + _log(factor) / _log(original)) if factor > 1 < original else 1.0
    if given.get("attention_factor") is not None:
        scale = _factor(given, "attention_factor")
    return _F(1) / (np.array(numbers, np.float32) * (_F(1) / plain)), scale


def _yarn(
    plain: Float32, theta: float, original: int, given: dict[str, Any]
) -> tuple[Float32, float]:
    """Slow pairs down that turn seldom within the original positions (Peng et al., 2023)."""
    factor, width = _factor(given), 2 * len(plain)
    turns = [_factor(given, *of) for of in (("beta_fast", 32), ("beta_slow", 1))]
    ends = [_pair_that_turns(count, width, theta, original) for count in turns]
    if given.get("truncate", True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    low, high = max(ends[0], 0), min(ends[1], width - 1)
    if low == high:
        high += 0.001
    ramp = (np.arange(len(plain), dtype=np.float32) - _F(low)) / _F(high - low)
    kept = _F(1) - np.clip(ramp, _F(0), _F(1))
    slow = _F(1) / (_F(factor) * (_F(1) / plain))
    scale = _yarn_scale(factor, given)
    if given.get("attention_factor") is not None:
        scale = _factor(given, "attention_factor")
    return slow * (_F(1) - kept) + plain * kept, scale


def _pair_that_turns(count: float, width: int, theta: float, positions: int) -> float:
    """Return twice the (fractional) pair that turns so many times within the positions."""
    if theta <= 1:
        raise fields.wrong("rope_theta", theta, "more than 1 with rope type 'yarn'")
    return width * _log(positions / (count * 2 * math.pi)) / (2 * _log(theta))


def _yarn_scale(factor: float, given: dict[str, Any]) -> float:
    def of(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * _log(factor) + 1.0

    if given.get("mscale") and given.get("mscale_all_dim"):
        return of(_factor(given, "mscale")) / of(_factor(given, "mscale_all_dim"))
    return of(1.0)


def _log(x: float) -> float:
    return float(log(np.array(x)))
