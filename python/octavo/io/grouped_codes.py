# SPDX-License-Identifier: Apache-2.0
"""Codes with a scale for each group of inputs, as files of several formats have them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from octavo._scales import GROUPS
from octavo._text import shown
from octavo._types import Array

KINDS = {4: "int4", 5: "int5", 8: "int8-group"}
"""Kinds of grouped weights, by their bits; codes of other bits are held in the next larger ones."""

_WITH_MINIMUM = (4, 5)
"""Bits of codes that leave their kind no room to subtract a zero point."""


class LayerTensors(Protocol):
    """The tensors of one layer in a file, by the part of their names after the layer's."""

    def __contains__(self, key: object) -> bool: ...

    def name(self, key: str) -> str:
        """Return a tensor's whole name, for messages."""

    def dtype(self, key: str) -> str:
        """Return the name of its type: "F16", "I32", ..."""

    def float32(self, key: str, shape: tuple[int, ...] | None = None) -> Array:
        """Read floats as float32."""

    def raw(self, key: str) -> Array:
        """Read anything as it is stored."""


class GroupedCodes(NamedTuple):
    """A weight (N, K) as ``scale * codes``, plus `minimum` if there is one, group by group.

    Attributes
    ----------
    kind : str
        The weight's, as `octavo.nn.weights` calls it.
    codes : int8 or uint8 array, shape (N, K)
        Signed; from 0 on if there is a minimum.
    scale : float16 or float32 array, shape (N, groups)
    minimum : float32 array, shape (N, groups), optional
    group : int
        How many inputs share a scale, 32, 64 or 128.
    order : int array, shape (K,), optional
        Which input each column belongs to; by default as they come.
    """

    kind: str
    codes: Array
    scale: Array
    minimum: Array | None
    group: int
    order: Array | None


def kind_of(bits: int) -> str:
    """Return the kind of weight that holds codes of some bits, from 2 to 8."""
    return KINDS[next(held for held in KINDS if bits <= held)]


def scales(tensors: LayerTensors, key: str, shape: tuple[int, int], *, turned: bool) -> Array:
    """Read finite scales (N, groups); `turned` ones are stored the other way.

    Those of 16 bits stay so.  One for each row may be a vector, and one for all stands for each.
    """
    found = tensors.raw(key) if tensors.dtype(key) == "F16" else tensors.float32(key)
    wanted = shape[::-1] if turned else shape
    others = [(shape[0],), (1, 1), (1,), ()] if shape[1] == 1 and not turned else []
    if found.shape not in (wanted, *others):
        raise ValueError(
            f"tensor {shown(tensors.name(key))} has shape {found.shape}, expected {wanted}"
        )
    if not np.isfinite(found).all():
        raise ValueError(f"tensor {shown(tensors.name(key))} holds NaN or infinity")
    rows = found.T if turned else found.reshape(-1, shape[1])
    return np.ascontiguousarray(np.broadcast_to(rows, shape))


def words(tensors: LayerTensors, key: str) -> Array:
    """Read a matrix of packed words."""
    if tensors.dtype(key) != "I32":
        raise ValueError(
            f"tensor {shown(tensors.name(key))} has type {tensors.dtype(key)}, expected I32"
        )
    found = tensors.raw(key)
    if found.ndim != 2:
        raise ValueError(
            f"tensor {shown(tensors.name(key))} has shape {found.shape}, expected two dimensions"
        )
    return found


def integers(tensors: LayerTensors, key: str, shape: tuple[int, ...]) -> Array:
    """Read integers of any type."""
    found, kind = tensors.raw(key), tensors.dtype(key)
    if found.shape != shape or kind[0] not in "IU":
        raise ValueError(
            f"tensor {shown(tensors.name(key))} has shape {found.shape} and type {kind}, expected"
            f" integers of shape {shape}"
        )
    return found


