# SPDX-License-Identifier: Apache-2.0
"""What the report is made of: a model that can read sentences, and what a benchmark wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import model_files
from bench_rows import write_results

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = model_files.write_random(tmp_path / "model")
    model_files.write_tokenizer(path)
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results.json")
