# SPDX-License-Identifier: Apache-2.0
"""The names of the formats that hold the codes of an int8 weight: the only list of them."""

from __future__ import annotations

__all__ = ["DENSE", "SPARSE_FORMATS", "WINDOWS"]

DENSE = "dense"
"""Every code."""

WINDOWS = {"slots16": 16, "slots64": 64}
"""Formats with slots, and the inputs that one step can reach."""

SPARSE_FORMATS = (*WINDOWS, "csr", "bitmap", "blocks16x4", "blocks1x4", "blocks4x1")
"""Those that leave zeros out."""
