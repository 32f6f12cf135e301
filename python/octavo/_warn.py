# SPDX-License-Identifier: Apache-2.0
"""Warnings that name the user's line, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings


def warn(message: str, kind: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line outside the package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, kind, stacklevel=level)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "octavo"
