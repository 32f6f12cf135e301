# SPDX-License-Identifier: Apache-2.0
"""The demonstration: compress a real model and measure what that gains and costs."""

from __future__ import annotations

from octavo.data.default_model import default_model
from octavo.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "default_model", "run_demo"]
