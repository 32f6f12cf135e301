# SPDX-License-Identifier: Apache-2.0
"""Operators as steps of a program; what is none, NumPy computes."""

from __future__ import annotations

from collections.abc import Callable

from octavo._float_mode import in_default_mode
from octavo.graph.graph import Operator
from octavo.graph.lowering import arithmetic, elements, moves, products
from octavo.graph.simplify import Simple
from octavo.graph.steps import Evaluation as Evaluation
from octavo.graph.steps import Op, Steps

LOWERINGS: dict[str, Callable[[Steps, Op], bool]] = {
    **elements.LOWERINGS,
    **arithmetic.LOWERINGS,
    **moves.LOWERINGS,
    **products.LOWERINGS,
}
"""Each writes steps down and says True, or leaves the operator to NumPy."""


@in_default_mode
def lowered(simple: Simple) -> Steps:
    """Return the steps of a graph."""
    steps = Steps(simple.graph)
    for index in simple.graph.inputs:
        steps.at(index)
    for index, operator in enumerate(simple.graph.operators):
        op = _op(simple, index, operator)
        steps.owner = op.call.name
        try:
            _lower(steps, op)
        except ValueError as error:
            raise ValueError(f"{op.call.name}: {error}") from None
    for index in simple.graph.outputs:
        steps.at(index)
    return steps


def _lower(steps: Steps, op: Op) -> None:
    before, lowering = len(steps.steps), LOWERINGS.get(op.operator.kind)
    if _is_empty(op) or lowering is None or not lowering(steps, op):
        del steps.steps[before:]
        steps.evaluate(op)


def _is_empty(op: Op) -> bool:
    return any(0 in one.shape for one in (*op.inputs, *op.outputs) if one is not None)


def _op(simple: Simple, index: int, operator: Operator) -> Op:
    tensors = simple.graph.tensors
    inputs = [tensors[i] if i >= 0 else None for i in operator.inputs]
    return Op(operator, simple.known.calls[index], inputs, [tensors[i] for i in operator.outputs])
