# SPDX-License-Identifier: Apache-2.0
"""A graph: tensors, the operators between them, and the check that it is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from octavo import _checks
from octavo._text import shown
from octavo._types import Array, Float32, Int64
from octavo.graph.infer import check_size, inferred
from octavo.graph.kinds import KINDS
from octavo.graph.order import in_order

DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
"""Types of elements that a tensor may have."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """What codes stand for: ``(code - zero_point) * scale``.

    Attributes
    ----------
    scale : float32 array, (1,) or (channels,)
    zero_point : int64 array of the same shape
    axis : int
        The axis of channels; 0 where there is one scale for the tensor.
    """

    scale: Float32
    zero_point: Int64
    axis: int = 0

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int = 0) -> Quantization:
        """Return the quantization of a tensor with one scale."""
        return cls(np.array([scale], np.float32), np.array([zero_point], np.int64))

    def dequantized(self, codes: Array) -> Float32:
        """Return what codes stand for, ``float32(code - zero_point) * scale``."""
        scale, zero_point = self._beside(codes)
        if codes.dtype.itemsize <= 2:  # exact in float32
            return (codes.astype(np.float32) - zero_point.astype(np.float32)) * scale
        return self.centred(codes).astype(np.float32) * scale

    def centred(self, codes: Array) -> Int64:
        """Return codes less their zero points."""
        return codes.astype(np.int64) - self._beside(codes)[1]

    def quantized(self, values: Array, dtype: np.dtype[Any]) -> Array:
        """Return the codes of values: ``rint(value / scale) + zero_point`` within `dtype`."""
        scale, zero_point = self._beside(values)
        limits, exact = np.iinfo(dtype), np.float32 if np.dtype(dtype).itemsize <= 2 else np.float64
        with np.errstate(all="ignore"):
            steps = np.rint(values.astype(np.float32, copy=False) / scale).astype(exact, copy=False)
        steps = np.where(np.isnan(steps), exact(0), steps) + zero_point.astype(exact)
        return np.clip(steps, limits.min, limits.max).astype(dtype)

    def equals(self, other: Quantization | None) -> bool:
        """Whether codes of both stand for the same numbers."""
        return other is not None and (
            np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and (self.axis == other.axis or self.scale.size == 1)
        )

    def _beside(self, array: Array) -> tuple[Float32, Int64]:
        if self.scale.size == 1:
            return self.scale.reshape(()), self.zero_point.reshape(())
        shape = [1] * array.ndim
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


@dataclass(eq=False)
class Tensor:
    """A value of a graph: an input, a constant, or what an operator makes.

    Attributes
    ----------
    name : str
    shape : tuple of int
        For what an operator makes, a statement of the file's: `infer_shapes` finds the real one.
    dtype : numpy.dtype
    data : array of that shape and dtype, or None
        A constant's.
    quantization : Quantization, optional
    variable : bool
        Whether it keeps its value from call to call.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: Array | None = None
    quantization: Quantization | None = None
    variable: bool = False


