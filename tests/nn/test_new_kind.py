# SPDX-License-Identifier: Apache-2.0
"""A kind of weight that octavo does not have: a class and a row, and everything takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import layer_contract as contract
import model_files
import octavo
from octavo.compression.plain import plain_layer
from octavo.nn import Linear
from octavo.nn.weights import KINDS
from octavo.report.facts import layer_facts
from own_kind import Fixed16
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

N, K = contract.N, contract.K


def test_a_new_kind_is_a_class_and_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind = Fixed16.kind
    monkeypatch.setitem(KINDS, kind, Fixed16)
    monkeypatch.setitem(
        contract.LAYERS, kind, lambda *a, **o: Linear.from_float(*a, kind=kind, **o)
    )
    for way in ("state_dict", "pickle", "copy", "deepcopy", "replace"):
        contract.test_copies(kind, True, way)
    for check in (
        contract.test_attributes,
        contract.test_close_to_float,
        contract.test_leading_shapes,
        contract.test_many_threads,
    ):
        check(kind)
    contract.test_what_is_added_before_and_after(kind, "gelu")
    for case in contract.BAD:
        contract.test_bad_inputs_are_named(kind, case)
    for case in contract.MAKING:
        contract.test_bad_parameters_are_named(kind, case)
    contract.test_options_that_the_weight_cannot_do(kind)
    contract.test_hooks_see_and_let_pass(kind)
    contract.test_weights_of_their_own_kind(kind)
    contract.test_tables(kind)
    contract.test_tiny_weights(kind, (0, 5))
    layer = contract.make(kind)
    assert repr(layer) == f"Linear(in_features={K}, out_features={N}, kind='fixed16')"
    made: Any = plain_layer("name", octavo.nn.FloatLinear(*contract.numbers()), kind)
    assert_same_bits(made(contract.inputs(2, K)), layer(contract.inputs(2, K)))
    facts = layer_facts("name", layer, None, None, None)
    assert (facts.kind, facts.bits, facts.shape, facts.inputs_as) == (
        "linear",
        16,
        (N, K),
        "float",
    )
    model = octavo.models.load(model_files.write_random(tmp_path / "float"))
    old = model.encoder.layer[0].intermediate.dense
    model.encoder.layer[0].intermediate.dense = plain_layer("name", old, kind)
    model.save(tmp_path / "saved")
    names = [*octavo.io.TensorFile(tmp_path / "saved" / "model.safetensors")]
    assert "encoder.layer.0.intermediate.dense.weight_steps" in names
