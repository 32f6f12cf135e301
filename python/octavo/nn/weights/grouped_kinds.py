# SPDX-License-Identifier: Apache-2.0
"""The kinds of weights in groups, by the bits of a code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo import _checks
from octavo._types import Array
from octavo.nn.weights import group_numbers
from octavo.nn.weights.grouped import GroupedWeight

_BYTES = (np.dtype(np.uint8),)


class Int4Weight(GroupedWeight):
    """Codes of 4 bits in groups; see `GroupedWeight`."""

    kind = "int4"
    coarse = True
    bits = 4


class Int5Weight(GroupedWeight):
    """Codes of 5 bits in groups; see `GroupedWeight`."""

    kind = "int5"
    coarse = True
    bits = 5
    keys = ("weight_packed", "weight_high", "weight_scale", "weight_shape")

    @classmethod
    def _unpacked(cls, parts: Mapping[str, Any], shape: tuple[int, int]) -> Array:
        bits = _checks.as_codes(parts["weight_high"], "weight_high", _BYTES)
        _checks.check_shape(bits, (shape[0], -(-shape[1] // 8)), "weight_high")
        return group_numbers.with_high_bits(super()._unpacked(parts, shape), bits)

    def _code_tensors(self, codes: Array) -> dict[str, Array]:
        return {**super()._code_tensors(codes), "weight_high": group_numbers.high_bits(codes)}

    def _row_bytes(self) -> int:
        return 5 * -(-self.shape[1] // 8)


class Int8GroupWeight(GroupedWeight):
    """Codes of 8 bits in groups; see `GroupedWeight`."""

    kind = "int8-group"
    bits = 8

    @classmethod
    def _unpacked(cls, parts: Mapping[str, Any], shape: tuple[int, int]) -> Array:
        codes = _checks.as_codes(parts["weight_packed"], "weight_packed", _BYTES)
        _checks.check_shape(codes, shape, "weight_packed")
        return codes

    def _code_tensors(self, codes: Array) -> dict[str, Array]:
        return {"weight_packed": codes}

    def _row_bytes(self) -> int:
        return self.shape[1]
