# SPDX-License-Identifier: Apache-2.0
"""Sessions: steps give what operators one by one give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from graph_cases import CASES, build, sample
from graphs import F32, I8, one_by_one
from octavo import _backend
from octavo.graph import Session


@pytest.mark.parametrize("t", [F32, I8], ids=str)
@pytest.mark.parametrize("name", list(CASES))
def test_steps_give_what_operators_give(name: str, t: Any) -> None:
    graph = build(name, t)
    inputs = sample(graph)
    (wanted,) = one_by_one(graph, *inputs)
    session = Session(graph)
    (found,) = session(*inputs)
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape == session.shape(graph.outputs[0])
    if t == I8:
        differences = np.abs(found.astype(int) - wanted)
        assert differences.max() <= 1
        assert (differences > 0).mean() < 0.05  # float32 misses some halves
    else:
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)
    (again,) = session(*inputs)
    assert_array_equal(again, found)
    with _backend.use("numpy"):
        (other,) = Session(graph)(*inputs)
    if t == I8:
        assert_array_equal(other, found)
    else:
        np.testing.assert_allclose(other, found, rtol=1e-5, atol=1e-5)
