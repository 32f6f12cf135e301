# SPDX-License-Identifier: Apache-2.0
"""The tiers that tests run on: all that are here, or those that `OCTAVO_TEST_TIERS` names."""

from __future__ import annotations

import os

from octavo import _backend

_WANTED = os.environ.get("OCTAVO_TEST_TIERS", "")


def native_tiers() -> list[str]:
    """Tiers of the native module, best first; none where it is not built."""
    with _backend.use("auto") as backend:
        tiers = list(backend.isa_tiers()) if _backend.name == "native" else []
    return [tier for tier in tiers if not _WANTED or tier in _WANTED.split(",")]


TIERS = ["numpy", *native_tiers()]
