# SPDX-License-Identifier: Apache-2.0
"""Where a model's constructor gets its layers from: a checkpoint, or shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo import _checks, nn
from octavo._text import shown
from octavo._types import Array
from octavo.io.checkpoint import Checkpoint
from octavo.io.compressed_tensors import QuantizationConfig, Scheme
from octavo.nn import LinearOptions, SidePath
from octavo.nn.weights import KINDS, FloatWeight, Weight, weight_class

Transform = Callable[[str, nn.Module], nn.Module]


class LayerSource(Protocol):
    """What a model's constructor asks for its layers; names are those of the checkpoint."""

    def has(self, name: str) -> bool:
        """Whether an optional layer is there."""

    def linear(
        self,
        name: str,
        outputs: int,
        inputs: int,
        activation: str = "none",
        *,
        has_bias: bool = True,
    ) -> Any:
        """Return a linear layer."""

    def embedding(self, name: str, rows: int, columns: int) -> Any:
        """Return a table of vectors."""

    def layer_norm(self, name: str, size: int, epsilon: float, *, has_bias: bool = True) -> Any:
        """Return a layer norm."""


class WeightSource(Protocol):
    """Where weights are had otherwise than tensor by tensor."""

    def get(self, layer: str, shape: tuple[int, int]) -> Weight | None:
        """Return a layer's weight, None if it is not there."""


