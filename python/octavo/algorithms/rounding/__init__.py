# SPDX-License-Identifier: Apache-2.0
"""Choosing the codes of a weight: to nearest, with searched scales, or one column after another.

`nearest_rows` and `nearest_groups` look at the weight, and perhaps at how large its inputs are;
`gptq` lets columns make up for the errors of those before them.
"""

from __future__ import annotations

from octavo._scales import GROUPS
from octavo.algorithms.rounding.columns import gptq
from octavo.algorithms.rounding.groups import dequantized, nearest_groups, rounded_inputs
from octavo.algorithms.rounding.nearest import nearest_rows

__all__ = ["GROUPS", "dequantized", "gptq", "nearest_groups", "nearest_rows", "rounded_inputs"]
