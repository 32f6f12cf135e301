# SPDX-License-Identifier: Apache-2.0
"""How one layer of a checkpoint is quantized."""

from __future__ import annotations

from typing import Any, NamedTuple

from octavo._text import shown

OWN_PARTS = ("bitmap", "codebook", "multiplier", "outliers", "groups")
"""What octavo's own formats are made of, in the order of their names."""


PACK_QUANTIZED = "pack-quantized"
"""The format of compressed-tensors whose codes lie in words."""


class Scheme(NamedTuple):
    """How one layer is quantized.

    Attributes
    ----------
    symmetric : bool
        Whether activations are.
    static : bool
        Whether the activations' scale is stored rather than found per token.
    has_activations : bool
        Whether the layer's input is quantized at all (an embedding's is not).
    bitmap : bool
        Whether the weight is stored as a bitmap and its non-zero codes.
    codebook : bool
        Whether it is stored as a codebook and indices.
    multiplier : bool
        Whether the input is multiplied, column by column, before it is quantized.
    outliers : bool
        Whether some columns are computed in float.
    kind : str
        The weight's, as `octavo.nn.weights` calls it: "int8", "int4", ...
    group : int, optional
        How many inputs share a scale; None: all of a row.
    groups : bool
        Whether numbers of groups lie as a state dict has them: minima, scales in two levels.
    packing : "gptq", "gptq_v2", "awq" or "pack-quantized", optional
        How codes lie in words; None: each is an int8.
    bits : int
        Of a packed code.
    zeros : bool
        Whether a zero point is stored for each scale.
    ordered : bool
        Whether groups are of inputs in an order of their own.
    """

    symmetric: bool = False
    static: bool = False
    has_activations: bool = True
    bitmap: bool = False
    codebook: bool = False
    multiplier: bool = False
    outliers: bool = False
    kind: str = "int8"
    group: int | None = None
    groups: bool = False
    packing: str | None = None
    bits: int = 8
    zeros: bool = False
    ordered: bool = False

    @property
    def format(self) -> str:
        """The name of the format: octavo's own if others could not read it."""
        own = {part for part in OWN_PARTS if getattr(self, part)}
        return PACK_QUANTIZED if self.packing == PACK_QUANTIZED and not own else format_of(own)

    @property
    def is_told_by_tensors(self) -> bool:
        """Whether the tensors rather than the description say that a layer is quantized."""
        return self.packing not in (None, PACK_QUANTIZED)


def format_of(own: set[str]) -> str:
    """Return the name of a format with these of `OWN_PARTS`."""
    parts = [part for part in OWN_PARTS if part in own]
    return "-".join(("octavo", *parts)) if parts else "int-quantized"


def expect(field: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuse a value of a ``quantization_config`` that is none of those which are read."""
    # `True == 1` in Python, but a JSON `1` is no boolean: compare the types too.
    if not any(type(value) is type(item) and value == item for item in allowed):
        wanted = " or ".join(map(repr, allowed))
        raise ValueError(f"quantization_config: {field} is {shown(value)}, supported: {wanted}")