class CheckpointBuilder:
    """A `LayerSource` that reads each layer from a checkpoint when it is asked for.

    Parameters
    ----------
    checkpoint : Checkpoint
        The open files.
    quantization : QuantizationConfig or None
        How the checkpoint is quantized, if it is.
    transform : callable, optional
        ``transform(name, layer) -> layer``, applied to each layer before the next is read: what a
        conversion needs in memory is one layer.
    halves : bool
        Whether weights of 16 bits stay so; else they become float32.
    weights : WeightSource, optional
        Where weights are taken from, as far as they are there.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        quantization: QuantizationConfig | None,
        transform: Transform | None = None,
        halves: bool = False,
        weights: WeightSource | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._quantization = quantization
        self._transform = transform
        self._halves, self._weights = halves, weights
        self._used: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether layer `name` has a weight in the checkpoint."""
        keys = {cls.keys[0] for cls in KINDS.values()}
        return any(f"{name}.{key}" in self._checkpoint for key in keys)

    def linear(
        self,
        name: str,
        outputs: int,
        inputs: int,
        activation: str = "none",
        *,
        has_bias: bool = True,
    ) -> nn.Module:
        """Read a linear layer: int8 if the checkpoint says so, else float."""
        scheme = self._scheme(name, "Linear")
        if scheme is not None and not scheme.has_activations:
            raise ValueError(
                f"quantization_config: layer {shown(name)} has no input_activations; a linear "
                "layer with int8 weights and float activations is not supported"
            )
        reader = _Reader(self._checkpoint, name, self._used)
        weight = self._weight(reader, scheme, (outputs, inputs), "linear")
        bias = reader.float32("bias", (outputs,)) if has_bias else None
        options, side = LinearOptions(activation=activation), None
        if scheme is not None:
            if bias is not None and not np.isfinite(bias).all():
                raise ValueError(f"tensor {shown(reader.name('bias'))} holds NaN or infinity")
            options = _int8_options(reader, scheme, inputs, options)
            if scheme.outliers:
                tensors = {
                    "outlier_columns": reader.raw("outlier_columns"),
                    "outlier_weight": reader.float32("outlier_weight"),
                }
                side = SidePath.from_tensors(tensors, (outputs, inputs))
        return self._finish(name, nn.Linear.of(weight, bias, options, side))

    def embedding(self, name: str, rows: int, columns: int) -> nn.Module:
        """Read an embedding: int8 rows if the checkpoint says so, else float."""
        reader = _Reader(self._checkpoint, name, self._used)
        scheme = self._scheme(name, "Embedding")
        weight = self._weight(reader, scheme, (rows, columns), "embedding")
        return self._finish(name, nn.Embedding.of(weight))

    def layer_norm(
        self, name: str, size: int, epsilon: float, *, has_bias: bool = True
    ) -> nn.Module:
        """Read a layer norm."""
        weight = self._float(f"{name}.weight", (size,))
        bias = self._float(f"{name}.bias", (size,)) if has_bias else None
        return self._finish(name, nn.LayerNorm(weight, bias, eps=epsilon))

    def rms_norm(self, name: str, size: int, epsilon: float, offset: float = 0.0) -> nn.Module:
        """Read a norm by the root mean square, to whose weight `offset` is added."""
        weight = self._float(f"{name}.weight", (size,))
        if offset:
            with np.errstate(all="ignore"):
                weight = weight + np.float32(offset)
        return self._finish(name, nn.RMSNorm(weight, epsilon))

    def check_complete(self, prefixes: tuple[str, ...], optional: tuple[str, ...]) -> list[str]:
        """Return the tensors beside the encoder that no layer asked for; raise for one of its own.

        A config.json that promises fewer layers than the file holds would otherwise give a
        smaller model without a word.
        """
        old, rest = {"gamma": "weight", "beta": "bias"}, []
        for name in self._checkpoint:
            head, _, tail = name.rpartition(".")
            known = name in self._used or f"{head}.{old.get(tail, tail)}" in self._used
            if known or name.endswith(optional):
                continue
            if name.startswith(prefixes):
                raise ValueError(
                    f"{self._checkpoint.folder}: tensor {shown(name)} has no place in the model "
                    "that config.json describes"
                )
            rest.append(name)
        return rest + self._checkpoint.others()

    def _weight(
        self, reader: _Reader, scheme: Scheme | None, shape: tuple[int, int], role: str
    ) -> Weight:
        held = None if self._weights is None else self._weights.get(reader.layer, shape)
        if held is not None:
            return reader.all_taken(held)
        if scheme is not None:
            kind = scheme.kind
        else:
            stored = {"F16": "float16", "BF16": "bfloat16"} if self._halves else {}
            kind = stored.get(reader.dtype("weight"), "float32")
            if kind == "float32" and self._transform and not reader.is_sparse("weight"):
                return FloatWeight.streamed(reader.rows("weight", shape), shape)
        return weight_class(kind).read(reader, shape, role)

    def _float(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        self._used.add(name)
        return self._checkpoint.float32(name, shape)

    def _finish(self, name: str, layer: nn.Module) -> nn.Module:
        if self._transform is None:
            return layer
        made = self._transform(name, layer)
        weight = getattr(made, "held_weight", None)
        if isinstance(weight, FloatWeight):
            weight.values  # noqa: B018  what stays float leaves the file
        return made

    def _scheme(self, name: str, kind: str) -> Scheme | None:
        plain = f"{name}.weight"
        stored_int8 = plain in self._checkpoint and self._checkpoint.dtype(plain) == "I8"
        scheme = None
        if self._quantization is not None:
            scheme = self._quantization.scheme((name, self._checkpoint.full_name(name)), kind)
        if stored_int8 and scheme is None:
            raise ValueError(
                f"{self._checkpoint.folder}: tensor '{name}.weight' is stored as int8, but the "
                "quantization_config of config.json does not say how"
            )
        return scheme


class _Reader:
    """The tensors of one layer; it notes which were asked for."""

    def __init__(self, checkpoint: Checkpoint, layer: str, used: set[str]) -> None:
        self._checkpoint, self.layer, self._used = checkpoint, layer, used

    def name(self, key: str) -> str:
        """Return a tensor's name without the checkpoint's prefix."""
        return f"{self.layer}.{key}"

    def _take(self, key: str) -> str:
        self._used.add(self.name(key))
        return self.name(key)

    def all_taken(self, weight: Weight) -> Weight:
        """Return a weight that was not read here."""
        self._used.update(n for n in self._checkpoint if n.startswith(f"{self.layer}."))
        return weight

    def __contains__(self, key: object) -> bool:
        return f"{self.layer}.{key}" in self._checkpoint

    def dtype(self, key: str) -> str:
        return self._checkpoint.dtype(self.name(key))

    def float32(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        return self._checkpoint.float32(self._take(key), shape)

    def rows(self, key: str, shape: tuple[int, int]) -> Callable[[int, int], Array]:
        """Return what reads some rows of a float matrix; its type and shape are checked now."""
        name = self._take(key)
        self._checkpoint.float32(name, shape, (0, 0))
        return lambda start, stop: self._checkpoint.float32(name, shape, (start, stop))

    def int8(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        return self._checkpoint.int8(self._take(key), shape)

    def half(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        return self._checkpoint.half(self._take(key), shape)

    def raw(self, key: str) -> Array:
        return self._checkpoint.raw(self._take(key))

    def is_sparse(self, key: str) -> bool:
        return self._checkpoint.is_sparse(self.name(key))

    def is_shared(self, key: str) -> bool:
        return self._checkpoint.is_shared(self.name(key))

    def scale(self, key: str, rows: int) -> Array:
        """Return positive scales, one for each row; a file may have one for all."""
        name = self._take(key)
        scale = self._checkpoint.float32(name)
        if scale.size not in (1, rows):
            shape = (rows, 1) if key == "weight_scale" else (rows,)
            raise ValueError(f"tensor {shown(name)} has shape {scale.shape}, expected {shape}")
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(f"tensor {shown(name)} holds a scale that is not positive and finite")
        return np.ascontiguousarray(np.broadcast_to(scale.reshape(-1), (rows,)))


def _int8_options(
    reader: _Reader, scheme: Scheme, inputs: int, options: LinearOptions
) -> LinearOptions:
    """Read how a layer quantizes its input."""
    found: dict[str, Any] = {"symmetric": scheme.symmetric}
    if scheme.static:
        found["input_scale"] = reader.scale("input_scale", 1)
        if not scheme.symmetric:
            found["input_zero_point"] = _checks.only_value(
                reader.raw("input_zero_point"), "input_zero_point"
            )
    if scheme.multiplier:
        found["input_multiplier"] = reader.float32("input_multiplier", (inputs,))
    return options.replace(**found)
