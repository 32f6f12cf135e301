# SPDX-License-Identifier: Apache-2.0
"""The function from texts to vectors that other libraries send to their processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.models import Embedder, embedder

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("tokenizers", reason="texts are cut into tokens by it")

TEXTS = ["the a of", "and", "strange , words"]
IDS: list[list[int]] = [[2, 3, 7], [6], [4, 2]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("embedder")
    octavo.compress(model_files.write_sentence_model(base / "float")).save(base / "int8")
    return base / "int8"


@pytest.fixture(scope="module")
def vectors(folder: Path) -> Any:
    return octavo.models.load(folder).encode(TEXTS)


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda x: np.array(x, object)])
def test_texts(folder: Path, vectors: Any, kind: Any) -> None:
    embed = Embedder(folder)
    np.testing.assert_array_equal(embed(kind(TEXTS)), vectors)
    np.testing.assert_array_equal(embed(TEXTS[0]), vectors[0])
    batch = {"text": kind(TEXTS), "id": [1, 2, 3]}
    found = embed(batch)
    np.testing.assert_array_equal(found["embedding"], vectors)
    assert found["embedding"].shape == (3, 32)
    assert set(batch) == {"text", "id"}
    assert found["id"] is batch["id"]
    assert embed({"text": []})["embedding"].shape == (0, 32)


def test_names_and_options(folder: Path) -> None:
    embed = Embedder(folder, column="s", output_column="v", prompt_name="query", truncate_dim=5)
    wanted = embed.model.encode(TEXTS, prompt_name="query", truncate_dim=5)
    found = embed({"text": [0, 0, 0], "s": TEXTS})
    np.testing.assert_array_equal(found["v"], wanted)


def test_token_ids(folder: Path) -> None:
    embed = Embedder(folder)
    wanted = np.concatenate([embed.model.encode([row]) for row in IDS])
    ragged = {"input_ids": IDS, "attention_mask": [[1] * len(row) for row in IDS]}
    even = {
        "input_ids": np.array([[2, 3, 7], [6, 0, 0], [4, 2, 0]]),
        "attention_mask": np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]]),
        "other": np.zeros(3),
    }
    arrays = np.empty(3, object)
    arrays[:] = [np.array(row) for row in IDS]
    for batch in (ragged, even, {"input_ids": IDS}, {"input_ids": arrays}):
        np.testing.assert_array_equal(embed(batch)["embedding"], wanted)
    assert embed({"input_ids": []})["embedding"].shape == (0, 32)
    few = Embedder(folder, batch_tokens=3)
    np.testing.assert_array_equal(few(even)["embedding"], wanted)


def test_pandas(folder: Path, vectors: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="its frames are taken")
    frame = pandas.DataFrame({"text": TEXTS, "id": [1, 2, 3]}, index=[7, 8, 9])
    embed = Embedder(folder)
    found = embed(frame)
    assert list(frame) == ["text", "id"]
    assert list(found.index) == [7, 8, 9]
    np.testing.assert_array_equal(np.stack(list(found["embedding"])), vectors)
    np.testing.assert_array_equal(embed(frame["text"]), vectors)


@pytest.mark.parametrize(
    ("batch", "kind", "message"),
    [
        ({"texts": TEXTS}, ValueError, r"column: expected 'text' or 'input_ids' .*\['texts'\]"),
        ({"text": ["a", None]}, TypeError, "column 'text': item 1: expected a string, got None"),
        ({"text": 3}, TypeError, "column 'text': expected a list of strings, got int"),
        ({"text": ["a\ud800"]}, ValueError, "column 'text': item 0: expected Unicode text"),
        (["a", 3], TypeError, "rows: item 1: expected a string, got int"),
        (None, TypeError, "rows: expected a list of strings, got NoneType"),
        ({"input_ids": 2}, TypeError, "column 'input_ids': expected rows, got int"),
        ({"input_ids": [2, 3]}, TypeError, "column 'input_ids': row 0: expected a list of numbers"),
        (
            {"input_ids": [[2], [3]], "attention_mask": [[1], 1]},
            TypeError,
            "column 'attention_mask': row 1: expected a list of numbers, got int",
        ),
        (
            {"input_ids": [[2, 3]], "attention_mask": [[1]]},
            ValueError,
            "column 'attention_mask': expected rows as long as those of 'input_ids'",
        ),
    ],
)
def test_batches_that_do_not_fit(folder: Path, batch: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        Embedder(folder)(batch)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"normalise": True},
            TypeError,
            "normalise: no such option; there are prompt_name, .*batch_tokens",
        ),
        ({"threads": 0}, ValueError, "threads: expected"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        Embedder("path", **options)


def test_it_is_pickled_as_its_arguments(
    folder: Path, vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    embed = Embedder(folder.name, normalize=True)
    before = pickle.dumps(embed)
    embed(TEXTS)
    assert pickle.dumps(embed) == before
    assert len(before) < 300 + len(str(folder))
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(before)(TEXTS), embed(TEXTS))
    assert Embedder("owner/name").path == "owner/name"


def test_it_loads_once(folder: Path, vectors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def load(*arguments: Any, **options: Any) -> Any:
        loads.append(arguments)
        return octavo.models.load(*arguments, **options)

    monkeypatch.setattr(embedder, "load_encoder", load)
    embed = Embedder(folder)
    start = threading.Barrier(8)

    def call() -> Any:
        start.wait()
        return embed(TEXTS)

    with ThreadPoolExecutor(8) as pool:
        for found in [pool.submit(call) for _ in range(8)]:
            np.testing.assert_array_equal(found.result(), vectors)
    assert len(loads) == 1


def test_threads_are_set_where_it_loads(folder: Path) -> None:
    before = octavo.runtime.get_num_threads()
    try:
        embed = Embedder(folder, threads=3)
        assert octavo.runtime.get_num_threads() == before
        embed(TEXTS)
        assert octavo.runtime.get_num_threads() == 3
    finally:
        octavo.runtime.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_child_that_forks_while_another_thread_loads(
    folder: Path, vectors: Any, is_loaded: bool
) -> None:
    embed = Embedder(folder)
    if is_loaded:
        embed(TEXTS)
    with embedder._loading:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            status = 1
            try:
                status = int(not np.array_equal(embed(TEXTS), vectors))
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_spawned_process(folder: Path, vectors: Any) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(Embedder(folder, threads=1), [TEXTS, TEXTS[:1]])
    np.testing.assert_array_equal(found[0], vectors)
    np.testing.assert_array_equal(found[1], vectors[:1])


def test_datasets_maps_it_and_finds_it_again(
    folder: Path, vectors: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="it maps over columns of texts")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    embed, same = Embedder(folder), Embedder(folder)
    fingerprint = datasets.fingerprint.Hasher.hash
    before = fingerprint(embed)
    rows = datasets.Dataset.from_dict({"text": TEXTS, "id": [1, 2, 3]})
    found = rows.map(embed, batched=True, batch_size=2)
    np.testing.assert_array_equal(found.with_format("numpy")["embedding"][:], vectors)
    assert found["id"][:] == [1, 2, 3]
    assert fingerprint(embed) == fingerprint(same) == before
    assert fingerprint(Embedder(folder, normalize=True)) != before
    for other in (rows.map(embed), rows.with_format("numpy").map(embed, batched=True)):
        np.testing.assert_array_equal(other.with_format("numpy")["embedding"][:], vectors)
    ids = rows.map(lambda row: {"input_ids": IDS[row["id"] - 1]}, remove_columns="text")
    assert np.shape(ids.map(embed, batched=True)["embedding"][:]) == (3, 32)
