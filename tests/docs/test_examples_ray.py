# SPDX-License-Identifier: Apache-2.0
"""The example with Ray: two actors with one copy of the weights, and the bits of one process."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ray = pytest.importorskip("ray", reason="the example's actors are Ray's")
pytest.importorskip("ray.data", reason="the example maps over one of its data sets")
pytest.importorskip("tokenizers", reason="texts are cut into tokens by it")

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "embed_ray.py"
TEXTS = ["the a of", "strange , words", "the of a", "a a", "of . , of"] * 4


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    yield
    ray.shutdown()


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("embed_ray", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.usefixtures("cluster")
def test_two_actors_give_what_one_process_does(
    example: ModuleType, tmp_path: Path, capsys: Any
) -> None:
    model = model_files.write_sentence_model(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    example.main([str(tmp_path / "texts.txt"), "--model", str(model)])
    assert capsys.readouterr().out.startswith(f"{len(TEXTS)} texts in ")
    octavo.compress(model).save(tmp_path / "int8")
    rows = ray.data.from_items([{"text": text} for text in TEXTS], override_num_blocks=4)
    found = example.embedded(rows, tmp_path / "int8", actors=2).take_all()
    wanted = octavo.models.load(tmp_path / "int8").encode(TEXTS, normalize=True)
    assert [row["text"] for row in found] == TEXTS
    np.testing.assert_array_equal([row["embedding"] for row in found], wanted)
