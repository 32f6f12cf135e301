# SPDX-License-Identifier: Apache-2.0
"""octavo under transformers: int8 models on the CPU through ``from_pretrained``.

Importing this registers the quantization method ``"octavo"``.  `OctavoConfig` quantizes a float
checkpoint while it is loaded, and reads checkpoints that are quantized already: what `octavo
compress` writes with any recipe, and those of compressed-tensors, GPTQ and AWQ.
"""

from __future__ import annotations

from octavo import torch as _torch  # noqa: F401  (says what to install if PyTorch is missing)

try:
    import transformers as _transformers  # noqa: F401  (only to say what is missing)
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise ImportError(
        'octavo.transformers needs transformers: pip install "octavo[transformers]"'
    ) from error

from octavo.transformers.config import OctavoConfig
from octavo.transformers.quantizer import OctavoQuantizer

__all__ = ["OctavoConfig", "OctavoQuantizer"]
