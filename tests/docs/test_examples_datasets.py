# SPDX-License-Identifier: Apache-2.0
"""The example with `datasets`: the bits of one process, whatever shares the work."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

datasets = pytest.importorskip("datasets", reason="the example maps over one of its data sets")
pytest.importorskip("tokenizers", reason="texts are cut into tokens by it")

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "embed_dataset.py"
TEXTS = ["the a of", "strange , words", "the of a", "a a", "the a of", "of . , of"]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    threads = octavo.runtime.get_num_threads()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    spec = importlib.util.spec_from_file_location("embed_dataset", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    octavo.runtime.set_num_threads(threads)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_files.write_sentence_model(tmp_path / "model")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("processes", [1, 2])
def test_processes_share_the_work(
    example: ModuleType, model: Path, tmp_path: Path, processes: int
) -> None:
    small = example.compressed(model, tmp_path / "int8")
    rows = example.embedded(datasets.Dataset.from_dict({"text": TEXTS}), small, processes)
    wanted = octavo.models.load(small).encode(TEXTS, normalize=True)
    np.testing.assert_array_equal(rows.with_format("numpy")["embedding"][:], wanted)
    (cosine, text), *_ = example.nearest(rows, 0)
    assert text == TEXTS[4]
    assert cosine == pytest.approx(1)


def test_what_it_prints(example: ModuleType, model: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    example.main([str(tmp_path / "texts.txt"), "--model", str(model)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"{len(TEXTS)} texts in ")
    assert printed[1] == TEXTS[0]
    assert printed[2].split(maxsplit=1) == ["1.000", TEXTS[4]]
