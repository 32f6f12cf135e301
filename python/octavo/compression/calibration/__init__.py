# SPDX-License-Identifier: Apache-2.0
"""Calibration data, from wherever it comes, as checked batches or calls."""

from __future__ import annotations

from octavo.compression.calibration.batches import ROWS, Batch, Batches, batches_of
from octavo.compression.calibration.calls import Call, calls_of
from octavo.compression.calibration.sources import CalibrationData, Dataset

__all__ = [
    "ROWS",
    "Batch",
    "Batches",
    "CalibrationData",
    "Call",
    "Dataset",
    "batches_of",
    "calls_of",
]
