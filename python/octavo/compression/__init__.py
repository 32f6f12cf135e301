# SPDX-License-Identifier: Apache-2.0
"""Making a model smaller: one function, recipes by name."""

from __future__ import annotations

from octavo.compression.calibration_context import Calibration, freeze
from octavo.compression.converter import Converter, Optimize
from octavo.compression.entry import compress, sensitivity
from octavo.compression.graph_compare import Comparison, TensorError, compare
from octavo.compression.graph_converter import OpsSet, TargetSpec
from octavo.compression.recipe import (
    IN_GROUPS,
    PRESETS,
    Prune,
    Quantize,
    Recipe,
    Share,
    read_recipe,
)
from octavo.compression.sensitivity import LayerSensitivity, Sensitivity
from octavo.compression.target import Target, TargetNotMetError

__all__ = [
    "IN_GROUPS",
    "PRESETS",
    "Calibration",
    "Comparison",
    "Converter",
    "LayerSensitivity",
    "OpsSet",
    "Optimize",
    "Prune",
    "Quantize",
    "Recipe",
    "Sensitivity",
    "Share",
    "Target",
    "TargetNotMetError",
    "TargetSpec",
    "TensorError",
    "compare",
    "compress",
    "freeze",
    "read_recipe",
    "sensitivity",
]