def require_shape(tensors: LayerTensors, shape: tuple[int, int]) -> None:
    """Refuse a layer whose ``weight_shape`` is another than that of the model."""
    stored = tuple(int(size) for size in integers(tensors, "weight_shape", (2,)))
    if stored != shape:
        raise ValueError(
            f"tensor {shown(tensors.name('weight_shape'))} says {stored}, expected {shape}"
        )


def group_count(inputs: int, size: int | None) -> int:
    """Return how many groups of a size a row has; None is one of the whole row."""
    return 1 if size is None else -(-inputs // size)


def order_of(tensors: LayerTensors, key: str, inputs: int, size: int | None) -> Array | None:
    """Read the group of each input; return inputs group by group, None if they lie so.

    Raises
    ------
    ValueError
        If a group has another number of inputs than its size says.
    """
    if key not in tensors:
        return None
    name, found = shown(tensors.name(key)), integers(tensors, key, (inputs,))
    if (found == -1).all():  # what writers leave there if nothing was reordered
        return None
    count, whole = group_count(inputs, size), inputs if size is None else min(size, inputs)
    if found.size and not (found.min() >= 0 and found.max() < count):
        raise ValueError(
            f"tensor {name}: expected groups in [0, {count - 1}], got {found.min()} to"
            f" {found.max()}"
        )
    members = np.bincount(found.astype(np.int64), minlength=count)
    wanted = np.minimum(whole, inputs - whole * np.arange(count))
    wrong = np.flatnonzero(members != wanted)
    if wrong.size:
        first = wrong[0]
        raise ValueError(
            f"tensor {name}: group {first} has {members[first]} inputs, expected {wanted[first]}"
        )
    order = np.argsort(found, kind="stable")
    return None if (order == np.arange(inputs)).all() else order


def _own_group(size: int, inputs: int) -> int:
    """Return the size of the groups that those of a file become: a larger one is several."""
    if size == inputs:
        return next((own for own in GROUPS if own >= inputs), GROUPS[-1])
    return next(own for own in reversed(GROUPS) if size % own == 0)


def grouped(
    codes: Array,
    scale: Array,
    zero: Array | None,
    order: Array | None,
    bits: int,
    size: int | None,
    where: str,
) -> GroupedCodes:
    """Return stored codes and zero points in the form that octavo computes with, without loss.

    Parameters
    ----------
    codes : uint8 array, shape (N, K), below ``2 ** bits``
    scale : array, shape (N, groups of `size`)
    zero : uint8 array of the shape of `scale`, optional
        What stands for 0; default: ``2 ** (bits - 1)``.
    order : int array, shape (K,), optional
        As `order_of` gives it.
    bits : from 2 to 8
    size : a multiple of 32, optional
        Of the groups; None: one of the whole row.
    where : str
        The tensor, for messages.

    Raises
    ------
    ValueError
        For zero points that the kind of weight cannot have.
    """
    inputs = codes.shape[1]
    whole = inputs if size is None or size >= inputs else size
    own = _own_group(whole, inputs)
    count, pieces = -(-inputs // own), -(-whole // own)

    def cut(values: Array) -> Array:
        return np.ascontiguousarray(values.repeat(pieces, axis=1)[:, :count])

    if order is not None:
        codes = codes[:, order]
    kind, half = kind_of(bits), 1 << (bits - 1)
    is_symmetric = zero is None or bool((zero == half).all())
    if zero is not None and not is_symmetric and bits in _WITH_MINIMUM:
        minimum = scale.astype(np.float32) * -zero.astype(np.float32)
        return GroupedCodes(kind, codes, cut(scale), cut(minimum), own, order)
    middle = np.full((1, 1), half, np.int16)
    if zero is not None and not is_symmetric:
        middle = cut(zero.astype(np.int16)).repeat(own, axis=1)[:, :inputs]
    signed = codes - middle
    if bits == 8 and signed.size and not (signed.min() >= -half and signed.max() < half):
        raise ValueError(
            f"tensor {where}: asymmetric codes of 8 bits are not read; those of up to 7 are"
        )
    return GroupedCodes(kind, signed.astype(np.int8), cut(scale), None, own, order)
