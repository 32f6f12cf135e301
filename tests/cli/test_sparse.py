# SPDX-License-Identifier: Apache-2.0
"""``octavo compress`` with pruning recipes and calibration data."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from octavo import cli

pytest.importorskip("typer", reason="needs the extra `cli`")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "ids.npz"
    ids = np.random.default_rng(5).integers(1, 100, (40, 11))
    np.savez(path, input_ids=ids)
    return path


def test_it_writes_what_the_library_makes(
    folder: Path, data: Path, tmp_path: Path, run: Run
) -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    yaml = tmp_path / "recipe.yaml"
    yaml.write_text('prune: {method: wanda, pattern: "2:4", exclude: ["pooler.*"]}')
    for recipe, calibration in (
        ("sparse50-int8", None),
        ("2:4-int8", data),
        (str(yaml), data),
        ("sparse75", None),
    ):
        expected = octavo.compress(folder, recipe, calibration=calibration)
        expected.save(tmp_path / "expected")
        words = ["compress", folder, tmp_path / "out", "--recipe", recipe, "--json", "--overwrite"]
        words += [] if calibration is None else ["--calibration", calibration]
        code, out, err = run(*words)
        assert (code, err) == (0, "")
        assert json.loads(out)["recipe"] == recipe
        assert json.loads(out)["applied"] == expected.recipe
        for path in (tmp_path / "expected").iterdir():
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def test_sentences(folder: Path, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("tokenizers", reason="needs tokenizers")
    text = tmp_path / "s.txt"
    text.write_text("the a of the\nof and a , the .\n", encoding="utf-8")
    for model in (folder, folder / "model.safetensors"):
        words = ["compress", model, tmp_path / "out", "--json", "--recipe", "sparse50-int8"]
        code, out, err = run(*words, "--calibration", text)
        assert (code, err) == (0, "")
        assert json.loads(out)["applied"]["calibration_tokens"] == 10
    (folder / "tokenizer.json").unlink()
    code, out, err = run(*words, "--calibration", text)
    assert (code, out) == (1, "")
    assert "no tokenizer.json" in err


def test_progress_has_the_time_left(
    folder: Path, data: Path, tmp_path: Path, terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    words = ["compress", folder, tmp_path / "out", "--recipe", "2:4-int8", "--calibration", data]
    assert cli.main([str(word) for word in words]) == 0
    shown = terminal.getvalue()
    assert "pruning encoder.layer.1.output.dense" in shown
    shares = [int(share) for share in re.findall(r"(\d+)%", shown)]
    assert shares == sorted(shares)
    assert len(set(shares)) > 10
    assert shares[-1] == 100
