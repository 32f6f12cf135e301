# SPDX-License-Identifier: Apache-2.0
"""Weights whose codes lie in words, as compressed-tensors, GPTQ and AWQ store them."""

from __future__ import annotations

from octavo.io.gptq import read_words
from octavo.io.grouped_codes import LayerTensors
from octavo.io.pack_quantized import read_pack_quantized
from octavo.io.scheme import PACK_QUANTIZED, Scheme
from octavo.nn.weights import GroupedWeight, Int8Weight, Weight, weight_class

PACKED_KEYS = ("weight_packed", "qweight")
"""What the words of a layer are called, in compressed-tensors and in the others."""


def read_packed(tensors: LayerTensors, scheme: Scheme, shape: tuple[int, int]) -> Weight:
    """Read the weight of a layer.

    Raises
    ------
    ValueError
        If it is not what `scheme` and `shape` ask for; the message names the tensor.
    """
    read = read_pack_quantized if scheme.packing == PACK_QUANTIZED else read_words
    found = read(tensors, shape, scheme)
    if scheme.kind == "int8":
        return Int8Weight.from_quantized(found.codes, found.scale[:, 0])
    made = weight_class(found.kind)
    assert issubclass(made, GroupedWeight)
    return made.from_quantized(
        found.codes, found.scale, group=found.group, minimum=found.minimum, order=found.order
    )
