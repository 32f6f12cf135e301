# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings of the package under test, installed or not."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import octavo

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(octavo.__path__, "octavo.")
    if info.name not in {"octavo._core", "octavo.__main__", "octavo.bench.__main__"}
)


@pytest.mark.parametrize("name", ["octavo", *MODULES])
def test_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        # A missing extra; octavo's own message names it.
        if "pip install" not in str(error) and (error.name or "octavo").startswith("octavo"):
            raise
        pytest.skip(f"needs an extra: {error}")
    result = doctest.testmod(module)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples failed"


def test_the_functions_and_layers_have_examples() -> None:
    finder = doctest.DocTestFinder()
    for module in (octavo.functional, octavo.nn, octavo.qtensor, octavo.runtime):
        for name in getattr(module, "__all__", []):
            thing = getattr(module, name)
            if callable(thing) and thing.__doc__:
                found = finder.find(thing, name)
                assert any(test.examples for test in found), f"{module.__name__}.{name}"
