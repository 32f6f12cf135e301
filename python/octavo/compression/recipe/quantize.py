# SPDX-License-Identifier: Apache-2.0
"""The part of a recipe that quantizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from octavo import _checks
from octavo._text import shown
from octavo.compression.recipe import _fields
from octavo.models.self_attention import ATTENTION_PRECISIONS
from octavo.nn.weights import GROUPS, KINDS, GroupedWeight

DTYPES = (*(kind for kind in KINDS if kind != "float32"), "none")
ACTIVATIONS = ("dynamic", "static")
OBSERVERS = ("minmax", "moving_average", "percentile", "mse", "entropy")
ROUNDING = ("nearest", "weighted", "gptq")
KEEP = ("float32", "float16", "bfloat16")
IN_GROUPS = {kind: cls.bits for kind, cls in KINDS.items() if issubclass(cls, GroupedWeight)}
"""Kinds of weights with a scale for each group of inputs, and the bits of their codes."""
_FIELDS_IN_GROUPS = (
    *("group", "embedding_bits", "rounding", "damping", "smooth", "equalize", "correct_bias"),
    *("exclude", "keep", "attention"),
)


@dataclass(frozen=True)
class Quantize:
    """What weights and activations are stored as, and how that is found.

    Parameters
    ----------
    dtype : "int8", "int4", "int5", "int8-group", "float16", "bfloat16" or "none"
        Of the weights. float16, bfloat16 and none compute in float32, and the fields below do not
        apply. int4, int5 and int8-group have a scale for each group of inputs, and quantize
        activations in the same groups, symmetrically, while running: they have no `bits`,
        `activations`, `observer`, `symmetric`, `dynamic` and `outliers`.
    bits : int
        2 to 8, for the codes of the weights: they lie within ``2 ** (bits - 1) - 1`` of 0. They are
        int8 all the same and run as such; with ``store: zstd`` a code takes at most about ``bits``
        bits in the file. Below 6, round with GPTQ.
    group : 32, 64 or 128, optional
        How many inputs share a scale; default: 32.
    embedding_bits : int, optional
        The same for embeddings, which are rounded to nearest; default: `bits`. Beside int4 it is 8,
        the default, or 4 (5 beside int5), and of the layer that gives a decoder's logits too.
    activations : "dynamic" or "static"
        Dynamic: each row of a layer's input is quantized over its own range while running.
        Static: with one scale for a layer, found from calibration data.
    observer : "minmax", "moving_average", "percentile", "mse" or "entropy", optional
        How a static scale is found; default: mse.
    symmetric : bool
        Whether activations are quantized symmetrically.
    dynamic : tuple of str
        Names of layers that stay dynamic under static activations; ``*`` stands for anything.
    rounding : "nearest", "weighted" or "gptq", optional
        Of the weights; weighted and GPTQ need calibration data. Scales of groups are searched for
        in any case; with "weighted", errors count as their inputs do. Default: in groups, where
        there is calibration data, weighted, else nearest.
    damping : float, optional
        Of GPTQ.
    smooth : float or "auto", optional
        Scale is moved from the activations to the weights, channel by channel: with SmoothQuant's
        alpha in (0, 1], or as `octavo.algorithms.smoothing.best_multiplier` finds it for each
        layer. Needs calibration data.
    equalize : bool
        Whether the ranges of channels between neighbouring layers are evened out first.
    correct_bias : bool
        Whether biases make up for the mean error of a layer. Needs calibration data.
    outliers : float, optional
        Columns of a layer's input that reach this magnitude are computed in float (LLM.int8 takes
        6.0). Needs calibration data.
    exclude : tuple of str
        Names of layers that do not become int8; ``*`` stands for anything.
    keep : "float32", "float16" or "bfloat16"
        What those are stored as, and layers that a target keeps.
    attention : "auto", "float32" or "int8"
        How the model attends, see `Encoder.attention_precision`.

    Examples
    --------
    >>> from octavo.compression import Quantize
    >>> Quantize(activations="static", observer="mse").to_dict()
    {'dtype': 'int8', 'activations': 'static', 'observer': 'mse'}
    """

    dtype: str = "int8"
    bits: int = 8
    group: int | None = None
    embedding_bits: int | None = None
    activations: str = "dynamic"
    observer: str | None = None
    symmetric: bool = False
    dynamic: tuple[str, ...] = ()
    rounding: str | None = None
    damping: float | None = None
    smooth: float | str | None = None
    equalize: bool = False
    correct_bias: bool = False
    outliers: float | None = None
    exclude: tuple[str, ...] = ()
    keep: str = "float32"
    attention: str = "auto"

    def __post_init__(self) -> None:
        _checks.choice(self.dtype, "recipe: quantize.dtype", DTYPES)
        _checks.choice(self.activations, "recipe: quantize.activations", ACTIVATIONS)
        if self.rounding is not None:
            _checks.choice(self.rounding, "recipe: quantize.rounding", ROUNDING)
        _checks.choice(self.keep, "recipe: quantize.keep", KEEP)
        _checks.choice(self.attention, "recipe: quantize.attention", ATTENTION_PRECISIONS)
        if self.observer is not None:
            _checks.choice(self.observer, "recipe: quantize.observer", OBSERVERS)
        for key in ("symmetric", "equalize", "correct_bias"):
            value = getattr(self, key)
            if not isinstance(value, bool):
                raise TypeError(
                    f"recipe: quantize.{key}: expected true or false, got {shown(value)}"
                )
        self._check_numbers()
        self._check_together()

    def _check_numbers(self) -> None:
        for key in ("bits", "embedding_bits"):
            value = getattr(self, key)
            if value is not None or key == "bits":
                number = _checks.integer(value, f"recipe: quantize.{key}", 2, 8)
                object.__setattr__(self, key, number)
        if self.group is not None and self.group not in GROUPS:
            raise ValueError(
                f"recipe: quantize.group: expected 32, 64 or 128, got {shown(self.group)}"
            )
        if self.smooth is not None and self.smooth != "auto":
            if isinstance(self.smooth, str):
                raise ValueError(
                    f"recipe: quantize.smooth: expected auto or a number, got {shown(self.smooth)}"
                )
            _checks.real(self.smooth, "recipe: quantize.smooth", "(0, 1]")
        if self.outliers is not None:
            _checks.real(self.outliers, "recipe: quantize.outliers", "(0, inf)")
        if self.damping is not None:
            _checks.real(self.damping, "recipe: quantize.damping", "[0, inf)")

    def _check_together(self) -> None:
        if self.dtype != "int8":
            own = ("dtype", *(_FIELDS_IN_GROUPS if self.dtype in IN_GROUPS else ()))
            others = [key for key in _fields.set_fields(self) if key not in own]
            if others:
                raise ValueError(f"recipe: quantize.{others[0]}: {self.dtype} has no {others[0]}")
            bits = IN_GROUPS.get(self.dtype)
            if self.embedding_bits not in (None, 8, bits):
                raise ValueError(
                    f"recipe: quantize.embedding_bits: expected 8 or {bits} beside {self.dtype}, "
                    f"got {self.embedding_bits}"
                )
        elif self.group is not None:
            raise ValueError("recipe: quantize.group: int8 has no group")
        elif self.rounding == "weighted":
            raise ValueError(
                "recipe: quantize.rounding: expected nearest or gptq of int8, got weighted"
            )
        if self.activations != "static":
            for key in ("observer", "dynamic"):
                if getattr(self, key):
                    raise ValueError(f"recipe: quantize.{key}: dynamic activations have no {key}")
        if self.bits != 8 and self.outliers is not None:
            raise ValueError(f"recipe: quantize.bits: expected 8 beside outliers, got {self.bits}")
        if self.damping is not None and self.rounding != "gptq":
            raise ValueError("recipe: quantize.damping: rounding to nearest has no damping")

    @property
    def needs_data(self) -> str | None:
        """The first field that cannot do without calibration data."""
        if self.activations == "static":
            return "quantize.activations: static"
        if self.rounding in ("weighted", "gptq"):
            return f"quantize.rounding: {self.rounding}"
        for key in ("smooth", "correct_bias", "outliers"):
            if getattr(self, key):
                return f"quantize.{key}"
        return None

    @property
    def passes(self) -> int:
        """How many passes over calibration data it makes, at least."""
        several = (self.rounding in ("weighted", "gptq"), self.correct_bias)
        single = (self.activations == "static", bool(self.smooth), bool(self.outliers))
        return 2 * sum(several) + sum(single)

    @property
    def is_plain(self) -> bool:
        """Whether each layer can become what it will be without a look at others or at data."""
        return self.needs_data is None and not self.equalize

    def resolved(self, has_calibration: bool) -> Quantize:
        """Return this with the choices that were left open made, by whether there is data."""
        if self.dtype in IN_GROUPS and self.rounding is None and has_calibration:
            return replace(self, rounding="weighted")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, as a recipe's dict has them."""
        return {"dtype": self.dtype, **_fields.set_fields(self)}


def read_quantize(fields: object) -> Quantize:
    """Return what a dtype, or the fields of a dict or a file, say."""
    if isinstance(fields, str):
        return Quantize(_checks.choice(fields, "recipe: quantize", DTYPES))
    read = _fields.known(fields, Quantize, "quantize.")
    for key in ("dynamic", "exclude"):
        if key in read:
            read[key] = _fields.names(read[key], f"recipe: quantize.{key}")
    return Quantize(**read)
