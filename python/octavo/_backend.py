# SPDX-License-Identifier: Apache-2.0
"""Picks the backend once: the native module, or its NumPy twin.

`OCTAVO_BACKEND` is `auto` (default: native where it was built), `native` (an error where it was
not) or `numpy`.  A native module that is there but broken is an error, never a silent fallback.
Callers read `backend` when they call, not when they are imported, so that `use` works.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from octavo._version import __version__

_CHOICES = ("auto", "native", "numpy")


def _load_native() -> ModuleType | None:
    """Import the native module; None where it was not built, an error where it is broken."""
    try:
        core = importlib.import_module("octavo._core")
    except ModuleNotFoundError as error:
        if error.name == "octavo._core":
            return None
        raise
    except ImportError as error:
        raise ImportError(
            f"octavo._core is there but cannot be loaded: {error}."
            " OCTAVO_BACKEND=numpy runs octavo without it."
        ) from error
    if core.version() != __version__:
        raise ImportError(
            f"octavo._core is version {core.version()}, the package is {__version__}:"
            " install octavo again, or run without it by OCTAVO_BACKEND=numpy."
        )
    return core


def _load_numpy() -> ModuleType:
    return importlib.import_module("octavo._numpy")


def _pick(choice: str) -> tuple[ModuleType, str, str]:
    """Return (module, name, reason) for a value of OCTAVO_BACKEND."""
    if choice not in _CHOICES:
        raise ValueError(f"OCTAVO_BACKEND: expected one of {', '.join(_CHOICES)}, got {choice!r}")
    if choice == "numpy":
        return _load_numpy(), "numpy", "OCTAVO_BACKEND=numpy"
    core = _load_native()
    if core is not None:
        asked = "OCTAVO_BACKEND=native" if choice == "native" else "the native module is installed"
        return core, "native", asked
    why = "this installation has no native module"
    if not Path(__file__).exists():
        why = "octavo was imported from an archive, out of which no native module can be loaded"
        if choice == "auto":
            warnings.warn(f"{why}: it computes with NumPy, slowly", RuntimeWarning, stacklevel=2)
    if choice == "native":
        raise ImportError(f"OCTAVO_BACKEND=native, but {why}")
    return _load_numpy(), "numpy", why


backend: Any
name: str
reason: str
backend, name, reason = _pick(os.environ.get("OCTAVO_BACKEND", "").strip() or "auto")


@contextlib.contextmanager
def use(choice: str) -> Iterator[Any]:
    """Switch the backend of this process for a while; for tests.  Layers keep the one they have."""
    global backend, name, reason
    before = backend, name, reason
    backend, name, reason = _pick(choice)
    try:
        yield backend
    finally:
        backend, name, reason = before
