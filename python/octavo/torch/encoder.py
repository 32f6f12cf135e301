# SPDX-License-Identifier: Apache-2.0
"""From a transformers model in memory to an octavo encoder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from octavo import nn
from octavo._warn import warn
from octavo.io.bitmap import is_smaller
from octavo.io.checkpoint import left_out
from octavo.io.side_files import side_files
from octavo.models.config import HEADS, read_config
from octavo.models.encoder import Encoder
from octavo.models.loader import build
from octavo.nn.weights import Int8Weight
from octavo.torch._pruned import stored_weight, weight_of
from octavo.torch.embedding import Embedding
from octavo.torch.linear import Linear
from octavo.torch.qat import QatEmbedding, QatLinear
from octavo.torch.sparse_linear import SparseLinear
from octavo.torch.tensors import to_numpy, unusable


def to_encoder(model: torch.nn.Module, tokenizer: str | os.PathLike[str] | None = None) -> Encoder:
    """Make an octavo encoder of a BERT-like model of transformers, without files.

    The encoder is what `octavo.models.load` gives for the saved model, bit for bit: a classifier of
    sequences or tokens and one that answers questions keep their heads; a warning names what is
    left out. Layers that are int8 already, or train for
    it, are int8 there with the same codes and scales.

    Parameters
    ----------
    model : torch.nn.Module
        ``BertModel``, or another that `octavo.models.load` knows, or one around it, on the CPU; its
        layers float, or those of `octavo.torch`.
    tokenizer : str or os.PathLike, optional
        A folder whose tokenizer files belong to the model: `Encoder.save` writes them, and
        sentences can be given as calibration data.

    Returns
    -------
    octavo.models.Encoder

    Raises
    ------
    TypeError
        If `model` is no such model.
    ValueError
        For an architecture that octavo does not have, and for the first layer that does not fit:
        of another kind or shape, with a patched forward, on another device.
    FileNotFoundError
        If `tokenizer` is no folder.

    Notes
    -----
    Float32 weights are shared with the model, not copied: training the model further changes the
    encoder. `octavo.compress` and `Encoder.save` copy.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> try:
    ...     octavo.torch.to_encoder(torch.nn.Linear(4, 4))
    ... except TypeError as error:
    ...     print(error)
    model: expected a BERT-like model of transformers, got Linear
    """
    inner = getattr(model, "base_model", None)
    raw = _raw_config(model) if isinstance(model, torch.nn.Module) else None
    if raw is None or not isinstance(inner, torch.nn.Module):
        kind = type(model).__name__
        raise TypeError(f"model: expected a BERT-like model of transformers, got {kind}")
    try:
        config = read_config(raw)
    except ValueError as error:
        raise ValueError(f"model: {error}") from None
    source = ModuleSource(model, inner)
    encoder = build(config, source)
    others = source.check_complete(type(encoder).prefixes())
    if others:
        warn(f"model: {left_out(others)}")
    if tokenizer is not None:
        folder = Path(tokenizer)
        if not folder.is_dir():
            raise FileNotFoundError(f"tokenizer: no such folder: {folder}")
        encoder.source, encoder.files = folder.resolve(), side_files(folder)
    return encoder


def _raw_config(model: Any) -> dict[str, Any] | None:
    """Return what the config.json of the saved model would hold."""
    make = getattr(getattr(model, "config", None), "to_json_string", None)
    if make is None:
        return None
    raw: dict[str, Any] = json.loads(make())
    raw.pop("quantization_config", None)
    known = [kind for kind in type(model).__mro__ if kind.__module__.startswith("transformers.")]
    raw["architectures"] = [kind.__name__ for kind in known[:1]]
    return raw


class ModuleSource:
    """A `LayerSource` that takes each layer from a torch model when it is asked for.

    Names are relative to the encoder in it, but for those of a classification head.
    """

    def __init__(self, model: torch.nn.Module, inner: torch.nn.Module) -> None:
        self._model, self._inner = model, inner
        paths = [name for name, part in model.named_modules() if part is inner]
        self._prefix = f"{paths[0]}." if paths and paths[0] else ""
        self._used: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the model has layer `name`."""
        return self._find(name) is not None

    def linear(
        self, name: str, outputs: int, inputs: int, activation: str = "none", **_: bool
    ) -> nn.Module:
        """Take a linear layer, float or int8."""
        module = self._take(name, torch.nn.Linear, Linear, SparseLinear, QatLinear)
        self._check(name, (module.out_features, module.in_features), (outputs, inputs))
        if isinstance(module, (Linear, QatLinear)):
            try:
                return _numpy_linear(module, activation)
            except ValueError as error:
                raise self._error(name, str(error)) from None
        bias = None if module.bias is None else to_numpy(module.bias)
        return nn.FloatLinear(to_numpy(weight_of(module)), bias, activation=activation)

    def embedding(self, name: str, rows: int, columns: int) -> nn.Module:
        """Take a table of vectors, float or int8."""
        module = self._take(name, torch.nn.Embedding, Embedding, QatEmbedding)
        self._check(name, (module.num_embeddings, module.embedding_dim), (rows, columns))
        if isinstance(module, QatEmbedding):
            try:
                return nn.Embedding(*map(to_numpy, module.int8_weight()))
            except ValueError as error:
                raise self._error(name, str(error)) from None
        if isinstance(module, Embedding):
            weight = module._held()
            if isinstance(weight, Int8Weight):
                # A tied one lies packed, where looking rows up is slow.
                return nn.Embedding(weight.codes, weight.scale)
            return nn.Embedding.of(weight)
        if module.max_norm is not None:
            raise self._error(name, "expected max_norm None, which rewrites the table while used")
        return nn.FloatEmbedding(to_numpy(weight_of(module)))

    def layer_norm(self, name: str, size: int, epsilon: float, **_: bool) -> nn.LayerNorm:
        """Take a layer norm."""
        module = self._take(name, torch.nn.LayerNorm)
        self._check(name, tuple(module.normalized_shape), (size,))
        if module.eps != epsilon:
            raise self._error(name, f"expected eps {epsilon}, as the config says, got {module.eps}")
        bias = None if module.bias is None else to_numpy(module.bias)
        return nn.LayerNorm(to_numpy(weight_of(module)), bias, eps=epsilon)

    def check_complete(self, prefixes: tuple[str, ...]) -> list[str]:
        """Return layers outside the encoder that nobody asked for; refuse some within."""
        for name, part in self._inner.named_modules(remove_duplicate=False):
            extra = part._parameters and name not in self._used and name.startswith(prefixes)
            if extra:
                raise self._error(name, "has no place in what the config describes")
        if not self._prefix:
            return []
        own = (name for name, part in self._model.named_modules() if part._parameters)
        return [
            name for name in own if name not in self._used and not name.startswith(self._prefix)
        ]

    def _owner(self, name: str) -> torch.nn.Module:
        return self._model if f"{name}.".startswith(HEADS) else self._inner

    def _find(self, name: str) -> Any:
        try:
            return self._owner(name).get_submodule(name)
        except AttributeError:
            return None

    def _take(self, name: str, *kinds: type[torch.nn.Module]) -> Any:
        module = self._find(name)
        self._used.add(name)
        if module is None:
            raise self._error(name, "the model has none, but its config asks for it")
        if type(module) not in kinds:
            wanted = " or ".join(f"{kind.__module__}.{kind.__name__}" for kind in kinds)
            raise self._error(name, f"expected {wanted}, got {type(module).__name__}")
        if "forward" in vars(module):
            raise self._error(name, "expected its own forward, got a patched one")
        if isinstance(module, (Linear, Embedding)):
            return module
        if stored_weight(module) is None:
            raise self._error(name, "expected a weight that is a parameter, got a computed one")
        for key, tensor in module._parameters.items():
            problem = None if tensor is None else unusable(tensor)
            if problem is not None:
                raise self._error(name, f"{key}: {problem}")
        return module

    def _check(self, name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if shape != wanted:
            raise self._error(name, f"expected shape {wanted}, as the config says, got {shape}")

    def _error(self, name: str, what: str) -> ValueError:
        prefix = self._prefix if self._owner(name) is self._inner else ""
        return ValueError(f"model: layer {prefix + name!r}: {what}")


def _numpy_linear(module: Linear | QatLinear, activation: str) -> nn.Linear:
    """Return the NumPy layer of one in PyTorch: the same object if it does the same."""
    changes: dict[str, Any] = {}
    if isinstance(module, QatLinear):
        weight = Int8Weight.from_quantized(*map(to_numpy, module.int8_weight()))
        layer = nn.Linear.of(weight, None, module.input_options())
    else:
        layer = module._weight.current()
    bias = module.bias if isinstance(module, QatLinear) else module.held_bias
    if bias is not None and layer.bias is None:
        changes["bias"] = to_numpy(bias)
    if activation != "none":
        changes["activation"] = activation
    if layer.kind == "int8":
        codes, scale = layer.weight_codes, layer.weight_scale
        if layer.held_weight.leaves_zeros_out != is_smaller(codes):
            format = "auto" if is_smaller(codes) else None
            changes["weight"] = Int8Weight.from_quantized(codes, scale, format=format)
    return layer.replace(**changes) if changes else layer
