# SPDX-License-Identifier: Apache-2.0
"""Where a model's constructor gets its layers from: a checkpoint, or shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from octavo import _checks, nn
from octavo._text import shown
from octavo.io.checkpoint import Checkpoint
from octavo.io.quantization import Quantization
from octavo.io.scheme import Scheme
from octavo.models.layer_reader import LayerReader
from octavo.models.packed import PACKED_KEYS, read_packed
from octavo.nn import LinearOptions, SidePath
from octavo.nn.weights import KINDS, FloatWeight, Weight, weight_class

OPTIONAL = (
    # Buffers that old versions of transformers stored: 0, 1, 2, ..., and frequencies.
    *("position_ids", "rotary_emb.inv_freq"),
    *("weight_zero_point", "input_zero_point"),
    # Transformers' head has scales of its own also where its codes are the table's.
    "lm_head.weight_scale",
)
"""How names of tensors end that may be left over."""

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
    quantization : Quantization or None
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
        quantization: Quantization | None,
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
        keys = {*(cls.keys[0] for cls in KINDS.values()), *PACKED_KEYS}
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
        reader = LayerReader(self._checkpoint, name, self._used)
        weight = self._weight(reader, scheme, (outputs, inputs), "linear")
        bias = reader.float32("bias", (outputs,)) if has_bias else None
        if scheme is not None and scheme.packing is not None and not has_bias:
            reader.require_no_bias()
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
        reader = LayerReader(self._checkpoint, name, self._used)
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
        self, reader: LayerReader, scheme: Scheme | None, shape: tuple[int, int], role: str
    ) -> Weight:
        held = None if self._weights is None else self._weights.get(reader.layer, shape)
        if held is not None:
            return reader.all_taken(held)
        if scheme is not None and scheme.packing is not None:
            return read_packed(reader, scheme, shape)
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
        scheme = None
        if self._quantization is not None:
            scheme = self._quantization.scheme((name, self._checkpoint.full_name(name)), kind)
        words = next((k for k in PACKED_KEYS if f"{name}.{k}" in self._checkpoint), None)
        if scheme is not None:
            return None if scheme.is_told_by_tensors and words is None else scheme
        name += ".weight" if words is None else f".{words}"
        is_int8 = name in self._checkpoint and self._checkpoint.dtype(name) == "I8"
        if words is None and not is_int8:
            return None
        raise ValueError(
            f"{self._checkpoint.folder}: tensor {shown(name)} is stored"
            f" {'as int8' if is_int8 else 'in packed words'}, but the quantization_config of"
            " config.json does not say how"
        )


def _int8_options(
    reader: LayerReader, scheme: Scheme, inputs: int, options: LinearOptions
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
