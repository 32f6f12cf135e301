# SPDX-License-Identifier: Apache-2.0
"""Weights of 4, 5 or 8 bits with a scale for each group of inputs, and perhaps a minimum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from octavo import _backend, _checks
from octavo._float_mode import in_default_mode
from octavo._packed_words import pack, unpack, words_for
from octavo._scales import group_floats, group_size
from octavo._types import Array
from octavo.nn.options import LinearOptions
from octavo.nn.weights import group_numbers
from octavo.nn.weights.base import Weight
from octavo.nn.weights.group_numbers import SteppedScale
from octavo.nn.weights.stored import Stored, StoredTensor, TensorReader

G = TypeVar("G", bound="GroupedWeight")

_NUMBERS = ("weight_scale", "weight_scale_unit", "weight_minimum", "weight_minimum_unit")
_ORDER = "weight_order"


class GroupedWeight(Weight):
    """Codes of few bits, and a scale for each row and group of inputs; perhaps a minimum.

    A value is ``scale * code``, or ``scale * code + minimum``: a float32 product, then a sum.  A
    layer quantizes its input in the same groups, each from its own range, symmetrically; sums
    within a group are exact, groups are added by fused multiply-add.  Made by `from_float`,
    `from_quantized` or `from_tensors`.

    All of it lies in the memory that layers compute with, and is unpacked when somebody asks.

    Attributes
    ----------
    bits : int
        Of a code.
    group : int
        How many inputs share a scale: 32, 64 or 128; the last of a row may be fewer.

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.nn.weights import Int4Weight
    >>> weight = Int4Weight.from_float(np.eye(2, 64, dtype=np.float32), group=32)
    >>> weight.nbytes, weight.dequantized()[0, :3]
    (96, array([1., 0., 0.], dtype=float32))
    """

    takes = frozenset({"activation", "output_scale", "output_zero_point", "input_multiplier"})
    keys: ClassVar[tuple[str, ...]] = ("weight_packed", "weight_scale", "weight_shape")
    optional_keys = (*_NUMBERS[1:], _ORDER)

    bits: ClassVar[int]

    def __init__(self, packed: Any, shape: tuple[int, int]) -> None:
        self._packed, self.shape = packed, shape
        bits, self.group, *self._held = packed.form
        if bits != self.bits:
            raise ValueError(f"weight: expected codes of {self.bits} bits, got {bits}")

    @classmethod
    @in_default_mode
    def from_float(cls: type[G], values: ArrayLike, *, group: int = 32) -> G:  # type: ignore[override]
        """Round a float matrix, finite, to the nearest codes, without a minimum.

        The largest of a group becomes the top code.

        Parameters
        ----------
        values : float array, shape (N, K)
        group : 32, 64 or 128
            How many neighbouring inputs share a scale; the last of a row may be fewer.
        """
        array = _checks.as_float32(values, "weight", float64=True)
        _checks.check_shape(array, (None, None), "weight")
        _checks.check_finite(array, "weight")
        size = group_size(group)
        codes, scale = group_numbers.rounded(array, size, (1 << (cls.bits - 1)) - 1)
        return cls._of(codes, size, (scale, None), (None, None), None)

    @classmethod
    def from_quantized(
        cls: type[G],
        codes: ArrayLike,
        scale: ArrayLike | SteppedScale,
        *,
        group: int,
        minimum: ArrayLike | SteppedScale | None = None,
        order: ArrayLike | None = None,
    ) -> G:
        """Take codes and numbers of groups as they are.

        Parameters
        ----------
        codes : int8 or uint8 array, shape (N, K)
            Signed, from -2 ** (bits - 1) to 2 ** (bits - 1) - 1; with a minimum from 0 to
            2 ** bits - 1.
        scale : float array, shape (N, groups), or SteppedScale
            Finite.  float16 is held as it is, in two bytes.
        group : 32, 64 or 128
        minimum : float array, shape (N, groups), or SteppedScale, optional
            What is added to each product of a group.  A format with a zero point has
            ``-scale * zero_point``.
        order : int array, shape (K,), optional
            Which input each column of codes multiplies: every input once.  None: as they come.
        """
        array = _checks.as_codes(codes, "codes", _checks.BYTES)
        _checks.check_shape(array, (None, None), "codes")
        lowest = 0 if minimum is not None else -(1 << (cls.bits - 1))
        highest = lowest + (1 << cls.bits) - 1
        if array.size and not (array.min() >= lowest and array.max() <= highest):
            raise ValueError(
                f"codes: expected values in [{lowest}, {highest}], got {array.min()} to"
                f" {array.max()}"
            )
        n, k = array.shape
        size = group_size(group)
        of_groups = (n, -(-k // size))
        return cls._of(
            np.ascontiguousarray(array, np.int8 if minimum is None else np.uint8),
            size,
            group_numbers.checked(scale, of_groups, "scale"),
            group_numbers.checked(minimum, of_groups, "minimum"),
            None if order is None else group_numbers.checked_order(order, k),
        )

    @classmethod
    def _of(
        cls: type[G],
        codes: Array,
        group: int,
        scale: group_numbers.GroupNumbers,
        minimum: group_numbers.GroupNumbers,
        order: Array | None,
    ) -> G:
        make = _backend.backend.grouped_weight
        packed = make(codes, cls.bits, group, *scale, *minimum, order)
        return cls(packed, (int(codes.shape[0]), int(codes.shape[1])))

    @classmethod
    def from_tensors(cls: type[G], tensors: Mapping[str, Any]) -> G:  # type: ignore[override]
        """Take what `tensors` gives."""
        shape = _checks.as_ids(tensors["weight_shape"], "weight_shape", own=True)
        _checks.check_shape(shape, (2,), "weight_shape")
        return cls._from_parts(tensors, (int(shape[0]), int(shape[1])))

    @classmethod
    def read(cls: type[G], tensors: TensorReader, shape: tuple[int, int], role: str) -> G:  # noqa: ARG003
        """Read packed codes and numbers of groups."""
        from octavo.io.grouped_codes import require_shape

        require_shape(tensors, shape)
        there = [key for key in (*cls.keys, *cls.optional_keys) if key in tensors]
        wide = [key for key in there if tensors.dtype(key) in ("BF16", "F32", "F64")]
        parts = {key: tensors.float32(key) if key in wide else tensors.raw(key) for key in there}
        return cls._from_parts(parts, shape)

    @classmethod
    def _from_parts(cls: type[G], parts: Mapping[str, Any], shape: tuple[int, int]) -> G:
        n, k = shape
        scale, minimum = (
            group_numbers.restored(parts.get(key), parts.get(f"{key}_unit"))
            for key in ("weight_scale", "weight_minimum")
        )
        values = _checks.as_array(parts["weight_scale"], "weight_scale")
        _checks.check_shape(values, (n, None), "weight_scale")
        group = group_numbers.group_of(k, values.shape[1])
        codes = cls._unpacked(parts, shape)
        if minimum is None:
            codes = (codes - np.uint8(1 << (cls.bits - 1))).view(np.int8)
        given = {"group": group, "minimum": minimum, "order": parts.get(_ORDER)}
        return cls.from_quantized(codes, scale, **given)

    @classmethod
    def _unpacked(cls, parts: Mapping[str, Any], shape: tuple[int, int]) -> Array:
        """Return the codes of tensors, uint8, half of their range added to signed ones."""
        words = _checks.as_codes(parts["weight_packed"], "weight_packed", (_checks.INT32,))
        _checks.check_shape(words, (shape[0], words_for(shape[1], 4)), "weight_packed")
        return unpack(words, 4, shape[1])

    def _code_tensors(self, codes: Array) -> dict[str, Array]:
        """Return the tensors of codes as `_unpacked` takes them."""
        return {"weight_packed": pack(codes & np.uint8(15), 4)}

    def _here(self) -> Any:
        """Return the packed weight of the backend in use."""
        backend, held = _backend.backend, self._packed
        if not isinstance(held, backend.PackedWeight):
            parts = self.codes, self.bits, self.group, *held.numbers()
            held = self._packed = backend.grouped_weight(*parts)
        return held

    @property
    def codes(self) -> Array:
        """The codes, (N, K), int8, or uint8 with a minimum; unpacked on every access."""
        codes: Array = self._packed.unpack()
        return codes if self._held[1] is None else codes.view(np.uint8)

    @property
    def scale(self) -> Array:
        """The scales as float32, (N, groups); unpacked on every access."""
        return group_floats(*self._packed.numbers()[:2])

    @property
    def minimum(self) -> Array | None:
        """The minima as float32, (N, groups), if there are any; unpacked on every access."""
        values, unit = self._packed.numbers()[2:4]
        return None if values is None else group_floats(values, unit)

    @property
    def order(self) -> Array | None:
        """Which input each column of codes multiplies, (K,) int32; None: as they come."""
        order: Array | None = self._packed.numbers()[4]
        return order

    @property
    def nbytes(self) -> int:
        """Bytes of codes, of the numbers of groups, and the shape."""
        n, k = self.shape
        *kinds, ordered = self._held
        groups = -(-k // self.group)
        row = self._row_bytes() + sum(group_numbers.row_bytes(kind, groups) for kind in kinds)
        return n * row + 4 * k * bool(ordered) + 16

    def _row_bytes(self) -> int:
        """Bytes of the codes of a row in `tensors`."""
        return 4 * words_for(self.shape[1], 4)

    def tensors(self) -> dict[str, Array]:
        """Return codes, packed, signed ones with half of their range added; numbers; (N, K)."""
        codes = self.codes.view(np.uint8)
        if self._held[1] is None:
            codes = codes + np.uint8(1 << (self.bits - 1))
        numbers = zip((*_NUMBERS, _ORDER), self._packed.numbers(), strict=True)
        there = {key: array for key, array in numbers if array is not None}
        shape = np.array(self.shape, np.int64)
        return {**self._code_tensors(codes), **there, "weight_shape": shape}

    def shareable(self) -> dict[str, Array]:
        """Return what a layer computes with, if the backend has it in one piece."""
        held = self._here()
        return {"packed": held.packed} if hasattr(held, "packed") else self.tensors()

    @classmethod
    def attach(cls: type[G], arrays: Mapping[str, Any], shape: tuple[int, int], **form: Any) -> G:
        """Make one of packed bytes, which only the native backend has, or plain tensors."""
        if "packed" not in arrays:
            return super().attach(arrays, shape, **form)
        return cls(_backend.backend.PackedWeight(arrays["packed"], *shape, format=None), shape)

    def stored(self, store: str, shares: bool) -> Stored:  # noqa: ARG002
        """Return what compressed-tensors packs of it, if it can hold it; else `tensors`."""
        from octavo.io.pack_quantized import stored_groups

        parts, told = stored_groups(self.codes, self.bits, self.group, self._packed.numbers())
        tensors = [StoredTensor.of(*pair) for pair in (parts or self.tensors()).items()]
        return Stored(tensors, {"kind": self.kind, "group": self.group, **told})

    def bind(self, bias: Array | None, options: LinearOptions) -> Any:
        """Return the packed layer; `call` is the native call itself."""
        output = options.output_scale, options.output_zero_point
        make = _backend.backend.grouped_linear
        return make(self._here(), bias, options.activation, *output, options.input_multiplier)

    def dequantized(self) -> Array:
        """Return the numbers, (N, K), in the order of inputs."""
        return self.rows(0, self.shape[0])

    def rows(self, start: int, stop: int) -> Array:
        """Return some rows as float32."""
        ids = np.arange(*slice(start, stop).indices(self.shape[0]))
        out = np.empty((len(ids), self.shape[1]), np.float32)
        self.lookup(ids, out)
        return out

    def like(self: G, values: ArrayLike) -> G:
        """Round other numbers in groups of the same size."""
        return type(self).from_float(values, group=self.group)

    def lookup(self, ids: Array, out: Array) -> None:
        """Write rows as float32; only those are unpacked."""
        index = np.ascontiguousarray(ids.reshape(-1), np.int64)
        self._here().rows(index, out.reshape(ids.size, self.shape[1]))

    def described(self) -> dict[str, str]:
        """Return the kind and the size of groups."""
        return {"kind": repr(self.kind), "group": str(self.group)}

    def __reduce__(self) -> Any:
        return _again, (type(self), self.codes, self.group, *self._packed.numbers())


def _again(cls: type[G], codes: Array, group: int, *numbers: Any) -> G:
    return cls._of(codes, group, numbers[:2], numbers[2:4], numbers[4])
