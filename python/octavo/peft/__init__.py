# SPDX-License-Identifier: Apache-2.0
"""LoRA on int8 layers, with the library peft: adapters train, the int8 base stays as it is.

Importing this makes `octavo.torch.Linear` a layer that peft knows how to adapt, so that
``peft.get_peft_model``, ``PeftModel.from_pretrained`` and all that follows from them work on models
of `octavo.torch.quantize_` and of `octavo.transformers`.  Dropout, rsLoRA, rank and alpha patterns,
biases of the adapters, several adapters, switching, merging and saving are peft's own; variants
that rewrite or renormalise the base's weights (DoRA, PiSSA, ...) are refused.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

from octavo import torch as _torch  # noqa: F401  (says what to install if PyTorch is missing)

try:
    import peft as _peft  # noqa: F401  (only to say what is missing)
except ModuleNotFoundError as error:
    if error.name != "peft":
        raise
    raise ImportError('octavo.peft needs peft: pip install "octavo[lora]"') from error

from octavo.peft.layer import LoraLinear
from octavo.peft.register import register
from octavo.peft.rounding import requantization_error

register()

__all__ = ["LoraLinear", "requantization_error"]
