# SPDX-License-Identifier: Apache-2.0
"""The weight of int8 codes with a scale per row, dense or without its zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks, tuning
from octavo._formats import DENSE, SPARSE_FORMATS
from octavo._types import Array
from octavo.nn.options import OPTIONS, LinearOptions
from octavo.nn.weights.base import Layout, Memory, Weight
from octavo.nn.weights.codes import (
    bitmap_layout,
    bitmap_parts,
    code_tensors,
    form_of,
    from_bitmap,
    is_smaller,
    largest_code,
    quantized_weight,
    rows_of_panels,
    scale_of_rows,
)
from octavo.nn.weights.stored import Stored, StoredTensor, TensorReader
from octavo.sparse.dense import as_dense

FORMATS = ("auto", DENSE, *SPARSE_FORMATS)


class Int8Weight(Weight):
    """Symmetric int8 codes with a scale per row.

    Made by `from_float`, `from_quantized` or `from_tensors`; the constructor trusts its arguments.
    A weight that a layer computes with lies in that layer's packed memory alone: `bind` lets go of
    the codes, which are unpacked from there when somebody asks for them.

    Parameters
    ----------
    codes : int8 array, shape (N, K)
    scale : float32 array, shape (N,)
    format : str, optional
        "dense" or one of `octavo.tuning.SPARSE_FORMATS`: how codes are held, of a weight whose
        zeros are there for good; None for one whose zeros mean nothing.
    """

    kind = "int8"
    takes = frozenset(OPTIONS)
    keys = ("weight", "weight_scale")

    def __init__(self, codes: Array, scale: Array, format: str | None = None) -> None:
        if format not in (None, DENSE) and codes.shape[1] > tuning.MOST_INPUTS:
            raise ValueError(
                f"format: {format!r} takes at most {tuning.MOST_INPUTS} inputs, got"
                f" {codes.shape[1]}"
            )
        self._codes: Array | None = codes
        self._scale, self._format = scale, format
        self._bound: Any = None
        self._packed: Any = None
        self._sparsity: float | None = None
        self.shape = int(codes.shape[0]), int(codes.shape[1])

    @classmethod
    def from_float(  # type: ignore[override]
        cls,
        values: Any,
        *,
        format: str | None = None,
        rows: int | Sequence[int] | None = None,
    ) -> Int8Weight:
        """Quantize a float matrix, finite; zeros stay zeros."""
        dense = values if format is None else as_dense(values, "weight")
        return cls.from_quantized(*quantized_weight(dense), format=format, rows=rows)

    @classmethod
    def from_quantized(
        cls,
        codes: Any,
        scale: ArrayLike,
        *,
        format: str | None = None,
        rows: int | Sequence[int] | None = None,
    ) -> Int8Weight:
        """Check codes and scales.

        Parameters
        ----------
        codes : int8 array, shape (N, K)
            With a format also an int8 matrix of `scipy.sparse`, or an int8 sparse tensor of
            PyTorch.
        scale : positive float array, shape (N,) or (N, 1) or one value
        format : "auto", "dense" or one of `octavo.tuning.SPARSE_FORMATS`, optional
        rows : int or sequence of int, optional
            How many rows calls will have, for "auto"; see `octavo.tuning.choose`.
        """
        if format is not None:
            _checks.choice(format, "format", FORMATS)
            codes = as_dense(codes, "codes", codes=True)
        array = _checks.as_codes(codes, "codes", (_checks.INT8,))
        _checks.check_shape(array, (None, None), "codes")
        array, scales = np.ascontiguousarray(array), scale_of_rows(scale, len(array))
        if format == "auto":
            format = tuning.choose(array, rows)
        elif rows is not None:
            raise ValueError(f"rows: expected None with format={format!r}, got {rows!r}")
        return cls(array, scales, format)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any], **form: Any) -> Int8Weight:
        """Take ``weight`` and ``weight_scale``."""
        return cls.from_quantized(tensors["weight"], tensors["weight_scale"], **form)

    @classmethod
    def read(cls, tensors: TensorReader, shape: tuple[int, int], role: str) -> Int8Weight:
        """Read codes and scales; those of a layer whose zeros save something are held without."""
        codes = tensors.int8("weight", shape)
        point = "weight_zero_point"
        if point in tensors and tensors.raw(point).any():
            raise ValueError(
                f"tensor {tensors.name(point)!r} is not zero; asymmetric weights are not read"
            )
        scale = tensors.scale("weight_scale", shape[0])
        if role == "embedding":
            return cls(codes, scale)
        sparse = tensors.is_sparse("weight")
        if tensors.is_shared("weight"):
            # What its zeros save is not told by how it is stored.
            sparse = sparse or is_smaller(codes)
        return cls.from_quantized(codes, scale, format="auto" if sparse else None)

    @property
    def codes(self) -> Array:
        """The codes, (N, K) int8; unpacked on every access if a layer computes with them."""
        held = self._codes
        return self._packed.unpack() if held is None else held

    @property
    def scale(self) -> Array:
        """The scale of each row, (N,) float32; read-only if a layer computes with it."""
        return self._scale if self._bound is None else self._bound.scale

    @property
    def format(self) -> str:
        """How codes are held: "dense" or one of `octavo.tuning.SPARSE_FORMATS`."""
        return DENSE if self._format is None else self._format

    @property
    def leaves_zeros_out(self) -> bool:
        """Whether zeros are there for good: memory and files make use of them where it pays."""
        return self._format is not None

    @property
    def sparsity(self) -> float:
        """The share of codes that are zero; 1.0 if there are none."""
        if self._sparsity is None:
            codes = self.codes
            self._sparsity = 1.0 - (np.count_nonzero(codes) / codes.size if codes.size else 0.0)
        return self._sparsity

    @property
    def bits(self) -> int:
        """How many bits the codes need, at most 8."""
        return min(8, 1 + largest_code(self.codes).bit_length())

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales; packed, with the sums of the codes."""
        if self._packed is None:
            return self.codes.nbytes + self._scale.nbytes
        return int(self._packed.nbytes) + self._scale.nbytes

    def tensors(self) -> dict[str, Array]:
        """Return the codes, and the scales as (N, 1)."""
        scale = self.scale[:, None]
        return {"weight": self.codes, "weight_scale": scale if scale.flags.writeable else +scale}

    def portable(self) -> dict[str, Array]:
        """Return codes and scales; of a weight that leaves zeros out, a bitmap and the others."""
        tensors = self.tensors()
        if not self.leaves_zeros_out:
            return tensors
        return {**bitmap_parts(tensors["weight"]), "weight_scale": tensors["weight_scale"]}

    def layouts(self) -> list[Layout]:
        """List both ways; any int8 weight is read from either."""
        n, k = self.shape
        scale: Layout = {"weight_scale": (np.dtype(np.float32), (n, 1))}
        dense: Layout = {"weight": (np.dtype(np.int8), (n, k)), **scale}
        sparse = {**bitmap_layout((n, k)), **scale}
        return [sparse, dense] if self.leaves_zeros_out else [dense, sparse]

    def memory(self, bound: Any) -> Memory:
        """Return the packed codes (panels, groups, width, group) and the scales, both writable.

        Element (p, g, i, j) is code (p * width + i, g * group + j).  The memory of codes without
        zeros depends on the format, and is not shown.
        """
        codes, scale, bias = bound.memory()
        if self.leaves_zeros_out:
            return Memory({"weight_scale": scale}, bias, whole=False)
        return Memory({"packed": codes, "weight_scale": scale}, bias)

    @classmethod
    def from_parts(
        cls, parts: Mapping[str, Any], shape: tuple[int, int], **form: Any
    ) -> Int8Weight:
        """Make one of packed or plain codes, or a bitmap and the codes that are not zero."""
        n, k = shape
        if not n:
            codes: Array = np.empty(shape, np.int8)
        elif "packed" in parts:
            codes = rows_of_panels(parts["packed"], np.arange(n), k)
        else:
            codes = from_bitmap(parts, shape) if "weight_bitmap" in parts else parts["weight"]
        if codes.shape != shape:
            raise ValueError(f"weight: expected shape {shape}, got {codes.shape}")
        return cls.from_quantized(codes, parts["weight_scale"], **form)

    def shareable(self) -> dict[str, Array]:
        """Return what a layer computes with, packed, if there is one; and the scales."""
        if self._packed is None:
            return self.tensors()
        return {"packed": self._packed.packed, "weight_scale": self.scale}

    @classmethod
    def attach(cls, arrays: Mapping[str, Any], shape: tuple[int, int], **form: Any) -> Int8Weight:
        """Make one of packed codes, which only the native backend has, or plain ones."""
        if "packed" not in arrays:
            return super().attach(arrays, shape, **form)
        n, k = shape
        made = cls(np.empty((0, k), np.int8), scale_of_rows(arrays["weight_scale"], n), **form)
        packed = _backend.backend.PackedWeight(arrays["packed"], n, k, made.format)
        made._packed, made._codes, made.shape = packed, None, shape
        return made

    def form(self) -> dict[str, Any]:
        """Return the format, of a weight that leaves zeros out."""
        return {} if self._format is None else {"format": self._format}

    def stored(self, store: str, shares: bool) -> Stored:
        """Return codes in the form that takes the fewest bytes, and scales.

        A bitmap is for a weight that leaves zeros out: that is how loading knows it.
        """
        allowed = ("bitmap",) * self.leaves_zeros_out + ("codebook",) * shares
        form = form_of(self.codes, store, allowed)
        tensors = code_tensors("weight", lambda: self.codes, form)
        tensors.append(StoredTensor.of("weight_scale", self.tensors()["weight_scale"]))
        return Stored(tensors, {"bitmap": form == "bitmap", "codebook": form == "codebook"})

    def bind(self, bias: Array | None, options: LinearOptions) -> Any:
        """Return the packed layer; `call` is the native call itself."""
        _checks.check_inner(self.shape[1], _checks.LARGEST_PRODUCT, "codes")
        backend, settings = _backend.backend, options.to_dict()
        if isinstance(self._packed, backend.PackedWeight):
            bound = backend.PackedLinear(self._packed, self.scale, bias, **settings)
        else:
            bound = backend.PackedLinear(
                self.codes, self.scale, bias, format=self.format, **settings
            )
        # In this order: another thread finds the codes in one of both.
        self._bound, self._packed = bound, bound.weight
        self._codes = None
        return bound

    def dequantized(self) -> Array:
        """Return codes times scales."""
        values: Array = self.codes.astype(np.float32)
        values *= self.scale[:, None]
        return values

    def like(self, values: ArrayLike) -> Int8Weight:
        """Quantize other numbers, whose zeros mean nothing."""
        return Int8Weight.from_float(values)

    def lookup(self, ids: Array, out: Array) -> None:
        """Write rows as float32."""
        index, rows = ids.reshape(-1), out.reshape(ids.size, self.shape[1])
        codes, scale = self._codes, self.scale
        panels = self._bound.memory()[0] if codes is None and self._bound is not None else None
        if panels is not None:
            codes, scale = rows_of_panels(panels, index, self.shape[1]), scale[index]
            index = np.arange(index.size)
        _backend.backend.embedding(self.codes if codes is None else codes, scale, index, rows)

    def described(self) -> dict[str, str]:
        """Return zeros and format, of a weight that leaves zeros out."""
        if self._format is None:
            return {}
        return {"sparsity": f"{self.sparsity:.2f}", "format": repr(self.format)}

    def __getstate__(self) -> dict[str, Any]:
        own = {"_codes": self.codes, "_scale": self.scale}
        return {**vars(self), **own, "_bound": None, "_packed": None}
