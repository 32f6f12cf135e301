# SPDX-License-Identifier: Apache-2.0
"""Where a model's constructor gets its layers from: a checkpoint, or nowhere (to list them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo.io.bitmap import is_smaller

if TYPE_CHECKING:
    from octavo.io.checkpoint import Checkpoint
    from octavo.io.compressed_tensors import QuantizationConfig, Scheme

__all__ = ["CheckpointBuilder", "LayerSource", "LayerSpec", "SpecBuilder"]

Transform = Callable[[str, nn.Module], nn.Module]


class LayerSpec(NamedTuple):
    """One layer as the architecture asks for it."""

    kind: str
    shape: tuple[int, ...]
    activation: str = "none"
    epsilon: float = 0.0


class LayerSource(Protocol):
    """What a model's constructor asks for its layers; names are those of the checkpoint."""

    def has(self, name: str) -> bool:
        """Whether an optional layer is there."""

    def linear(self, name: str, outputs: int, inputs: int, activation: str = "none") -> Any:
        """Return a linear layer with a bias."""

    def embedding(self, name: str, rows: int, columns: int) -> Any:
        """Return a table of vectors."""

    def layer_norm(self, name: str, size: int, epsilon: float) -> Any:
        """Return a layer norm with weight and bias."""


class SpecBuilder:
    """A `LayerSource` that only writes down what it is asked for."""

    def __init__(self, has: Callable[[str], bool]) -> None:
        self.has = has
        self.specs: dict[str, LayerSpec] = {}

    def linear(self, name: str, outputs: int, inputs: int, activation: str = "none") -> None:
        """Note a linear layer."""
        self.specs[name] = LayerSpec("linear", (outputs, inputs), activation)

    def embedding(self, name: str, rows: int, columns: int) -> None:
        """Note an embedding."""
        self.specs[name] = LayerSpec("embedding", (rows, columns))

    def layer_norm(self, name: str, size: int, epsilon: float) -> None:
        """Note a layer norm."""
        self.specs[name] = LayerSpec("layer_norm", (size,), epsilon=epsilon)


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
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        quantization: QuantizationConfig | None,
        transform: Transform | None = None,
        halves: bool = False,
    ) -> None:
        self._checkpoint = checkpoint
        self._quantization = quantization
        self._transform = transform
        self._halves = halves
        self._used: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether layer `name` has a weight in the checkpoint."""
        return f"{name}.weight" in self._checkpoint

    def linear(self, name: str, outputs: int, inputs: int, activation: str = "none") -> nn.Module:
        """Read a linear layer: int8 if the checkpoint says so, else float32."""
        scheme = self._scheme(name, "Linear")
        if scheme is None:
            shape = outputs, inputs
            layer: nn.Module
            if self._is_half(name):
                half = self._checkpoint.half(self._take(f"{name}.weight"), shape)
                bias = self._float(f"{name}.bias", (outputs,))
                layer = nn.HalfLinear(half, bias, activation=activation)
            else:
                weight = self._float(f"{name}.weight", shape)
                bias = self._float(f"{name}.bias", (outputs,))
                layer = nn.FloatLinear(weight, bias, activation=activation)
            return self._finish(name, layer)
        if not scheme.has_activations:
            raise ValueError(
                f"quantization_config: layer {name!r} has no input_activations; a linear layer "
                "with int8 weights and float activations is not supported"
            )
        state = self._codes(name, (outputs, inputs))
        codes = state["weight"]
        if codes.size and codes.min() == -128:
            # Others round -max to -128 where exact kernels stop at -127; both lie half a step
            # from the value that was rounded.
            state["weight"] = np.maximum(codes, np.int8(-127))
        state["bias"] = _finite(f"{name}.bias", self._float(f"{name}.bias", (outputs,)))
        if scheme.static:
            state["input_scale"] = self._scale(f"{name}.input_scale", (1,))
            if not scheme.symmetric:
                point = self._checkpoint.raw(self._take(f"{name}.input_zero_point"))
                state["input_zero_point"] = point.reshape(-1)
        if scheme.multiplier:
            state["input_multiplier"] = self._float(f"{name}.input_multiplier", (inputs,))
        sparse = self._checkpoint.is_sparse(f"{name}.weight")
        if self._checkpoint.is_shared(f"{name}.weight"):
            # What its zeros save is not told by how it is stored.
            sparse = sparse or is_smaller(state["weight"])
        kind: type[nn.Linear] = nn.SparseLinear if sparse else nn.Linear
        if scheme.outliers:
            kind = nn.OutlierLinear
            state["outlier_columns"] = self._checkpoint.raw(self._take(f"{name}.outlier_columns"))
            count = state["outlier_columns"].size
            state["outlier_weight"] = self._float(f"{name}.outlier_weight", (outputs, count))
        layer = kind.from_state_dict(state, activation=activation, symmetric=scheme.symmetric)
        return self._finish(name, layer)

    def embedding(self, name: str, rows: int, columns: int) -> nn.Module:
        """Read an embedding: int8 rows if the checkpoint says so, else float32."""
        if self._scheme(name, "Embedding") is None:
            if self._is_half(name):
                half = self._checkpoint.half(self._take(f"{name}.weight"), (rows, columns))
                return self._finish(name, nn.HalfEmbedding(half))
            weight = self._float(f"{name}.weight", (rows, columns))
            return self._finish(name, nn.FloatEmbedding(weight))
        state = self._codes(name, (rows, columns))
        return self._finish(name, nn.Embedding.from_state_dict(state))

    def layer_norm(self, name: str, size: int, epsilon: float) -> nn.Module:
        """Read a layer norm."""
        weight = self._float(f"{name}.weight", (size,))
        bias = self._float(f"{name}.bias", (size,))
        return self._finish(name, nn.LayerNorm(weight, bias, eps=epsilon))

    def check_complete(self, prefixes: tuple[str, ...], optional: tuple[str, ...]) -> None:
        """Raise if the checkpoint holds tensors of the encoder that no layer asked for.

        A config.json that promises fewer layers than the file holds would otherwise give a
        smaller model without a word.
        """
        old = {"gamma": "weight", "beta": "bias"}
        for name in self._checkpoint:
            head, _, tail = name.rpartition(".")
            known = name in self._used or f"{head}.{old.get(tail, tail)}" in self._used
            if not known and name.startswith(prefixes) and not name.endswith(optional):
                raise ValueError(
                    f"{self._checkpoint.folder}: tensor {name!r} has no place in the model that "
                    "config.json describes"
                )

    def _take(self, name: str) -> str:
        self._used.add(name)
        return name

    def _float(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        return self._checkpoint.float32(self._take(name), shape)

    def _is_half(self, name: str) -> bool:
        return self._halves and self._checkpoint.dtype(f"{name}.weight") in ("F16", "BF16")

    def _finish(self, name: str, layer: nn.Module) -> nn.Module:
        return layer if self._transform is None else self._transform(name, layer)

    def _scheme(self, name: str, kind: str) -> Scheme | None:
        stored_int8 = self._checkpoint.dtype(f"{name}.weight") == "I8"
        scheme = None
        if self._quantization is not None:
            scheme = self._quantization.scheme((name, self._checkpoint.full_name(name)), kind)
        if stored_int8 and scheme is None:
            raise ValueError(
                f"{self._checkpoint.folder}: tensor '{name}.weight' is stored as int8, but the "
                "quantization_config of config.json does not say how"
            )
        return scheme

    def _codes(self, name: str, shape: tuple[int, int]) -> dict[str, npt.NDArray[Any]]:
        codes = self._checkpoint.int8(self._take(f"{name}.weight"), shape)
        zero_point = f"{name}.weight_zero_point"
        if zero_point in self._checkpoint and self._checkpoint.raw(self._take(zero_point)).any():
            raise ValueError(f"tensor {zero_point!r} is not zero; asymmetric weights are not read")
        scale = self._scale(f"{name}.weight_scale", (shape[0], 1))
        return {"weight": codes, "weight_scale": scale.reshape(shape[0], 1)}

    def _scale(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        scale = self._checkpoint.float32(self._take(name))
        if scale.size not in (1, shape[0]):
            raise ValueError(f"tensor {name!r} has shape {scale.shape}, expected {shape}")
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError(f"tensor {name!r} holds a scale that is not positive and finite")
        full: npt.NDArray[np.float32] = np.ascontiguousarray(
            np.broadcast_to(scale.reshape(-1), (shape[0],))
        )
        return full


def _finite(name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise ValueError(f"tensor {name!r} holds NaN or infinity")
    return values
