# SPDX-License-Identifier: Apache-2.0
"""A kind of weight that octavo does not have: a class and a row, and everything takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import layer_contract as contract
import model_files
import octavo
from octavo.compression.plain import plain_layer
from octavo.nn import Linear, LinearOptions
from octavo.nn.weights import KINDS, FloatWeight, Stored, StoredTensor, Weight
from octavo.nn.weights.product import FloatProduct
from octavo.report.facts import layer_facts
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

Array = np.ndarray[Any, np.dtype[Any]]
N, K = contract.N, contract.K


class Fixed16(Weight):
    """A kind that octavo does not have: contract.numbers in steps of one size, in 16 bits."""

    kind = "fixed16"
    keys = ("weight_steps", "weight_step")
    bits = 16

    def __init__(self, steps: Array, step: Array) -> None:
        self.steps, self.step = steps, step
        self.shape = steps.shape

    @property
    def nbytes(self) -> int:
        return self.steps.nbytes + self.step.nbytes

    @classmethod
    def from_float(cls, values: Any) -> Fixed16:
        array = FloatWeight(values).values
        step = np.float32(max(1e-9, np.abs(array).max(initial=0) / 32767))
        return cls(np.rint(array / step).astype(np.int16), np.array([step]))

    @classmethod
    def from_tensors(cls, tensors: Any) -> Fixed16:
        return cls(tensors["weight_steps"], tensors["weight_step"])

    @classmethod
    def read(cls, tensors: Any, shape: tuple[int, int], role: str) -> Fixed16:
        raise NotImplementedError

    def tensors(self) -> dict[str, Array]:
        return {"weight_steps": self.steps, "weight_step": self.step}

    def stored(self, store: str, shares: bool) -> Stored:
        return Stored([StoredTensor.of(*pair) for pair in self.tensors().items()], None)

    def bind(self, bias: Array | None, options: LinearOptions) -> FloatProduct:
        return FloatProduct(lambda x: x @ self.dequantized().T, self.nbytes, bias, options)

    def dequantized(self) -> Array:
        return self.steps * self.step

    def like(self, values: Any) -> Fixed16:
        return Fixed16.from_float(values)

    def lookup(self, ids: Array) -> Array:
        return self.steps[ids] * self.step


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
