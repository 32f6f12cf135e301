# SPDX-License-Identifier: Apache-2.0
"""The scripts of the bench folder as modules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the repository's bench folder by name."""
    if not SCRIPTS.is_dir():
        pytest.skip("the bench folder is not here")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and SCRIPTS in Path(path).parents:
            del sys.modules[name]
