# SPDX-License-Identifier: Apache-2.0
"""Scales and minima of groups of inputs, and how their codes lie in files."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._scales import GROUPS, GROUPS_PER_UNIT, group_floats, normal_scale
from octavo._types import Array


class SteppedScale(NamedTuple):
    """Numbers of groups in two levels: steps of a unit that eight groups have in common.

    So do the K formats of GGUF hold them.  A value is ``float32(unit) * steps``.

    Parameters
    ----------
    steps : uint8 array, shape (N, groups)
    unit : float16 array, shape (N, groups / 8, rounded up)

    Examples
    --------
    >>> import numpy as np
    >>> from octavo.nn.weights import SteppedScale
    >>> scale = SteppedScale(np.array([[1, 2, 4]], np.uint8), np.array([[0.5]], np.float16))
    >>> scale.values()
    array([[0.5, 1. , 2. ]], dtype=float32)
    """

    steps: Array
    unit: Array

    def values(self) -> Array:
        """Return the numbers as float32, (N, groups)."""
        return group_floats(self.steps, self.unit)


GroupNumbers = tuple[Array | None, Array | None]
"""Numbers as they are held: float32 or float16, or uint8 steps and their units; or none."""


def checked(
    given: ArrayLike | SteppedScale | None, shape: tuple[int, int], name: str
) -> GroupNumbers:
    """Return finite numbers of groups, contiguous, as they are to be held; `shape` is theirs.

    Raises
    ------
    TypeError, ValueError
        The message names the argument.
    """
    if given is None:
        return None, None
    if isinstance(given, SteppedScale):
        n, groups = shape
        steps = _checks.as_codes(given.steps, f"{name}.steps", (np.dtype(np.uint8),))
        unit = _checks.as_array(given.unit, f"{name}.unit")
        if unit.dtype != np.float16:
            raise TypeError(f"{name}.unit: expected float16, got {unit.dtype}")
        _checks.check_shape(steps, shape, f"{name}.steps")
        _checks.check_shape(unit, (n, -(-groups // GROUPS_PER_UNIT)), f"{name}.unit")
        _checks.check_finite(unit, f"{name}.unit")
        return np.ascontiguousarray(steps), np.ascontiguousarray(unit)
    values = _checks.as_float(given, name, float64=True)
    _checks.check_shape(values, shape, name)
    _checks.check_finite(values, name)
    return np.ascontiguousarray(values), None


def restored(values: Any, unit: Any) -> Any:
    """Return numbers as `checked` takes them."""
    return values if unit is None else SteppedScale(values, unit)


def row_bytes(kind: str | None, groups: int) -> int:
    """Return the bytes of the numbers of a row, held as a packed weight's form says."""
    if kind == "steps":
        return groups + 2 * -(-groups // GROUPS_PER_UNIT)
    return 0 if kind is None else groups * np.dtype(kind).itemsize


def rounded(values: Array, group: int, top: int) -> tuple[Array, Array]:
    """Return the nearest codes and the scales of groups whose largest becomes the top code."""
    n, k = values.shape
    codes = np.empty((n, k), np.int8)
    scale = np.empty((n, -(-k // group)), np.float32)
    for i in range(scale.shape[1]):
        columns = slice(i * group, (i + 1) * group)
        part = values[:, columns]
        largest = np.abs(part).max(axis=1)
        scale[:, i] = normal_scale(largest / np.float32(top), largest == 0)
        codes[:, columns] = np.clip(np.rint(part / scale[:, i, None]), -top, top)
    return codes, scale


def checked_order(order: ArrayLike, k: int) -> Array:
    """Return an order of K inputs as int32."""
    inputs = _checks.as_ids(order, "order", own=True)
    _checks.check_shape(inputs, (k,), "order")
    if not np.array_equal(np.sort(inputs), np.arange(k)):
        raise ValueError(f"order: expected each of 0 to {k - 1} once")
    return inputs.astype(np.int32)


def group_of(k: int, groups: int) -> int:
    """Return the size of as many groups of K inputs."""
    # Where two sizes give as many groups, a row is one group for both.
    fitting = [size for size in GROUPS if -(-k // size) == groups]
    if not fitting:
        raise ValueError(
            f"weight_scale: expected groups of 32, 64 or 128 of {k} inputs, got {groups} scales"
            " a row"
        )
    return fitting[0]


def high_bits(codes: Array) -> Array:
    """Return the fifth bit of codes (N, K) as uint8, (N, ceil(K / 8)), the first lowest."""
    bits: Array = np.packbits(codes >> 4 & 1, axis=1, bitorder="little")
    return bits


def with_high_bits(codes: Array, bits: Array) -> Array:
    """Return codes of four bits, each with its fifth."""
    high = np.unpackbits(np.ascontiguousarray(bits), axis=1, bitorder="little")
    whole: Array = codes | high[:, : codes.shape[1]] << 4
    return whole
