# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters at run time, without PyTorch: the folders that the library peft writes.

``model.load_adapter(folder)`` puts an adapter beside the layers of an `octavo.models` encoder, int8
or float.  Its layers then compute ``activation(base(x) + (x @ a.T) @ b.T * scale) + residual``; the
base's packed weights are shared by all adapters and never change.  `merge` makes an ordinary model
of a base and an adapter.  Training is `octavo.peft`.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

from octavo.lora.adapted import merge
from octavo.lora.adapter import Adapter
from octavo.lora.low_rank import LowRank

__all__ = ["Adapter", "LowRank", "merge"]