@dataclass(eq=False)
class Operator:
    """One operation.

    Attributes
    ----------
    kind : str
        What it does, a key of `KINDS`: TensorFlow Lite's name of it in lower case.
    inputs, outputs : tuple of int
        Indices of tensors; -1 is an input left out.
    options : dict
        By the names that TensorFlow Lite's schema gives them.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Signature:
    """Names under which a graph is called: of inputs and outputs, to indices of tensors."""

    key: str
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(eq=False)
class Graph:
    """Tensors and the operators between them, with images as (batch, height, width, channels).

    Attributes
    ----------
    tensors : list of Tensor
    operators : list of Operator
        In any order; `order` finds one in which they can run.
    inputs, outputs : list of int
        Indices of tensors.
    signatures : list of Signature
    name : str
    """

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]
    signatures: list[Signature] = field(default_factory=list)
    name: str = ""

    def order(self) -> list[int]:
        """Return the indices of all operators so that each comes after those it reads from.

        Raises
        ------
        ValueError
            If they read from each other in a circle.
        """
        return in_order(self)

    def describe(self, index: int) -> str:
        """Return what messages call a tensor: its index and its name."""
        return f"tensor {index} ({shown(self.tensors[index].name)})"

    def check(self) -> None:
        """Refuse what is no graph, or has what no operator here can compute.

        Raises
        ------
        ValueError
            It names the tensor or the operator, what was expected, and what came.
        """
        for index in range(len(self.tensors)):
            self._check_tensor(index)
        self._check_ends()
        for index, operator in enumerate(self.operators):
            self._check_operator(index, operator)
        self._check_origins()
        inferred(self, {})

    def _check_tensor(self, index: int) -> None:
        tensor, name = self.tensors[index], self.describe(index)
        if np.dtype(tensor.dtype).name not in DTYPES:
            raise ValueError(f"{name}: expected one of {', '.join(DTYPES)}, got {tensor.dtype}")
        check_size(name, tensor.shape, tensor)
        data = tensor.data
        if data is not None and (data.shape != tensor.shape or data.dtype != tensor.dtype):
            raise ValueError(
                f"{name}: expected data of {tensor.dtype} with shape {shown(tensor.shape)},"
                f" got {data.dtype} with shape {shown(data.shape)}"
            )
        if tensor.quantization is not None:
            _check_quantization(tensor, tensor.quantization, name)

    def _check_ends(self) -> None:
        groups = {"inputs": self.inputs, "outputs": self.outputs}
        for signature in self.signatures:
            where = f"signature {shown(signature.key)}"
            groups[f"{where}, inputs"] = list(signature.inputs.values())
            groups[f"{where}, outputs"] = list(signature.outputs.values())
        for where, indices in groups.items():
            for index in indices:
                self._check_index(index, where, 0)
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"inputs: expected each tensor once, got {shown(self.inputs)}")
        for index in self.inputs:
            if self.tensors[index].data is not None:
                raise ValueError(f"{self.describe(index)}: expected no data for an input, got some")

    def _check_index(self, index: int, where: str, low: int) -> None:
        if not low <= index < len(self.tensors):
            count = len(self.tensors)
            raise ValueError(f"{where}: expected an index of {count} tensors, got {shown(index)}")

    def _check_operator(self, index: int, operator: Operator) -> None:
        name = f"operator {index} ({shown(operator.kind)})"
        kind = KINDS.get(operator.kind)
        if kind is None:
            raise ValueError(f"{name}: expected one of {', '.join(sorted(KINDS))}")
        for tensor in operator.inputs:
            self._check_index(tensor, f"{name}, inputs", -1)
        for tensor in operator.outputs:
            self._check_index(tensor, f"{name}, outputs", 0)
        needed, most = kind.inputs
        given = len(operator.inputs)
        if not needed <= given <= most or -1 in operator.inputs[:needed]:
            wanted = f"{needed}" if needed == most else f"{needed} to {most}"
            raise ValueError(f"{name}: expected {wanted} inputs, got {shown(operator.inputs)}")
        if not operator.outputs:
            raise ValueError(f"{name}: expected outputs, got none")

    def _check_origins(self) -> None:
        """Each tensor that is read has one origin: it is given, constant, or made once."""
        origin = dict.fromkeys(self.inputs, "an input")
        origin |= {i: "constant" for i, one in enumerate(self.tensors) if one.data is not None}
        for index, operator in enumerate(self.operators):
            for tensor in operator.outputs:
                if tensor in origin:
                    raise ValueError(
                        f"{self.describe(tensor)}: operator {index} ({operator.kind}) makes it,"
                        f" but it is {origin[tensor]} already"
                    )
                origin[tensor] = f"made by operator {index}"
        for index, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                if tensor >= 0 and tensor not in origin:
                    raise ValueError(
                        f"{self.describe(tensor)}: operator {index} ({operator.kind}) reads it,"
                        " but it is no input, has no data, and nothing makes it"
                    )
        for tensor in self.outputs:
            if tensor not in origin:
                raise ValueError(f"{self.describe(tensor)}: an output that nothing makes")


def _check_quantization(tensor: Tensor, quantization: Quantization, name: str) -> None:
    scale, zero_point = quantization.scale, quantization.zero_point
    if scale.ndim != 1 or scale.size == 0 or scale.shape != zero_point.shape:
        raise ValueError(
            f"{name}: expected as many zero points as scales, got shapes {scale.shape}"
            f" and {zero_point.shape}"
        )
    _checks.check_scale(scale, f"{name}, scale")
    if scale.size > 1:
        axis = quantization.axis
        if not 0 <= axis < len(tensor.shape) or tensor.shape[axis] != scale.size:
            raise ValueError(
                f"{name}: expected a scale for each channel of axis {shown(axis)} of shape"
                f" {shown(tensor.shape)}, got {scale.size}"
            )
    if tensor.dtype.kind not in "iu":
        return
    limits = np.iinfo(tensor.dtype)
    if zero_point.min() < limits.min or zero_point.max() > limits.max:
        worst = zero_point.min() if zero_point.min() < limits.min else zero_point.max()
        raise ValueError(
            f"{name}: expected zero points in the range of {tensor.dtype}, got {worst}"
        )
