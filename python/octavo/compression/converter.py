# SPDX-License-Identifier: Apache-2.0
"""Converting a model the way TensorFlow Lite's converter taught people to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from octavo import _checks, nn
from octavo._files import replaced_file
from octavo._text import shown
from octavo.compression.entry import compress
from octavo.compression.graph_converter import (
    NEEDS_TENSORFLOW,
    GraphSource,
    TargetSpec,
    border_types,
)
from octavo.compression.graph_entry import read_graph_recipe
from octavo.compression.plain_module import converted_module
from octavo.compression.recipe import Quantize, Recipe, read_recipe
from octavo.data.sources import CalibrationData
from octavo.models.encoder import Encoder
from octavo.models.loader import load_encoder
from octavo.nn.tree import map_layers


class Optimize(str, Enum):
    """What `Converter.optimizations` may hold, beside recipes.

    Examples
    --------
    >>> import octavo
    >>> octavo.compression.Optimize.FLOAT16.value
    'fp16'
    """

    DEFAULT = "default"
    """int8; with a representative dataset, its activations are static (the recipe ``int8-static``;
    for a module that is no encoder without smoothing), without one dynamic (``int8``)."""
    FLOAT16 = "fp16"
    """Weights in float16."""
    SPARSITY = "sparse50"
    """Half of the weights of each linear layer become zero."""


class Converter:
    """Turns a float model into a small one.

    Made by `from_model`, `from_tflite` or `from_torch`. The habits are TensorFlow Lite's: choose
    optimizations, hand over a representative dataset, convert, save.

    Attributes
    ----------
    optimizations : list of Optimize, str, dict or Recipe
        Empty: the model stays float. Several are put together: one may prune, another quantize.
        Beside `Optimize`, everything that `octavo.compress` takes as a recipe.
    representative_dataset : optional
        A function that yields typical inputs, or any other form of calibration data that
        `octavo.compress` takes. About a hundred inputs do.
    inference_input_type, inference_output_type : numpy.float32, numpy.int8 or numpy.uint8
        Of the float inputs and outputs of a file with static scales.
    target_spec : TargetSpec
        What the runtime of a file takes.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> rng = np.random.default_rng(0)
    >>> layer = octavo.nn.FloatLinear(rng.standard_normal((4, 8)).astype(np.float32))
    >>> def typical_inputs():
    ...     for _ in range(100):
    ...         yield [rng.standard_normal((1, 8)).astype(np.float32)]
    >>> converter = octavo.compression.Converter.from_model(layer)
    >>> converter.optimizations = [octavo.compression.Optimize.DEFAULT]
    >>> converter.representative_dataset = typical_inputs
    >>> converter.convert()
    Linear(in_features=8, out_features=4, bias=False)
    """

    def __init__(self, model: nn.Module | GraphSource | str | os.PathLike[str]) -> None:
        self.optimizations: Iterable[Any] = ()
        self.representative_dataset: CalibrationData | None = None
        self.inference_input_type: Any = np.float32
        self.inference_output_type: Any = np.float32
        self.target_spec = TargetSpec()
        self._model: Any = model
        self._converted: Any = None

    @classmethod
    def from_model(cls, model: Any) -> Converter:
        """Return a converter of a model, which is left as it is.

        Parameters
        ----------
        model : Encoder, path, Module, or PyTorch model of transformers
            A path is a model folder's. A `torch` model goes through `octavo.torch.to_encoder`.

        Raises
        ------
        TypeError
            For anything else.
        """
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(model, torch.nn.Module):
            model = import_module("octavo.torch").to_encoder(model)
        if not isinstance(model, (nn.Module, str, os.PathLike)):
            kind = _checks.describe(model)
            raise TypeError(f"model: expected a model or a folder, got {kind}")
        return cls(model)

    @classmethod
    def from_tflite(cls, source: str | os.PathLike[str] | bytes) -> Converter:
        """Return a converter of a float ``.tflite`` file, of its path or what it holds.

        Raises
        ------
        TypeError, ValueError, OSError
            As `octavo.tflite.read`; also for a file that is quantized already.
        """
        return cls(GraphSource.from_file(source))

    @classmethod
    def from_torch(cls, module: Any, example_inputs: Any) -> Converter:
        """Return a converter of a PyTorch module to a ``.tflite`` file.

        Parameters
        ----------
        module : torch.nn.Module
        example_inputs : tuple of tensors, or a tensor
            What it is called with; their shapes become the file's. Images are (batch, channels,
            height, width), as those of the representative dataset; the file takes them as (batch,
            height, width, channels).

        Raises
        ------
        ImportError
            Without PyTorch.
        TypeError, ValueError
            As `octavo.torch.to_graph`.
        """
        return cls(GraphSource.from_torch(module, example_inputs))

    @classmethod
    def from_saved_model(cls, saved_model_dir: object) -> NoReturn:
        """Say what to do with a folder that TensorFlow saved: always an error."""
        raise NotImplementedError(f"saved_model_dir: {shown(saved_model_dir)}: {NEEDS_TENSORFLOW}")

    from_keras_model = from_saved_model

    @property
    def recipe(self) -> Recipe | None:
        """What the optimizations come to; None if the model stays float.

        Raises
        ------
        TypeError, ValueError
            If they are unknown or contradict each other.
        """
        wanted = self.optimizations
        if isinstance(wanted, (str, Mapping, Recipe)) or not isinstance(wanted, Iterable):
            raise TypeError(f"optimizations: expected a list, got {type(wanted).__name__}")
        recipe: Recipe | None = None
        for item in wanted:
            one = self._recipe_of(item)
            recipe = one if recipe is None else _together(recipe, one)
        return recipe

    def convert(self) -> Any:
        """Return the converted model.

        Returns
        -------
        Encoder, Module or bytes
            A copy, of the class of the model; of a file or a PyTorch module what a ``.tflite`` file
            holds.

        Raises
        ------
        TypeError, ValueError
            As `octavo.compress`. For a module that is no encoder also if the recipe is more than
            int8.
        OSError
            If the model's folder cannot be read.
        """
        recipe, data = self.recipe, self.representative_dataset
        types = border_types(self.inference_input_type, self.inference_output_type)
        if isinstance(self._model, GraphSource):
            all_integer = self.target_spec.is_integer
            self._converted = self._model.converted(recipe, data, types, all_integer)
        elif recipe is None:
            if data is not None:
                raise ValueError("representative_dataset: expected optimizations beside it")
            self._converted = self._as_it_is()
        elif isinstance(self._model, nn.Module) and not isinstance(self._model, Encoder):
            self._converted = converted_module(self._model, recipe, data)
        else:
            self._converted = compress(self._model, recipe, calibration=data)
        return self._converted

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the converted model as a folder; it is converted now if it was not yet.

        Parameters
        ----------
        path : str or os.PathLike
            As for `Encoder.save`; of a ``.tflite`` file its own.

        Raises
        ------
        TypeError
            If the model is no encoder: only those have files.
        OSError
            If the folder cannot be written.
        """
        if self._is_plain_module:
            kind = type(self._model).__name__
            raise TypeError(f"model: expected an encoder to save, got {kind}")
        made = self.convert() if self._converted is None else self._converted
        if isinstance(made, bytes):
            with replaced_file(Path(path)) as file:
                file.write(made)
        else:
            made.save(path)

    @property
    def _is_plain_module(self) -> bool:
        return isinstance(self._model, nn.Module) and not isinstance(self._model, Encoder)

    def _recipe_of(self, item: Any) -> Recipe:
        if item == Optimize.DEFAULT:
            if self.target_spec.is_half:
                return read_recipe("fp16")
            if self.representative_dataset is None:
                return read_recipe("int8")
            if self._is_plain_module:
                return Recipe(quantize=Quantize(activations="static"))
            item = "int8-static"
        read = read_graph_recipe if isinstance(self._model, GraphSource) else read_recipe
        try:
            return read(item.value if isinstance(item, Optimize) else item)
        except (TypeError, ValueError) as error:
            raise type(error)(f"optimizations: {error}") from None

    def _as_it_is(self) -> nn.Module:
        if isinstance(self._model, nn.Module):
            return map_layers(self._model, lambda _, layer: layer)
        return load_encoder(self._model)


def _together(one: Recipe, other: Recipe) -> Recipe:
    """Return a recipe that does what both say."""
    changes: dict[str, Any] = {}
    for key, nothing in (
        ("prune", None),
        ("quantize", Quantize("none")),
        ("share", None),
        ("store", "plain"),
        ("seed", 0),
    ):
        first, second = getattr(one, key), getattr(other, key)
        if nothing not in (first, second) and first != second:
            raise ValueError(f"optimizations: expected one that says {key}, got several")
        changes[key] = second if first == nothing else first
    return replace(one, **changes)
