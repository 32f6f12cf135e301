# SPDX-License-Identifier: Apache-2.0
"""The command line as a function, and a model for it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import model_files
from octavo import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call with words; returns the exit code, and what stands on both streams."""

    def call(*words: Any) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A float model with a tokenizer."""
    path = model_files.write_random(tmp_path / "float")
    model_files.write_tokenizer(path)
    return path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Terminal:
    """A stream that says it is one."""
    return Terminal()
