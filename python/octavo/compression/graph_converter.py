# SPDX-License-Identifier: Apache-2.0
"""What `Converter` does for models that become ``.tflite`` files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from octavo import _checks
from octavo._text import shown
from octavo.compression.graph_data import Feeds
from octavo.compression.graph_entry import compress_graph, float_graph
from octavo.compression.graph_rules import FLOAT
from octavo.compression.graph_static import BORDERS, Types
from octavo.compression.recipe import Recipe
from octavo.data.sources import CalibrationData
from octavo.graph import Graph
from octavo.tflite import to_bytes

DATASET = "representative_dataset"
NEEDS_TENSORFLOW = (
    "what TensorFlow saved only TensorFlow can read. With it, write a float file for "
    "Converter.from_tflite, by tf.lite.TFLiteConverter.from_saved_model(...).convert(); without it,"
    " export the model from PyTorch, by Converter.from_torch(module, example_inputs)"
)


class OpsSet(str, Enum):
    """What `TargetSpec.supported_ops` may hold.

    Examples
    --------
    >>> import octavo
    >>> octavo.OpsSet.TFLITE_BUILTINS_INT8.value
    'int8'
    """

    TFLITE_BUILTINS = "builtins"
    """Operators that have no int8 form stay float."""
    TFLITE_BUILTINS_INT8 = "int8"
    """Alone: if an operator has no int8 form, it is an error."""


@dataclass
class TargetSpec:
    """What the runtime of a converted file takes.

    Attributes
    ----------
    supported_ops : collection of OpsSet
    supported_types : collection of types
        With ``numpy.float16``, `Optimize.DEFAULT` stores weights in float16.
    """

    supported_ops: Collection[Any] = field(default_factory=lambda: {OpsSet.TFLITE_BUILTINS})
    supported_types: Collection[Any] = ()

    @property
    def is_half(self) -> bool:
        """Whether weights are to be float16."""
        name = "target_spec.supported_types"
        half, known = np.dtype(np.float16), (FLOAT, np.dtype(np.float16), np.dtype(np.int8))
        return half in {border_type(one, name, known) for one in self.supported_types}

    @property
    def is_integer(self) -> bool:
        """Whether all operators must be int8."""
        if isinstance(self.supported_ops, (str, bytes)) or not isinstance(
            self.supported_ops, Iterable
        ):
            kind = _checks.describe(self.supported_ops)
            raise TypeError(f"target_spec.supported_ops: expected a list, got {kind}")
        found = set()
        for one in self.supported_ops:
            value = getattr(one, "value", one)
            if value not in [known.value for known in OpsSet]:
                raise ValueError(
                    "target_spec.supported_ops: expected TFLITE_BUILTINS or TFLITE_BUILTINS_INT8, "
                    f"got {shown(one)}"
                )
            found.add(value)
        return found == {OpsSet.TFLITE_BUILTINS_INT8.value}


def border_type(value: Any, name: str, known: tuple[np.dtype[Any], ...] = BORDERS) -> np.dtype[Any]:
    """Return the type that an attribute names; TensorFlow's own are taken too."""
    names = ", ".join(str(one) for one in known)
    try:
        dtype = np.dtype(getattr(value, "as_numpy_dtype", value))
    except TypeError:
        raise TypeError(f"{name}: expected one of {names}, got {shown(value)}") from None
    if value is None or dtype not in known:
        raise ValueError(f"{name}: expected one of {names}, got {shown(value)}")
    return dtype


def border_types(input_type: Any, output_type: Any) -> Types:
    """Return the types that the attributes of a converter name."""
    return (
        border_type(input_type, "inference_input_type"),
        border_type(output_type, "inference_output_type"),
    )


@dataclass
class GraphSource:
    """A float graph to be converted.

    Attributes
    ----------
    graph : Graph
    channels_first : frozenset of int
        The inputs, by their places, whose images a dataset has as (batch, channels, height, width).
    """

    graph: Graph
    channels_first: frozenset[int] = frozenset()

    @classmethod
    def from_file(cls, source: str | os.PathLike[str] | bytes) -> GraphSource:
        """Return the graph of a file; see `Converter.from_tflite`."""
        return cls(float_graph(source))

    @classmethod
    def from_torch(cls, module: Any, example_inputs: Any) -> GraphSource:
        """Return a module as a graph; see `Converter.from_torch`."""
        from importlib import import_module

        if not isinstance(example_inputs, tuple):
            example_inputs = (
                tuple(example_inputs) if isinstance(example_inputs, list) else (example_inputs,)
            )
        graph = import_module("octavo.torch").to_graph(module, example_inputs)
        shapes = [graph.tensors[index].shape for index in graph.inputs]
        given = [tuple(getattr(one, "shape", ())) for one in example_inputs]
        moved = (place for place, one in enumerate(given) if shapes[place : place + 1] != [one])
        return cls(graph, frozenset(moved))

    def converted(
        self,
        recipe: Recipe | None,
        dataset: CalibrationData | None,
        types: Types,
        all_integer: bool,
    ) -> bytes:
        """Return the file that a recipe makes of the graph; None leaves it float."""
        is_static = recipe is not None and recipe.quantize.activations == "static"
        for side, one in zip(("input", "output"), types, strict=True):
            if one != FLOAT and not is_static:
                raise ValueError(
                    f"inference_{side}_type: expected float32 without static int8 activations "
                    f"(optimizations and a {DATASET}), got {one}"
                )
        if all_integer and not is_static:
            raise ValueError(
                "target_spec.supported_ops: TFLITE_BUILTINS_INT8 alone: expected optimizations and "
                f"a {DATASET}, which static scales come from"
            )
        if recipe is None and dataset is not None:
            raise ValueError(f"{DATASET}: expected optimizations beside it")
        if recipe is None:
            return to_bytes(self.graph)
        feeds = None
        if dataset is not None:
            feeds = Feeds(self.graph, dataset, DATASET, self.channels_first)
        made, applied = compress_graph(self.graph, recipe, feeds, types=types, argument=DATASET)
        left = applied.get("float_operators", {})
        if all_integer and left:
            names = ", ".join(f"{shown(name)} ({why})" for name, why in list(left.items())[:8])
            raise ValueError(
                "target_spec.supported_ops: TFLITE_BUILTINS_INT8 alone: expected only operators "
                f"with an int8 form, got {len(left)} without: {names}"
            )
        return to_bytes(made)
