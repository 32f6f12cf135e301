# SPDX-License-Identifier: Apache-2.0
"""The names of the formats that hold the codes of an int8 weight, as the backend lists them."""

from __future__ import annotations

from octavo import _backend

DENSE: str
"""Every code."""

SPARSE_FORMATS: tuple[str, ...]
"""Those that leave zeros out."""

DENSE, *_sparse = _backend.backend.weight_formats()
SPARSE_FORMATS = tuple(_sparse)
