# SPDX-License-Identifier: Apache-2.0
"""Random numbers of PyTorch, the same in every run."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Of the PyTorch that a test's file has imported, if it is here at all."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(7)
