# SPDX-License-Identifier: Apache-2.0
"""The contract of layers, over every kind that is registered."""

from __future__ import annotations

from layer_contract import *  # noqa: F403 (the tests and their fixtures)
