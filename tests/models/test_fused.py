# SPDX-License-Identifier: Apache-2.0
"""Models whose blocks run as one native call: the same bits, and nothing is passed over."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_files
import octavo
from native import needs_core
from octavo import nn, runtime
from octavo.models import packing
from octavo.models.fused import FusedBlocks
from octavo.nn import hooks, tree
from octavo.nn.module import last_change
from ragged import batch
from reference import assert_same_bits

pytestmark = needs_core

FUSED = ["bert", "distilbert", "mpnet"]


def model_of(name: str, place: Path, recipe: Any = "int8") -> Any:
    if name == "mpnet":
        return octavo.compress(model_files.write_mpnet(place / "mpnet"), recipe)
    return octavo.compress(model_files.write_random(place / name, name), recipe)


@pytest.fixture
def bert(tmp_path: Path) -> Any:
    return model_of("bert", tmp_path)


def one_by_one(model: Any, ids: Any, mask: Any = None) -> Any:
    """What the blocks compute of each row without its padding, called as they are."""
    out = np.zeros((*ids.shape, model.config.hidden_size), np.float32)
    for row in range(len(ids)):
        kept = np.ones(ids.shape[1], bool) if mask is None else mask[row]
        if not kept.any():
            continue
        hidden = model.embed(ids[row : row + 1], None)[:, kept]
        options = model.block_options(hidden.shape[1])
        for _, block in model.blocks():
            hidden = block(hidden, None, *options)
        out[row][kept] = model.finish(hidden)[0]
    return out


def kinds(model: Any) -> list[str]:
    """What runs the blocks, after a call."""
    return [type(part).__name__ for part in model._fused().parts]


@pytest.mark.parametrize("name", [*FUSED, "modernbert"])
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_same_bits(name: str, precision: str, tmp_path: Path, isa: str) -> None:
    model = model_of(name, tmp_path)
    model.attention_precision = precision
    ids, mask = batch(True)
    expected = one_by_one(model, ids, mask)
    before = runtime.get_num_threads()
    for threads in (1, 2, 3):
        runtime.set_num_threads(threads)
        assert_same_bits(model(ids, mask), expected)
        assert_same_bits(model(ids[3:4, :5]), one_by_one(model, ids[3:4, :5]))
        assert_same_bits(
            model(np.repeat(ids, 12, axis=0), np.repeat(mask, 12, axis=0)),
            np.repeat(expected, 12, axis=0),
        )
    runtime.set_num_threads(before)
    is_fused = isa != "numpy" and name in FUSED
    assert (kinds(model) == ["FusedBlocks"]) == is_fused


@pytest.mark.parametrize("recipe", ["int8-static", "int8-smooth", "sparse50-int8"])
def test_other_recipes(recipe: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="calibration reads texts")
    place = tmp_path / "float"
    model_files.write_classifier(place)
    model_files.write_tokenizer(place)
    needs_data = recipe in ("int8-static", "int8-smooth")
    model: Any = octavo.compress(
        place, recipe, calibration=["the and of"] * 4 if needs_data else None
    )
    ids, mask = batch(True)
    assert_same_bits(model(ids, mask), one_by_one(model, ids, mask))
    assert kinds(model) == ["FusedBlocks"]


def test_float_models(tmp_path: Path) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path / "float", "bert"))
    ids, mask = batch(True)
    assert_same_bits(model(ids, mask), one_by_one(model, ids, mask))
    assert kinds(model) == ["FusedBlocks"]
    assert kinds(model_of("bert", tmp_path, "fp16")) == ["BertLayer", "BertLayer"]


def test_padding_between_tokens(tmp_path: Path) -> None:
    ids, mask = batch(False)
    for name in FUSED:
        model = model_of(name, tmp_path)
        expected = np.zeros((*ids.shape, 32), np.float32)
        for row, kept in enumerate(mask):
            if kept.any():
                hidden = model.embed(ids[row : row + 1], None)
                for _, block in model.blocks():
                    hidden = block(hidden, kept[None], *model.block_options(ids.shape[1]))
                expected[row][kept] = hidden[0][kept]
        assert_same_bits(model(ids, mask), expected)


def test_replaced_layers_run(bert: Any) -> None:
    ids, _ = batch(True)
    bert.prepare()
    assert kinds(bert) == ["FusedBlocks"]
    layer = bert.encoder.layer[1]
    steps: list[Any] = [
        (layer.intermediate, "dense", layer.intermediate.dense.replace(activation="relu")),
        (layer.output, "LayerNorm", nn.LayerNorm(np.full(32, 2, np.float32))),
        (layer.attention.self, "precision", "float32"),
        (layer.attention.self, "heads", 2),
    ]
    for owner, name, value in steps:
        setattr(owner, name, value)
        assert_same_bits(bert(ids), one_by_one(bert, ids))
        assert kinds(bert) == ["FusedBlocks"]
    bert.encoder.layer[0], bert.encoder.layer[1] = bert.encoder.layer[1], bert.encoder.layer[0]
    assert_same_bits(bert(ids), one_by_one(bert, ids))
    bert.encoder.layer.append(bert.encoder.layer[0])
    assert_same_bits(bert(ids), one_by_one(bert, ids))
    assert kinds(bert) == ["FusedBlocks"]
    bert.set_submodule("encoder.layer.0.output.dense", nn.FloatLinear(layer.output.dense.weight))
    assert_same_bits(bert(ids), one_by_one(bert, ids))
    assert kinds(bert) == ["FusedBlocks"]
    half = nn.Linear.from_float(layer.output.dense.weight, kind="float16")
    bert.set_submodule("encoder.layer.0.output.dense", half)
    assert_same_bits(bert(ids), one_by_one(bert, ids))
    assert kinds(bert) == ["BertLayer", "FusedBlocks", "BertLayer"]


def test_a_change_is_one_after_it_is_there() -> None:
    """Who fused in between, of what was before, must see it at the next call."""
    seen: list[object] = []

    class Slow(nn.Module):
        part = property(
            lambda self: None,
            lambda self, value: seen.append(last_change()),
            lambda self: seen.append(last_change()),
        )

    module = Slow()
    module.part = 1
    seen.append(last_change())
    del module.part
    seen.append(last_change())
    assert len({id(one) for one in seen}) == 3
    assert seen[1] is seen[2]


def test_a_deleted_layer_is_missed(bert: Any) -> None:
    ids, _ = batch(True)
    bert(ids)
    del bert.encoder.layer[1].intermediate.dense
    with pytest.raises(AttributeError, match="dense"):
        bert(ids)


class Doubled(nn.Module):
    """Somebody's own layer: it computes with what it gets, and counts."""

    calls = 0

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, *args: Any) -> Any:
        type(self).calls += 1
        return self.layer(*args) * 2


