# SPDX-License-Identifier: Apache-2.0
"""octavo.Linear given things it cannot use: an error that names the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octavo
from octavo import Linear
from octavo.qtensor import QTensor
from refusals import refusals

pytestmark = pytest.mark.usefixtures("isa")

W = np.ones((4, 6), np.float32)
C = np.ones((4, 6), np.int8)
S = np.ones(4, np.float32)
X = np.ones((2, 6), np.float32)


def changed(**changes: Any) -> dict[str, Any]:
    """A state dict with some keys replaced, or dropped if None."""
    state = {**Linear.from_float(W, S).state_dict(), **changes}
    return {key: value for key, value in state.items() if value is not None}


MAKING = {
    "weight nan": (ValueError, "weight", lambda: Linear.from_float(W * np.nan)),
    "weight inf": (ValueError, "weight", lambda: Linear.from_float(np.float32([[np.inf]]))),
    "weight float64 over": (ValueError, "weight", lambda: Linear.from_float([[1e300]])),
    "weight object": (TypeError, "weight", lambda: Linear.from_float(W.astype(object))),
    "weight none": (TypeError, "weight", lambda: Linear.from_float(None)),
    "bias rank": (ValueError, "bias", lambda: Linear.from_float(W, S[:, None])),
    "bias type": (TypeError, "bias", lambda: Linear.from_float(W, np.ones(4, int))),
    "activation type": (TypeError, "activation", lambda: Linear.from_float(W, activation=None)),
    "symmetric": (TypeError, "symmetric", lambda: Linear.from_float(W, symmetric=1)),
    "in scale 0": (ValueError, "input_scale", lambda: Linear.from_float(W, input_scale=0.0)),
    "in scale neg": (ValueError, "input_scale", lambda: Linear.from_float(W, input_scale=-1.0)),
    "in scale nan": (ValueError, "input_scale", lambda: Linear.from_float(W, input_scale=np.nan)),
    "in scale size": (ValueError, "input_scale", lambda: Linear.from_float(W, input_scale=[1, 2])),
    "in scale type": (TypeError, "input_scale", lambda: Linear.from_float(W, input_scale="1")),
    "out scale tiny": (
        ValueError,
        "output_scale",
        lambda: Linear.from_float(W, output_scale=1e-50),
    ),
    "out scale inf": (
        ValueError,
        "output_scale",
        lambda: Linear.from_float(W, output_scale=np.inf),
    ),
    "in point": (
        ValueError,
        "input_zero_point",
        lambda: Linear.from_float(W, input_scale=1.0, input_zero_point=128),
    ),
    "out point": (
        TypeError,
        "output_zero_point",
        lambda: Linear.from_float(W, output_scale=1.0, output_zero_point=1.0),
    ),
    "point alone": (
        ValueError,
        "input_zero_point",
        lambda: Linear.from_float(W, input_zero_point=1),
    ),
    "codes float": (TypeError, "codes", lambda: Linear.from_quantized(W, S)),
    "codes uint8": (TypeError, "codes", lambda: Linear.from_quantized(C.astype(np.uint8), S)),
    "codes rank": (ValueError, "codes", lambda: Linear.from_quantized(C[0], S)),
    "scale shape": (ValueError, "scale", lambda: Linear.from_quantized(C, S[:3])),
    "scale blocks": (ValueError, "scale", lambda: Linear.from_quantized(C, np.ones((4, 2), "f4"))),
    "scale 0": (ValueError, "scale", lambda: Linear.from_quantized(C, S * 0)),
    "scale negative": (ValueError, "scale", lambda: Linear.from_quantized(C, -S)),
    "scale nan": (ValueError, "scale", lambda: Linear.from_quantized(C, S * np.nan)),
    "scale type": (TypeError, "scale", lambda: Linear.from_quantized(C, S.astype(int))),
    "state type": (TypeError, "state", lambda: Linear.from_state_dict([1])),
    "state missing": (ValueError, "state", lambda: Linear.from_state_dict(changed(weight=None))),
    "state unknown": (ValueError, "state", lambda: Linear.from_state_dict(changed(weights=W))),
    "state float": (TypeError, "codes", lambda: Linear.from_state_dict(changed(weight=W))),
    "state scalar": (
        ValueError,
        "input_scale",
        lambda: Linear.from_state_dict(changed(input_scale=S)),
    ),
}


test_bad_parameters_are_named = refusals(MAKING)

R = np.zeros((2, 4), np.float32)
Q6 = octavo.quantize(X)
CALLS: dict[str, Any] = {
    "int": (TypeError, "x", X.astype(int), None),
    "int8": (TypeError, "x", C, None),
    "complex": (TypeError, "x", X.astype(complex), None),
    "bool": (TypeError, "x", X > 0, None),
    "object": (TypeError, "x", X.astype(object), None),
    "string": (TypeError, "x", "x", None),
    "masked": (TypeError, "x", np.ma.masked_array(X, X > 0), None),
    "residual masked": (TypeError, "residual", X, np.ma.masked_array(R, R == 0)),
    "dict": (TypeError, "x", {}, None),
    "generator": (TypeError, "x", (i for i in [1.0] * 6), None),
    "wide": (ValueError, "x", np.ones((2, 7), np.float32), None),
    "empty": (ValueError, "x", np.zeros(0, np.float32), None),
    "transposed": (ValueError, "x", X.T, None),
    "residual broadcast": (ValueError, "residual", X, R[0]),
    "residual rank": (ValueError, "residual", X, R[None]),
    "residual width": (ValueError, "residual", X, X),
    "residual type": (TypeError, "residual", X, R.astype(float)),
    "residual object": (TypeError, "residual", X, R.astype(object)),
    "q uint8": (TypeError, "x", octavo.quantize(X, dtype="uint8"), None),
    "q width": (ValueError, "x", octavo.quantize(X[:, :4]), None),
    "q columns": (ValueError, "x", octavo.quantize(X, axis=1), None),
    "q blocks": (ValueError, "x", octavo.quantize(X, axis=1, block_size=3), None),
    "q leading": (ValueError, "x", octavo.quantize(X[None], axis=0), None),
    "q residual": (ValueError, "residual", Q6, R[:1]),
    "q as residual": (TypeError, "residual", X, QTensor(C[:2, :4], 1.0)),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("output_scale", [None, 0.5])
def test_bad_inputs_are_named(case: str, output_scale: float | None) -> None:
    error, name, x, residual = CALLS[case]
    layer = Linear.from_float(W, S, output_scale=output_scale)
    with pytest.raises(error, match=f"^{name}: "):
        layer(x, residual)


def test_no_arguments() -> None:
    layer = Linear.from_float(W)
    with pytest.raises(TypeError):
        layer()
    with pytest.raises(TypeError):
        layer(X, None, None)
    assert layer(x=X, residual=None).shape == (2, 4)
