# SPDX-License-Identifier: Apache-2.0
"""What the self-attention of all encoders has in common: in which precision it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from octavo import functional, nn
from octavo.lora.layer import base_of
from octavo.models.packing import Packed
from octavo.nn.traced import Traced

if TYPE_CHECKING:
    from octavo._types import Float32, Mask

ATTENTION_PRECISIONS = ("auto", "float32", "int8")
_CODES = ("int8", "int8-group", "int5", "int4")


class SelfAttention(nn.Module):
    """Multi-head attention of queries, keys and values that its linear layers make.

    Attributes
    ----------
    heads : int
    precision : "auto", "float32" or "int8"
        "auto" is int8 where all `projections` have weights of codes, else float32.
    """

    projections: ClassVar[tuple[str, ...]]
    """Names of the layers that make queries, keys and values."""

    heads: int
    precision: str = "auto"

    @property
    def in_int8(self) -> bool:
        """Whether attention is computed in int8."""
        if self.precision != "auto":
            return self.precision == "int8"
        layers = (base_of(getattr(self, name)) for name in self.projections)
        return all(nn.is_linear(layer, *_CODES) for layer in layers)

    def mixed(
        self,
        hidden: Float32,
        mask: Mask | Packed | None,
        bias: Float32 | None = None,
    ) -> Float32:
        """Compute what the heads give for hidden states; see `octavo.functional.attention`."""
        q, k, v = (getattr(self, name)(hidden) for name in self.projections)
        if isinstance(q, Traced):
            biased = bias is not None
            traced: Any = q.attention(k, v, heads=self.heads, int8=self.in_int8, biased=biased)
            return traced
        attention: Any = functional.attention_int8 if self.in_int8 else functional.attention
        if isinstance(mask, Packed):
            return attention(q, k, v, None, bias, heads=self.heads, offsets=mask.offsets)
        return attention(q, k, v, mask, bias, heads=self.heads)
