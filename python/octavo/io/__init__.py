# SPDX-License-Identifier: Apache-2.0
"""Files: safetensors, GGUF, checkpoint folders, the compressed-tensors description."""

from __future__ import annotations

from octavo.io.checkpoint import Checkpoint
from octavo.io.compressed_tensors import QuantizationConfig
from octavo.io.gguf import GgufFile, gguf_tokenizer, open_gguf
from octavo.io.header import TensorInfo
from octavo.io.replacing import replaced_folder
from octavo.io.safetensors import TensorFile, TensorPlan, write_tensor_file
from octavo.io.scheme import Scheme

__all__ = [
    "Checkpoint",
    "GgufFile",
    "QuantizationConfig",
    "Scheme",
    "TensorFile",
    "TensorInfo",
    "TensorPlan",
    "gguf_tokenizer",
    "open_gguf",
    "replaced_folder",
    "write_tensor_file",
]