@pytest.mark.parametrize("path", ["encoder.layer.1", "encoder.layer.1.intermediate.dense"])
def test_own_layers_run_in_each_call(bert: Any, path: str) -> None:
    ids, _ = batch(True)
    bert(ids)
    bert.set_submodule(path, Doubled(bert.get_submodule(path)))
    expected = one_by_one(bert, ids)
    for _ in range(2):
        before = Doubled.calls
        assert_same_bits(bert(ids), expected)
        assert Doubled.calls == before + 1
    assert kinds(bert)[0] == "FusedBlocks"


def test_subclasses_are_not_passed_over(bert: Any) -> None:
    class Louder(type(bert.encoder.layer[0])):  # type: ignore[misc]
        def __call__(self, hidden: Any, mask: Any) -> Any:
            return super().__call__(hidden, mask) * 2

    ids, _ = batch(True)
    expected = bert(ids) * 2
    bert.encoder.layer[1].__class__ = Louder
    assert_same_bits(bert(ids), expected)


@pytest.mark.parametrize("path", ["encoder.layer.0", "encoder.layer.1.attention.self.key"])
def test_watched_layers_are_seen(bert: Any, path: str) -> None:
    ids, _ = batch(True)
    expected, seen = bert(ids), []
    with hooks.register(bert.get_submodule(path), lambda *call: seen.append(len(call))):
        for _ in range(2):
            assert_same_bits(bert(ids), expected)
        assert seen == [3, 3]
    assert kinds(bert) == ["FusedBlocks"]
    assert_same_bits(bert(ids), expected)
    assert len(seen) == 2


