# SPDX-License-Identifier: Apache-2.0
"""The tiers that tests run on."""

from __future__ import annotations

from octavo import _backend


def native_tiers() -> list[str]:
    """Tiers of the native module, best first; none where it is not built."""
    with _backend.use("auto") as backend:
        return list(backend.isa_tiers()) if _backend.name == "native" else []


TIERS = ["numpy", *native_tiers()]
