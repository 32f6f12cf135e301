# SPDX-License-Identifier: Apache-2.0
"""What a report knows of a model and its layers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn, runtime, timing
from octavo.evaluation.layers import held_as, zeros_in
from octavo.nn.weights.codes import largest_code

_BLOCK = re.compile(r"(?P<block>.*?\.\d+)\.(?P<role>.*)")


@dataclass(frozen=True)
class Range:
    """Values at the input of a layer: the extremes, and where 99.8% of them lie."""

    low: float
    high: float
    inner_low: float
    inner_high: float


@dataclass(frozen=True)
class LayerFacts:
    """One layer with weights.

    Attributes
    ----------
    float_bytes, nbytes : int
        Size in float32, and as it is.
    relative, sqnr_db : float or None
        Error of this layer alone against float32, where that was measured.
    inputs : Range or None
        For linear layers.
    zeros : float
        Share of weights that are zero.
    held : str
        How the weights are held: "dense", or the format of a `SparseLinear`.
    bits : int
        Of a weight as it is.
    inputs_as : str
        How a linear layer reads its input: "dynamic" or "static" int8, or "float".
    scale : (float, float) or None
        Least and largest scale of an int8 weight's rows.
    input_scale : float or None
        Of static int8 inputs.
    full_weights : float or None
        Share of int8 weights at the ends of their range, -127 and 127 with 8 bits.
    clipped_inputs : float or None
        Share of input values beyond what a static scale can tell.
    speed : float or None
        Of a layer that is held sparse: the dense layer's time over its own, on 128 rows.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    float_bytes: int
    nbytes: int
    relative: float | None = None
    sqnr_db: float | None = None
    inputs: Range | None = None
    zeros: float = 0.0
    held: str = "dense"
    bits: int = 32
    inputs_as: str = ""
    scale: tuple[float, float] | None = None
    input_scale: float | None = None
    full_weights: float | None = None
    clipped_inputs: float | None = None
    speed: float | None = None


@dataclass(frozen=True)
class ModelFacts:
    """A model and its layers.

    Attributes
    ----------
    text : str
        What the model read while it was measured.
    cosine_mean, cosine_min : float or None
        Agreement of its sentence vectors with the float32 ones.
    models : dict of str to Encoder
        The model, and the float one if there is one, by what figures call them.
    """

    name: str
    float_bytes: int
    nbytes: int
    text: str
    layers: list[LayerFacts]
    cosine_mean: float | None = None
    cosine_min: float | None = None
    models: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def small(self) -> Any:
        """The compressed model."""
        return next(iter(self.models.values()))


def split_name(name: str) -> tuple[str, str]:
    """Split a layer's name into its block and its part in it.

    Examples
    --------
    >>> split_name("encoder.layer.3.attention.self.query")
    ('encoder.layer.3', 'attention.self.query')
    >>> split_name("embeddings.word_embeddings")
    ('embeddings', 'word_embeddings')
    """
    found = _BLOCK.fullmatch(name)
    if found:
        return found["block"], found["role"]
    block, _, role = name.rpartition(".")
    return (block, role) if block else (role, role)


def layer_kind(layer: nn.Module) -> str:
    """Return "linear", "embedding", "norm", or nothing for a layer without weights."""
    return "norm" if layer.role == "layer_norm" else layer.role


def layer_facts(
    name: str, layer: Any, error: Any, inputs: Range | None, clipped: float | None
) -> LayerFacts:
    """Return what is known of a layer; what was measured of it comes as arguments."""
    state = layer.state_dict()
    bias = state.get("bias")
    numbers = math.prod(layer.shape) + (0 if bias is None else bias.size)
    nbytes = sum(int(value.nbytes) for value in state.values())
    held = held_as(layer)
    return LayerFacts(
        name=name,
        kind=layer_kind(layer),
        shape=layer.shape,
        float_bytes=4 * numbers,
        nbytes=nbytes if held == "dense" else layer.nbytes,
        zeros=zeros_in(layer),
        held=held,
        speed=None if held == "dense" else _over_dense(layer),
        relative=None if error is None else error.relative,
        sqnr_db=None if error is None else error.sqnr_db,
        inputs=inputs,
        bits=layer.held_weight.bits if layer.kind else 32,
        inputs_as=_inputs_as(layer, state),
        input_scale=float(state["input_scale"][0]) if "input_scale" in state else None,
        clipped_inputs=clipped,
        **(_codes_facts(state["weight"], state["weight_scale"]) if layer.kind == "int8" else {}),
    )


def _inputs_as(layer: Any, state: dict[str, Any]) -> str:
    if layer_kind(layer) != "linear":
        return ""
    if layer.held_weight.bits > 8:
        return "float"
    return "static" if "input_scale" in state else "dynamic"


def _codes_facts(codes: npt.NDArray[np.int8], scale: npt.NDArray[np.float32]) -> dict[str, Any]:
    if not codes.size:
        return {}
    limit = min(max(1, largest_code(codes)), 127)
    full = np.count_nonzero((codes >= limit) | (codes <= -limit)) / codes.size
    return {"scale": (float(scale.min()), float(scale.max())), "full_weights": full}


def _over_dense(layer: nn.Linear) -> float | None:
    """Return the dense layer's time over that of `layer`, of int8 codes; None where it is busy."""
    dense = layer.with_format("dense")
    x = np.random.default_rng(0).standard_normal((128, layer.in_features), np.float32)
    measured = timing.run(
        {"dense": partial(dense, x), "sparse": partial(layer, x)}, rounds=5, seconds=0.03
    )
    timed, threads = measured.timings, runtime.get_num_threads()
    if any(timing.disturbance(one, measured.others, threads) for one in timed.values()):
        return None
    return timed["dense"].median / timed["sparse"].median
