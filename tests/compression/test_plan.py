# SPDX-License-Identifier: Apache-2.0
"""Plans: what a recipe wants each layer to be, before any stage has looked at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.compression import Quantize, read_recipe
from octavo.compression.materialize import Forms, materialize
from octavo.compression.plan import LayerPlan
from octavo.compression.work import Work
from octavo.data.batches import Batches

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

QUERY = "encoder.layer.0.attention.self.query"
WORDS = "embeddings.word_embeddings"


@pytest.fixture
def model(tmp_path: Path) -> Encoder:
    return octavo.models.load(model_files.write_classifier(tmp_path / "bert"))


def plans(model: Encoder, recipe: Any) -> dict[str, LayerPlan]:
    return Work(read_recipe(recipe), model, Batches([])).plans


def test_every_leaf_has_a_plan(model: Encoder) -> None:
    found = plans(model, "int8-static")
    leaves = {n for n, m in model.named_modules() if not any(True for _ in m.named_children())}
    assert set(found) == leaves
    linears = {name for name, layer in model.named_modules() if octavo.nn.is_linear(layer)}
    # What gives the logits stays float.
    assert {n for n, plan in found.items() if plan.quantizes_input} == linears - {"classifier"}
    assert all(plan.static == (name in linears) for name, plan in found.items())


def test_a_plan_says_what_the_recipe_says_of_a_layer(model: Encoder) -> None:
    recipe = {
        "prune": {"sparsity": 0.5, "exclude": ["*.key"]},
        "quantize": {"exclude": ["*.value"], "keep": "bfloat16", "symmetric": True},
        "share": {"clusters": 32, "embedding_clusters": 8, "exclude": [QUERY]},
    }
    found = plans(model, recipe)
    value, key = (QUERY.replace("query", part) for part in ("value", "key"))
    assert found[QUERY] == LayerPlan(
        "int8", symmetric=True, pruned=True, quantizes_input=True, clusters=None
    )
    assert (found[value].dtype, found[value].clusters) == ("bfloat16", None)
    assert (found[key].pruned, found[key].clusters) == (False, 32)
    assert found[WORDS].clusters == 8
    assert not found["classifier"].pruned


def test_bits_of_tables(model: Encoder) -> None:
    found = plans(model, {"quantize": {"bits": 4, "embedding_bits": 6}})
    assert (found[QUERY].bits, found[WORDS].bits) == (4, 6)


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ({"quantize": {"exclude": ["nowhere"]}}, "quantize.exclude: expected names of layers"),
        ({"share": {"exclude": ["nowhere"]}}, "share.exclude: expected names of linear layers or"),
        (
            {"prune": {"sparsity": 0.5, "exclude": ["nowhere"]}},
            "prune.exclude: expected names of float linear layers",
        ),
        (
            {"quantize": {"activations": "static", "dynamic": ["nowhere"]}},
            "quantize.dynamic: expected names of float linear layers",
        ),
    ],
)
def test_names_that_are_not_there(model: Encoder, recipe: Any, field: str) -> None:
    with pytest.raises(ValueError, match=f"recipe: {field}.*got 'nowhere'"):
        plans(model, recipe)


def test_the_model_that_came_is_left_alone(model: Encoder) -> None:
    work = Work(read_recipe("int8"), model, Batches([]))
    work.replace(QUERY, work.linear(QUERY).replace(activation="relu"))
    assert work.linear(QUERY).activation == "relu"
    for one in (model, work.original):
        layer: Any = one.get_submodule(QUERY)
        assert layer.activation == "none"


def test_a_form_is_made_once(model: Encoder) -> None:
    made: list[str] = []
    found = plans(model, "int8")
    forms = Forms(found, Quantize(keep="float16"), made.append)
    layer: Any = model.get_submodule(QUERY)
    small: Any = forms.form(QUERY, layer)
    assert forms.form(QUERY, layer) is small
    kept: Any = forms.form(QUERY, layer, kept=True)
    assert (small.kind, kept.kind, made) == ("int8", "float16", [QUERY])
    again: Any = materialize(QUERY, layer, found[QUERY])
    np.testing.assert_array_equal(again.held_weight.codes, small.held_weight.codes)