def test_a_layer_of_another_shape_is_an_error(bert: Any) -> None:
    ids, _ = batch(True)
    bert.prepare()
    bert.encoder.layer[0].intermediate.dense = octavo.Linear.from_float(np.eye(7, 32))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 48\), got"):
            bert(ids)


def test_parts_that_are_no_steps(bert: Any) -> None:
    """What was assigned as it should not be is what it is without fusing."""
    ids, _ = batch(True)
    bert.prepare()
    norm, attention = bert.encoder.layer[1].output.LayerNorm, bert.encoder.layer[0].attention.self
    norm.weight = np.full(32, 2, np.float16)
    assert_same_bits(bert(ids), one_by_one(bert, ids))
    norm.bias = np.ones(7, np.float32)
    with pytest.raises(ValueError, match="bias: expected"):
        bert(ids)
    attention.heads = 0
    with pytest.raises(ValueError, match="heads: expected"):
        bert(ids)


def test_copies_and_pickles(bert: Any) -> None:
    ids, _ = batch(True)
    expected = bert(ids)
    for twin in (copy.copy(bert), copy.deepcopy(bert), pickle.loads(pickle.dumps(bert))):
        assert_same_bits(twin(ids), expected)
    layer = weakref.ref(bert.encoder.layer[0].intermediate.dense)
    twin = tree.map_layers(bert, lambda _name, module: copy.copy(module))
    assert_same_bits(twin(ids), expected)
    del bert
    gc.collect()
    assert layer() is not None  # the fixture has it still
    assert_same_bits(twin(ids), expected)


def test_dropped_models_free_their_layers(tmp_path: Path) -> None:
    model = model_of("bert", tmp_path)
    model.prepare()
    layer = weakref.ref(model.encoder.layer[0].intermediate.dense)
    del model
    gc.collect()
    assert layer() is None


def test_layers_change_while_others_call(bert: Any) -> None:
    """Each call computes with one layer or the other."""
    ids, _ = batch(True)
    dense = bert.encoder.layer[1].intermediate.dense
    both = (dense, dense.replace(activation="relu"))
    expected = []
    for layer in both:
        bert.encoder.layer[1].intermediate.dense = layer
        expected.append(bert(ids))
    found: list[Any] = []
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            found.append(bert(ids))
            bert.prepare()

    workers = [threading.Thread(target=call) for _ in range(3)]
    for worker in workers:
        worker.start()
    for turn in range(300):
        bert.encoder.layer[1].intermediate.dense = both[turn % 2]
    done.set()
    for worker in workers:
        worker.join()
    assert found
    assert all(any(np.array_equal(one, other) for other in expected) for one in found)
    assert_same_bits(bert(ids), expected[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_computes(bert: Any) -> None:
    ids, mask = batch(True)
    many, masks = np.repeat(ids, 40, axis=0), np.repeat(mask, 40, axis=0)
    before = runtime.get_num_threads()
    runtime.set_num_threads(2)
    expected = bert(many, masks)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(bert(many, masks), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    runtime.set_num_threads(before)


def test_pieces(bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, mask = batch(True)
    expected = one_by_one(bert, ids, mask)
    for limit in (2048, 20, 1):
        monkeypatch.setattr(packing, "FUSED_TOKENS", limit)
        assert bert._fused().tokens == limit
        assert_same_bits(bert(ids, mask), expected)


def test_other_bias_than_traced(tmp_path: Path) -> None:
    """Rows of other lengths than the first call's have a table of distances of their own."""
    model = model_of("mpnet", tmp_path)
    ids, _ = batch(True)
    for tokens in (3, 12, 1, 7):
        assert_same_bits(model(ids[:, :tokens]), one_by_one(model, ids[:, :tokens]))
    assert isinstance(model._fused().parts[0], FusedBlocks)
