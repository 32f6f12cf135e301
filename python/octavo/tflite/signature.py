# SPDX-License-Identifier: Apache-2.0
"""A signature of a TensorFlow Lite file as a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo import _checks
from octavo._text import shown
from octavo._types import Array
from octavo.graph import Signature

if TYPE_CHECKING:
    from octavo.tflite.interpreter import Interpreter

Details = dict[str, Any]
"""What an interpreter says of a tensor."""


class SignatureRunner:
    """A function of a signature's inputs by name, which returns its outputs by name.

    Parameters
    ----------
    interpreter : Interpreter
    signature : octavo.graph.Signature
    """

    def __init__(self, interpreter: Interpreter, signature: Signature) -> None:
        self._interpreter, self._signature = interpreter, signature

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        """Run the model; inputs may have other shapes than before."""
        wanted = self._signature.inputs
        if inputs.keys() != wanted.keys():
            raise ValueError(f"expected inputs {shown([*wanted])}, got {shown([*inputs])}")
        arrays = {name: _checks.as_array(value, name) for name, value in inputs.items()}
        for name, array in arrays.items():
            self._interpreter.resize_tensor_input(wanted[name], array.shape)
        self._interpreter.allocate_tensors()
        for name, array in arrays.items():
            self._interpreter.set_tensor(wanted[name], array)
        self._interpreter.invoke()
        outputs = self._signature.outputs
        return {name: self._interpreter.get_tensor(index) for name, index in outputs.items()}

    def get_input_details(self) -> dict[str, Details]:
        """Return the details of inputs by their names in the signature."""
        return self._details(self._signature.inputs)

    def get_output_details(self) -> dict[str, Details]:
        """Return the details of outputs by their names in the signature."""
        return self._details(self._signature.outputs)

    def _details(self, names: dict[str, int]) -> dict[str, Details]:
        details = self._interpreter.get_tensor_details()
        return {name: details[index] for name, index in names.items()}
