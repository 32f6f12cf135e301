# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite's files: models of images and texts, read, run and written without TensorFlow."""

from __future__ import annotations

from octavo.tflite.interpreter import Interpreter
from octavo.tflite.model import Model, TensorInfo, load
from octavo.tflite.reader import ModelFile, read
from octavo.tflite.signature import SignatureRunner
from octavo.tflite.writer import save, to_bytes

__all__ = [
    "Interpreter",
    "Model",
    "ModelFile",
    "SignatureRunner",
    "TensorInfo",
    "load",
    "read",
    "save",
    "to_bytes",
]
