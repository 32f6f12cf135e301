# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite's files: models of images and of texts, read and run without TensorFlow."""

from __future__ import annotations

from octavo.tflite.reader import ModelFile, read

__all__ = ["ModelFile", "read"]
