# SPDX-License-Identifier: Apache-2.0
"""The thread's floating-point mode, for arithmetic in NumPy.

Other libraries leave marks in a thread's control register: subnormals flushed to zero
(`torch.set_flush_denormal`, anything linked with ``-ffast-math``), another rounding mode.  Results
depend on the arguments alone, so the NumPy backend computes in the default mode and puts the
caller's back.  The native module does the same for itself.  So it is with what the caller wants
NumPy to do about overflow and the like (`numpy.errstate`): here they are part of the arithmetic.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_ENVIRONMENT_BYTES = 256
"""More than `fenv_t` has anywhere: 8 to 32."""


@functools.cache
def _library() -> tuple[Any, ctypes.c_void_p] | None:
    """Return the C library with ``fegetenv`` and ``fesetenv``, and its FE_DFL_ENV.

    None where there is none to be had: then NumPy computes in whichever mode it finds.
    """
    if sys.platform == "win32":
        return None
    for name in (None, "libm.so.6"):
        try:
            # PyDLL keeps the GIL: the calls take nanoseconds.
            library = ctypes.PyDLL(name)
            library.fegetenv, library.fesetenv  # noqa: B018 (looks both up)
            if sys.platform == "darwin":
                default = ctypes.c_void_p.in_dll(library, "_FE_DFL_ENV")
                return library, ctypes.c_void_p(ctypes.addressof(default))
        except (OSError, AttributeError, ValueError):
            continue
        return library, ctypes.c_void_p(-1)  # glibc's and musl's FE_DFL_ENV
    return None


def in_default_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Let `function` compute in the default floating-point mode, whatever the caller's errstate."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        found = _library()
        if found is None:
            with np.errstate(all="ignore"):
                return function(*args, **kwargs)
        library, default = found
        before = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
        library.fegetenv(before)
        library.fesetenv(default)
        try:
            with np.errstate(all="ignore"):
                return function(*args, **kwargs)
        finally:
            library.fesetenv(before)

    return wrapper
