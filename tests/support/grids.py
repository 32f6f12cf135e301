# SPDX-License-Identifier: Apache-2.0
"""Grids of parameters of which a part runs with `--run-slow` alone."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Parameters for the full grid."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
