# SPDX-License-Identifier: Apache-2.0
"""Hostile files for every reader, and hostile arguments for every function of the native module.

``python -m fuzz`` runs it; `docs/security.md` says what it has to prove.
"""

from __future__ import annotations
