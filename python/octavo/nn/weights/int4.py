# SPDX-License-Identifier: Apache-2.0
"""The weight of 4-bit codes with a scale for each group of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._float_mode import in_default_mode
from octavo._scales import normal_scale
from octavo._types import Array
from octavo.nn.options import LinearOptions
from octavo.nn.weights.base import Weight
from octavo.nn.weights.stored import Stored, StoredTensor, TensorReader

GROUPS = (32, 64, 128)
"""How many inputs may share a scale."""

_LARGEST = 7
_PER_WORD = 8


class Int4Weight(Weight):
    """Symmetric 4-bit codes, and a scale for each row and group of inputs.

    A layer quantizes its input in the same groups, each from its own range, symmetrically; sums
    within a group are exact, groups are added by fused multiply-add.  Made by `from_float`,
    `from_quantized` or `from_tensors`; the constructor trusts its arguments.

    Parameters
    ----------
    codes : int8 array, shape (N, K), within [-8, 7]
    scale : float32 array, shape (N, groups)
    group : 32, 64 or 128

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.nn.weights import Int4Weight
    >>> weight = Int4Weight.from_float(np.eye(2, 64, dtype=np.float32), group=32)
    >>> weight.nbytes, weight.dequantized()[0, :3]
    (96, array([1., 0., 0.], dtype=float32))
    """

    kind = "int4"
    coarse = True
    takes = frozenset({"activation", "output_scale", "output_zero_point", "input_multiplier"})
    keys = ("weight_packed", "weight_scale", "weight_shape")
    bits = 4

    def __init__(self, codes: Array, scale: Array, group: int) -> None:
        self._words: Array | None = _packed(codes)
        self.scale, self.group = scale, group
        self._packed: Any = None
        self.shape = int(codes.shape[0]), int(codes.shape[1])

    @classmethod
    @in_default_mode
    def from_float(cls, values: ArrayLike, *, group: int = 32) -> Int4Weight:  # type: ignore[override]
        """Round a float matrix, finite, to the nearest codes; the largest of a group becomes 7.

        Parameters
        ----------
        values : float array, shape (N, K)
        group : 32, 64 or 128
            How many neighbouring inputs share a scale; the last of a row may be fewer.
        """
        array = _checks.as_float32(values, "weight", float64=True)
        _checks.check_shape(array, (None, None), "weight")
        _checks.check_finite(array, "weight")
        size = _group(group)
        n, k = array.shape
        codes = np.empty((n, k), np.int8)
        scale = np.empty((n, -(-k // size)), np.float32)
        for i in range(scale.shape[1]):
            part = array[:, i * size : (i + 1) * size]
            largest = np.abs(part).max(axis=1)
            scale[:, i] = normal_scale(largest / np.float32(_LARGEST), largest == 0)
            codes[:, i * size : (i + 1) * size] = np.clip(
                np.rint(part / scale[:, i, None]), -_LARGEST, _LARGEST
            )
        return cls(codes, scale, size)

    @classmethod
    def from_quantized(cls, codes: ArrayLike, scale: ArrayLike, *, group: int) -> Int4Weight:
        """Check codes and scales.

        Parameters
        ----------
        codes : int8 array, shape (N, K), within [-8, 7]
        scale : positive float array, shape (N, groups)
        group : 32, 64 or 128
        """
        array = _checks.as_codes(codes, "codes", (_checks.INT8,))
        _checks.check_shape(array, (None, None), "codes")
        if array.size and not (array.min() >= -8 and array.max() <= _LARGEST):
            raise ValueError(
                f"codes: expected values in [-8, 7], got {array.min()} to {array.max()}"
            )
        scales = _checks.as_float32(scale, "scale", float64=True)
        _checks.check_shape(scales, (len(array), -(-array.shape[1] // _group(group))), "scale")
        _checks.check_scale(scales, "scale")
        return cls(np.ascontiguousarray(array), np.ascontiguousarray(scales), group)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any]) -> Int4Weight:  # type: ignore[override]
        """Take ``weight_packed``, ``weight_scale`` and ``weight_shape``."""
        shape = _checks.as_ids(tensors["weight_shape"], "weight_shape", own=True)
        _checks.check_shape(shape, (2,), "weight_shape")
        return cls._unpacked(
            _checks.as_array(tensors["weight_packed"], "weight_packed"),
            tensors["weight_scale"],
            (int(shape[0]), int(shape[1])),
        )

    @classmethod
    def read(cls, tensors: TensorReader, shape: tuple[int, int], role: str) -> Int4Weight:  # noqa: ARG003
        """Read packed codes and scales."""
        stored = tuple(int(size) for size in np.ravel(tensors.raw("weight_shape")))
        if stored != shape:
            raise ValueError(
                f"tensor {tensors.name('weight_shape')!r} says {stored}, expected {shape}"
            )
        return cls._unpacked(tensors.raw("weight_packed"), tensors.float32("weight_scale"), shape)

    @classmethod
    def _unpacked(cls, words: Array, scale: ArrayLike, shape: tuple[int, int]) -> Int4Weight:
        n, k = shape
        if words.dtype != np.int32:
            raise TypeError(f"weight_packed: expected int32, got {words.dtype}")
        _checks.check_shape(words, (n, -(-k // _PER_WORD)), "weight_packed")
        scales = _checks.as_float32(scale, "weight_scale")
        _checks.check_shape(scales, (n, None), "weight_scale")
        return cls.from_quantized(_unpacked(words, k), scales, group=_group_of(k, scales))

    @property
    def codes(self) -> Array:
        """The codes, (N, K) int8; unpacked on every access if a layer computes with them."""
        words = self._words
        if words is None:
            return self._packed.unpack()
        return _unpacked(words, self.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of codes, eight in four, scales, and the shape."""
        n, k = self.shape
        return 4 * n * -(-k // _PER_WORD) + int(self.scale.nbytes) + 16

    @property
    def sparsity(self) -> float:
        """The share of codes that are zero; 1.0 if there are none."""
        codes = self.codes
        return 1.0 - (np.count_nonzero(codes) / codes.size if codes.size else 0.0)

    def tensors(self) -> dict[str, Array]:
        """Return codes plus 8, eight to an int32, lowest bits first; scales; (N, K)."""
        words = self._words
        return {
            "weight_packed": _packed(self.codes) if words is None else words,
            "weight_scale": self.scale,
            "weight_shape": np.array(self.shape, np.int64),
        }

    def shareable(self) -> dict[str, Array]:
        """Return what a layer computes with, packed, if there is one; and the scales."""
        if self._packed is None:
            return self.tensors()
        return {"packed": self._packed.packed, "weight_scale": self.scale}

    @classmethod
    def attach(cls, arrays: Mapping[str, Any], shape: tuple[int, int], **form: Any) -> Int4Weight:
        """Make one of packed codes, which only the native backend has, or plain ones."""
        if "packed" not in arrays:
            return super().attach(arrays, shape, **form)
        scale, k = _checks.as_float32(arrays["weight_scale"], "weight_scale"), shape[1]
        _checks.check_shape(scale, (shape[0], None), "weight_scale")
        _checks.check_scale(scale, "weight_scale")
        made = cls(np.empty((0, k), np.int8), scale, _group_of(k, scale))
        packed = _backend.backend.PackedWeight(arrays["packed"], *shape, group=made.group)
        made._packed, made._words, made.shape = packed, None, shape
        return made

    def stored(self, store: str, shares: bool) -> Stored:  # noqa: ARG002
        """Return packed codes and scales, as compressed-tensors packs them."""
        tensors = [StoredTensor.of(*pair) for pair in self.tensors().items()]
        return Stored(tensors, {"kind": self.kind, "group": self.group})

    def bind(self, bias: Array | None, options: LinearOptions) -> Any:
        """Return the packed layer; `call` is the native call itself."""
        backend = _backend.backend
        reusable = isinstance(self._packed, backend.PackedWeight)
        bound = backend.packed_int4(
            self._packed if reusable else self.codes,
            self.scale,
            self.group,
            bias,
            options.activation,
            options.output_scale,
            options.output_zero_point,
            options.input_multiplier,
        )
        # In this order: another thread finds the codes in one of both.
        self._packed = bound.weight
        self._words = None
        return bound

    def dequantized(self) -> Array:
        """Return codes times scales."""
        values: Array = self.codes.astype(np.float32)
        values *= self.scale.repeat(self.group, axis=1)[:, : self.shape[1]]
        return values

    def like(self, values: ArrayLike) -> Int4Weight:
        """Round other numbers in groups of the same size."""
        return Int4Weight.from_float(values, group=self.group)

    def lookup(self, ids: Array, out: Array) -> None:
        """Write rows as float32."""
        rows = ids.reshape(-1)
        words, k = self.tensors()["weight_packed"], self.shape[1]
        values = _unpacked(words[rows], k).astype(np.float32)
        factors = self.scale[rows].repeat(self.group, axis=1)[:, :k]
        np.multiply(values, factors, out=out.reshape(values.shape))

    def described(self) -> dict[str, str]:
        """Return the kind and the size of groups."""
        return {"kind": repr(self.kind), "group": str(self.group)}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_words": self.tensors()["weight_packed"], "_packed": None}


_SHIFTS = np.arange(0, 4 * _PER_WORD, 4, dtype=np.uint32)


def _packed(codes: Array) -> Array:
    """Return codes (N, K) plus 8 as int32, (N, ceil(K / 8)), the first in the lowest bits."""
    n, k = codes.shape
    padded = np.zeros((n, -(-k // _PER_WORD), _PER_WORD), np.uint32)
    padded.reshape(n, padded.shape[1] * _PER_WORD)[:, :k] = codes + np.int8(8)
    words: Array = np.bitwise_or.reduce(padded << _SHIFTS, axis=2)
    return words.astype(np.uint32).view(np.int32)


def _unpacked(words: Array, k: int) -> Array:
    """Return the codes of packed rows."""
    nibbles = (np.ascontiguousarray(words).view(np.uint32)[:, :, None] >> _SHIFTS) & 15
    flat = nibbles.reshape(len(words), words.shape[1] * _PER_WORD)
    codes: Array = flat[:, :k].astype(np.int8)
    codes -= np.int8(8)
    return codes


def _group_of(k: int, scale: Array) -> int:
    """Return the size of groups whose scales of K inputs are as many."""
    # Where two sizes give as many groups, a row is one group for both.
    fitting = [size for size in GROUPS if -(-k // size) == scale.shape[1]]
    if not fitting:
        raise ValueError(
            f"weight_scale: expected groups of 32, 64 or 128 of {k} inputs, got"
            f" {scale.shape[1]} scales a row"
        )
    return fitting[0]


def _group(size: object) -> int:
    number = _checks.integer(size, "group", 1)
    if number not in GROUPS:
        raise ValueError(f"group: expected 32, 64 or 128, got {number}")
    return number
