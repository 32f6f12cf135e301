# SPDX-License-Identifier: Apache-2.0
"""Caches: kept, forked, cut, saved and read; those of other models are refused."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

import decoder_files
import octavo
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


def test_copies_are_forks(model: Any, precision: str) -> None:
    cache = Cache(model, precision)
    model(IDS, cache)
    for other in (copy.copy(cache), copy.deepcopy(cache)):
        model([1], other)
        assert (len(other), cache.ids) == (7, IDS)
    np.testing.assert_array_equal(model([7], cache), model([*IDS, 7], Cache(model, precision))[6:])


def test_a_cache_serves_one_call_at_a_time(model: Any, precision: str) -> None:
    """Others are refused, and what it was doing goes on as if they had not been."""
    wanted = model.generate(IDS, 6, eos_token_id=[]).ids if precision == "int8" else None
    cache = Cache(model, precision)
    stream = model.stream(IDS, 6, cache=cache, eos_token_id=[])
    found = [next(stream)]
    calls = (
        lambda: model.generate(IDS, 6, cache=cache),
        lambda: model.stream([1], 6, cache=cache),
        lambda: model([1], cache),
        lambda: cache.truncate(1),
        cache.fork,
        lambda: cache.save("never"),
    )
    for call in calls:
        with pytest.raises(RuntimeError, match="cache: expected one for each call, got one that"):
            call()
    found += stream
    assert wanted in (None, found)
    assert cache.ids == [*IDS, *found[:-1]]
    # One that is given up lets go of it, begun or not.
    for tokens in (0, 2):
        stream = model.stream([1, 2], 6, cache=cache, eos_token_id=[])
        assert len([next(stream) for _ in range(tokens)]) == tokens
        del stream
        assert len(cache.fork()) == (1 + tokens if tokens else 0)

    def reentrant(_: Any, scores: Any) -> Any:
        model([1], cache)
        return scores

    with pytest.raises(RuntimeError, match="cache: expected one for each call"):
        model.generate(IDS, 6, cache=cache, logits_processor=reentrant)
    assert model.generate(IDS, 6, cache=cache, eos_token_id=[]).ids == found


def test_threads_with_one_cache(model: Any) -> None:
    prompts = [IDS, [40, 41]]
    wanted = [model.generate(prompt, 20, eos_token_id=[]).ids for prompt in prompts]
    cache = Cache(model)

    def run(prompt: list[int]) -> Any:
        try:
            return model.generate(prompt, 20, cache=cache, eos_token_id=[]).ids
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, prompts * 10))
    for index, one in enumerate(found):
        assert one == wanted[index % 2] or one.startswith("cache: expected one for each call")


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
    # Another one in a single layer, whose norms are the same.
    others.append(decoder_files.loaded(tmp_path / "d", recipe="int8"))
    layer = others[0].model.layers[1].mlp.down_proj
    others[-1].model.layers[1].mlp.down_proj = layer
    cache = Cache(model)
    model([1, 2], cache)
    cache.save(tmp_path / "cache")
    for other in others:
        with pytest.raises(ValueError, match="cache: expected a cache of this model"):
            other([1], cache)
        with pytest.raises(ValueError, match="cache: expected a cache of this model"):
            Cache.load(tmp_path / "cache", other)
    # The same model loaded again is the same.
    same = decoder_files.loaded(tmp_path / "model", recipe="int8")
    assert Cache.load(tmp_path / "cache", same).ids == [1, 2]
    assert same([5], cache).shape == (1, 100)
    # It is what it was when the tokens ran; a cache without any goes along.
    empty = Cache(model)
    model.model.layers[1].mlp.down_proj = layer
    with pytest.raises(ValueError, match="cache: expected a cache of this model"):
        model([5], cache)
    cache.save(tmp_path / "again")
    assert Cache.load(tmp_path / "again", same).ids == [1, 2, 5]
    assert model([5], empty).shape == (1, 100)


@pytest.mark.parametrize("recipe", ["", "fp16"])
def test_caches_of_float_models(tmp_path: Path, recipe: str) -> None:
    """Of which no scales tell that weights are others."""
    model, other = (decoder_files.loaded(tmp_path / "in", recipe=recipe) for _ in range(2))
    cache = Cache(model)
    model([1], cache)
    assert other([2], cache).shape == (1, 100)
    other.model.layers[0].self_attn.q_proj = octavo.nn.FloatLinear(np.eye(32, dtype=np.float32))
    with pytest.raises(ValueError, match="cache: expected a cache of this model"):
        other([2], cache)


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
    with pytest.raises(TypeError, match="model: expected a Decoder, got int"):
        Cache(3)  # type: ignore[arg-type]


def test_the_model_says_how_a_cache_holds(tmp_path: Path) -> None:
    recipe = {"quantize": {"attention": "float32"}}
    model = decoder_files.loaded(tmp_path / "in", recipe=recipe)  # type: ignore[arg-type]
    model.save(tmp_path / "out")
    assert Cache(octavo.models.load(tmp_path / "out")).precision == "float32"
