# SPDX-License-Identifier: Apache-2.0
"""Modules of torch as graphs, through `torch.export`."""

from __future__ import annotations

from octavo.torch.exported.module import to_graph

__all__ = ["to_graph"]
