# SPDX-License-Identifier: Apache-2.0
"""`compress` and `sensitivity` of graphs: recipes that they have, and what has come of them."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, TypeGuard

from octavo._float_mode import in_default_mode
from octavo._text import shown
from octavo.compression.graph_data import Feeds
from octavo.compression.graph_rules import FLOAT, name_of, refusal
from octavo.compression.graph_static import Types
from octavo.compression.graph_work import GraphWork
from octavo.compression.recipe import Quantize, Recipe, read_recipe
from octavo.compression.sensitivity import Sensitivity
from octavo.compression.target import Target, meet
from octavo.compression.work import Progress
from octavo.data.sources import CalibrationData
from octavo.graph import Graph
from octavo.tflite import read

Model = Graph | str | os.PathLike[str] | bytes
SUFFIX = ".tflite"
_NAMES = ("int8", "int8-static", "fp16")
_STATIC = Recipe(quantize=Quantize(activations="static", equalize=True, correct_bias=True))
_KEYS = {"dtype", "activations", "observer", "equalize", "correct_bias", "exclude", "rounding"}
_KEYS |= {"damping"}
_TYPES = ("int8", "float16")


def is_graph(model: object) -> TypeGuard[Graph | str | os.PathLike[str]]:
    """Whether a model is a graph, or a file that holds one."""
    is_path = isinstance(model, (str, os.PathLike)) and str(model).endswith(SUFFIX)
    return is_path or isinstance(model, Graph)


def read_graph_recipe(recipe: object) -> Recipe:
    """Return a recipe that graphs have; as `read_recipe`, but that int8-static does not smooth.

    Raises
    ------
    TypeError, ValueError
        For a recipe that says more than graphs have; the message names what.
    """
    read = _STATIC if recipe == "int8-static" else read_recipe(recipe)
    names = ", ".join(_NAMES)
    for key in ("prune", "share"):
        if getattr(read, key) is not None:
            raise ValueError(
                f"recipe: expected one of {names} of a graph, or their fields, got "
                f"one that has {key}"
            )
    quantize = read.quantize
    if quantize.dtype not in _TYPES:
        raise ValueError(
            f"recipe: quantize: expected {' or '.join(_TYPES)} of a graph, got {quantize.dtype}"
        )
    for field in fields(Quantize):
        value = getattr(quantize, field.name)
        if field.name not in _KEYS and value != field.default:
            raise ValueError(
                f"recipe: quantize.{field.name}: graphs have no {field.name}; got {shown(value)}"
            )
    return read


@in_default_mode
def compress_graph(
    model: Model,
    recipe: object,
    calibration: CalibrationData | Feeds | None,
    target: Target | None = None,
    progress: Progress = lambda _, __: None,
    *,
    types: Types = (FLOAT, FLOAT),
    argument: str = "calibration",
) -> tuple[Graph, dict[str, Any]]:
    """Return a small graph and what was done, as the parts of a model's recipe.

    Beside those, ``float_operators`` says which ones compute in float though scales are static, and
    ``not_equalized`` which ones equalization left out: names, and why.

    Parameters
    ----------
    types : (input type, output type)
        Of the float inputs and outputs, if scales are static.
    argument : str
        What messages call the calibration data.
    """
    plan = read_graph_recipe(recipe)
    needed = plan.quantize.needs_data or (target is not None and "a target")
    if needed and calibration is None:
        raise ValueError(f"{argument}: expected data, {needed} needs it; got none")
    if calibration is not None and not needed:
        raise ValueError(f"{argument}: expected none, this recipe does not use any")
    if target is not None and target.metric == "perplexity":
        raise ValueError("target: expected cosine, sqnr or a callable of a graph, got perplexity")
    graph = float_graph(model)
    feeds = calibration
    if calibration is not None and not isinstance(calibration, Feeds):
        feeds = Feeds(graph, calibration, argument)
    work = GraphWork(graph, plan.quantize, feeds, progress, types)
    applied = plan.to_dict()
    if target is None:
        made = work.made()
    else:
        made, applied["target"] = meet(work, target)
    if plan.quantize.activations == "static":
        applied["float_operators"] = float_operators(work, made)
    if plan.quantize.equalize:
        applied["not_equalized"] = work.left_out
    return made, applied


@in_default_mode
def graph_sensitivity(
    model: Model,
    calibration: CalibrationData,
    recipe: object,
    progress: Progress,
) -> Sensitivity:
    """Measure what each operator costs the outputs if it alone is quantized."""
    quantize = read_graph_recipe(recipe).resolved(has_calibration=True).quantize
    if quantize.dtype != "int8":
        raise ValueError(f"recipe: expected int8 of some kind, got {quantize.dtype}")
    graph = float_graph(model)
    return GraphWork(
        graph, quantize, Feeds(graph, calibration, "calibration"), progress
    ).sensitivity()


def float_graph(model: Model) -> Graph:
    """Return a graph, checked to be one that can be quantized."""
    graph = model if isinstance(model, Graph) else read(model).graph
    graph.check()
    for tensor in graph.tensors:
        if tensor.quantization is not None and tensor.dtype != FLOAT:
            raise ValueError(
                f"model: expected a float graph, got one that is quantized: tensor "
                f"{shown(tensor.name)} is {tensor.dtype}"
            )
    return graph


def float_operators(work: GraphWork, made: Graph) -> dict[str, str]:
    """Return the operators of a graph with static scales that compute in float, and why."""
    reasons = {name_of(work.graph, one): refusal(work.graph, one) for one in work.graph.operators}
    found = {}
    for operator in made.operators:
        computes = operator.kind not in ("quantize", "dequantize")
        if computes and made.tensors[operator.outputs[0]].dtype == FLOAT:
            name = name_of(made, operator)
            found[name] = reasons.get(name) or "kept in float32"
    return found
