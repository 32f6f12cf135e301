# SPDX-License-Identifier: Apache-2.0
"""Caches: kept, forked, cut, saved and read; those of other models are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

import decoder_files
from octavo.models import Cache, cached_attention
from octavo.models.cached_attention import FloatKeyValues

if TYPE_CHECKING:
    from pathlib import Path

IDS = [5, 9, 9, 12, 30, 31]


@pytest.fixture(params=["int8", "float32"])
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return decoder_files.loaded(tmp_path / "model", recipe="int8")


def test_forks_go_their_own_ways(model: Any, precision: str) -> None:
    cache = Cache(model, precision)
    model(IDS, cache)
    forks = [cache.fork() for _ in range(3)]
    for fork, token in zip(forks, (1, 2, 3), strict=True):
        wanted = model([*IDS, token, 4], Cache(model, precision))[6:]
        np.testing.assert_array_equal(model([token, 4], fork), wanted)
        assert fork.ids == [*IDS, token, 4]
    assert cache.ids == IDS
    assert len(cache) == 6
    assert repr(cache) == f"Cache(tokens=6, precision='{precision}')"


@pytest.mark.parametrize("spoilt", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_float_rows_see_what_they_may(
    monkeypatch: pytest.MonkeyPatch, window: int | None, spoilt: bool, isa: str
) -> None:
    """Bit for bit what they give alone, also where a later token is not finite."""
    rng = np.random.default_rng(0)
    keys, values = rng.standard_normal((2, 11, 6)).astype(np.float32)
    query = rng.standard_normal((9, 18)).astype(np.float32)
    if spoilt:
        keys[9, 1], values[9, 4] = np.nan, np.inf
    alone, together = FloatKeyValues(1, 2, 3), FloatKeyValues(1, 2, 3)
    alone.append(0, keys[:2], values[:2])
    together.append(0, keys, values)
    wanted, got = np.empty((2, *query.shape), np.float32)
    for row in range(9):
        alone.append(0, keys[row + 2 : row + 3], values[row + 2 : row + 3])
        alone.attend(query[row : row + 1], 0, 6, window, 0.5, wanted[row : row + 1])
    for most in (1 << 20, 100, 1):
        monkeypatch.setattr(cached_attention, "_AT_ONCE", most)
        together.attend(query, 0, 6, window, 0.5, got)
        np.testing.assert_array_equal(got, wanted)
    assert np.isfinite(got[:7]).all()


def test_truncated(model: Any, precision: str) -> None:
    cache = Cache(model, precision)
    model(IDS, cache)
    cache.truncate(2)
    assert cache.ids == IDS[:2]
    wanted = model([*IDS[:2], 7], Cache(model, precision))[2:]
    np.testing.assert_array_equal(model([7], cache), wanted)
    with pytest.raises(ValueError, match=r"tokens: expected a value in \[0, 3\], got 4"):
        cache.truncate(4)


def test_saved(tmp_path: Path, model: Any, precision: str, isa: str) -> None:
    """The same bytes on every tier, and the same logits behind what was read."""
    cache, file = Cache(model, precision), tmp_path / "text.cache"
    model(IDS, cache)
    cache.save(file)
    again = Cache.load(file, model)
    assert (again.ids, again.precision) == (IDS, precision)
    np.testing.assert_array_equal(model([7, 8], again), model([7, 8], cache))
    content = safetensors.numpy.load_file(file)
    assert content["ids"].tolist() == IDS
    again.truncate(6)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_tied_table_is_held_once(model: Any) -> None:
    table, ids = model.model.embed_tokens, [[0, 99], [17, 0]]
    before, rows = table.nbytes, table(ids)
    model([1])
    np.testing.assert_array_equal(table(ids), rows)
    assert before <= table.nbytes < 2 * before
    assert model._head().held_weight is table.held_weight


def test_memory(model: Any) -> None:
    """Two layers, two heads of keys and of values, eight values each."""
    cache = Cache(model)
    model(IDS, cache)
    assert cache.nbytes >= len(IDS) * 2 * 2 * 2 * (8 + 4)


def test_caches_of_other_models(tmp_path: Path, model: Any) -> None:
    others = [
        decoder_files.loaded(tmp_path / "a", seed=1, recipe="int8"),
        decoder_files.loaded(tmp_path / "b"),
        decoder_files.loaded(tmp_path / "c", recipe="int8", rms_norm_eps=1e-5),
    ]
    cache = Cache(model)
    cache.save(tmp_path / "cache")
    for other in others:
        with pytest.raises(ValueError, match="cache: expected a cache of this model"):
            other([1], cache)
        with pytest.raises(ValueError, match="cache: expected a cache of this model"):
            Cache.load(tmp_path / "cache", other)
    # The same model loaded again is the same.
    same = decoder_files.loaded(tmp_path / "model", recipe="int8")
    assert Cache.load(tmp_path / "cache", same).ids == []
    assert same([5], cache).shape == (1, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array([5, 100])}, "'ids' has tokens that the model does not know"),
        ({"ids": np.arange(3)}, r"'layers.0.key_codes': expected shape \(3, 2, 8\)"),
        ({"ids": None}, "no tensor named 'ids'"),
        ({"layers.1.value_scale": None}, "no tensor named 'layers.1.value_scale'"),
        ({"layers.1.key_codes": np.zeros((2, 2, 8), np.int16)}, "is int16, expected int8"),
        ({"layers.1.key_codes": np.full((2, 2, 8), -128, np.int8)}, "has codes below -127"),
        ({"layers.0.key_scale": np.full((2, 2), -1, np.float32)}, "has scales that no cache has"),
        ({"layers.0.key_scale": np.full((2, 2), np.inf, np.float32)}, "has scales that no cache"),
        ({"layers.1.value_scale": np.full((2, 2), np.nan, np.float32)}, "has scales that no cache"),
    ],
)
def test_damaged_files(tmp_path: Path, model: Any, change: Any, message: str) -> None:
    cache, file = Cache(model), tmp_path / "cache"
    model(IDS[:2], cache)
    cache.save(file)
    with safetensors.safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    tensors = {**safetensors.numpy.load_file(file), **change}
    kept = {name: values for name, values in tensors.items() if values is not None}
    safetensors.numpy.save_file(kept, file, metadata)
    with pytest.raises(ValueError, match=message):
        Cache.load(file, model)


def test_files_that_are_no_cache(tmp_path: Path, model: Any) -> None:
    with pytest.raises(ValueError, match="not a cache of keys and values that octavo wrote"):
        Cache.load(tmp_path / "model" / "model.safetensors", model)
    with pytest.raises(FileNotFoundError):
        Cache.load(tmp_path / "absent", model)
    with pytest.raises(ValueError, match="precision: expected one of int8, float32, got 'int4'"):
        Cache(model, "int4")


def test_the_model_says_how_a_cache_holds(tmp_path: Path) -> None:
    recipe = {"quantize": {"attention": "float32"}}
    model = decoder_files.loaded(tmp_path / "in", recipe=recipe)  # type: ignore[arg-type]
    model.save(tmp_path / "out")
    import octavo

    assert Cache(octavo.models.load(tmp_path / "out")).precision == "float32"
