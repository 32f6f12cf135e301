# SPDX-License-Identifier: Apache-2.0
"""Graphs of one operator: all kinds, in the types that LiteRT has them in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from octavo.graph import Graph
from octavo.graph.kinds import KINDS
from tests.support.graph_cases import Q
from tests.support.graphs import F32, I8, I32, Draft

TYPES = {name[0]: np.dtype(name) for name in ("float32", "int32", "bool", "uint8")}
TYPES |= {"q": I8, "l": np.dtype(np.int64)}


class Row(NamedTuple):
    """An operator: shapes of inputs in tuples, constants in lists; options; types it is tried with.

    `result` is the type of outputs, if it is not that of inputs, `q` their quantization.
    """

    kind: str
    inputs: tuple[Any, ...]
    options: Mapping[str, Any] = MappingProxyType({})
    types: str = "f"
    result: Any = None
    q: tuple[float, int] | None = Q
    outputs: int = 1
    positive: bool = False


A = (2, 3, 4)
IMAGE = (1, 4, 6, 8)
ROWS = [
    *(Row(kind, (A,), {}, "f") for kind in ("floor", "ceil", "round", "sin", "cos", "elu")),
    *(Row(kind, (A,), {}, "fi") for kind in ("abs", "neg")),
    Row("square", (A,)),
    *(Row(kind, (A,), {}, "f", positive=True) for kind in ("sqrt", "rsqrt", "log")),
    Row("exp", (A,)),
    *(Row(kind, (A,), {}, "fq") for kind in ("relu", "relu6", "relu_n1_to_1", "hard_swish")),
    Row("gelu", (A,), {"approximate": True}, "fq"),
    Row("gelu", (A,), {"approximate": False}, "fq"),
    Row("leaky_relu", (A,), {"alpha": 0.3}, "fq"),
    Row("logistic", (A,), {}, "fq", q=(1 / 256, -128)),
    Row("tanh", (A,), {}, "fq", q=(1 / 128, 0)),
    Row("softmax", (A,), {"beta": 2.0}, "fq", q=(1 / 256, -128)),
    Row("log_softmax", (A,), {}, "fq", q=(16 / 256, 127)),
    Row("l2_normalization", ((2, 7),), {}, "fq", q=(1 / 128, 0)),
    *(Row(kind, (A, A), {}, "fqi") for kind in ("add", "sub", "mul")),
    *(Row(kind, (A, (3, 1)), {}, "fqi") for kind in ("add", "sub", "mul")),
    *(
        Row(kind, ((3, 1), A), {"fused_activation_function": "relu"}, "f")
        for kind in ("add", "sub")
    ),
    *(Row(kind, (A, (4,)), {}, "fqi") for kind in ("maximum", "minimum")),
    Row("squared_difference", (A, (4,)), {}, "fi"),
    *(Row(kind, (A, [3]), {}, "fq") for kind in ("squared_difference", "maximum")),
    Row("div", (A, (4,)), {}, "fi", positive=True),
    Row("floor_div", (A, (4,)), {}, "fi", positive=True),
    Row("floor_mod", (A, (4,)), {}, "fi", positive=True),
    Row("pow", (A, (4,)), {}, "f", positive=True),
    *(
        Row(kind, (A, (4,)), {}, "fi", result="bool")
        for kind in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    ),
    Row("logical_and", (A, A), {}, "b"),
    Row("logical_or", (A, A), {}, "b"),
    Row("logical_not", (A,), {}, "b"),
    Row("cast", (A,), {"in_data_type": "float32", "out_data_type": "int32"}, "f", result="int32"),
    Row("cast", (A,), {"in_data_type": "int32", "out_data_type": "float32"}, "i", result="float32"),
    Row("quantize", (A,), {}, "fq", result="int8", q=(0.1, 5)),
    Row("dequantize", (A,), {}, "q", result="float32", q=None),
    Row("reshape", (A, [4, -1]), {"new_shape": [4, 6]}, "fqib"),
    Row("squeeze", ((1, 3, 1, 2),), {"squeeze_dims": [2]}, "fqi"),
    Row("expand_dims", (A, [-2]), {}, "fqi"),
    Row("transpose", (A, [2, 0, 1]), {}, "fqi"),
    Row("pad", (A, [[0, 1], [2, 0], [1, 1]]), {}, "fqi"),
    Row("mirror_pad", (A, [[1, 1], [2, 0], [0, 3]]), {"mode": "reflect"}, "fi"),
    Row("mirror_pad", (A, [[1, 2], [2, 0], [0, 3]]), {"mode": "symmetric"}, "fi"),
    Row("slice", (A, [0, 1, 2], [2, -1, 1]), {}, "fqib"),
    Row("strided_slice", (A, [0, 2, 1], [2, 0, 4], [1, -1, 2]), {"begin_mask": 1}, "fqi"),
    Row("strided_slice", (A, [1, 0], [2, 2], [1, 1]), {"shrink_axis_mask": 1}, "fqi"),
    Row("strided_slice", (A, [0, 1], [0, 2], [1, 1]), {"ellipsis_mask": 1, "end_mask": 2}, "fi"),
    Row("strided_slice", (A, [0, 0, 1], [0, 0, 3], [1, 1, 1]), {"new_axis_mask": 2, "end_mask": 1}),
    Row("split", ([1], (2, 6, 3)), {"num_splits": 3}, "fqi", outputs=3),
    Row("split_v", ((2, 6, 3), [2, -1], [1]), {"num_splits": 2}, "fi", outputs=2),
    Row("pack", (A, A), {"values_count": 2, "axis": 2}, "fqi"),
    Row("unpack", (A,), {"num": 3, "axis": 1}, "fqi", outputs=3),
    Row("concatenation", (A, (2, 5, 4), A), {"axis": -2}, "fqi"),
    Row("gather", (A, [[2, 0], [1, 1]]), {"axis": 1}, "fqi"),
    Row("gather", (A, [[2, 0], [1, 1]]), {"axis": 1, "batch_dims": 1}, "fi"),
    Row("gather_nd", (A, [[1, 2], [0, 0]]), {}, "fqi"),
    Row("embedding_lookup", ([2, 0, 2], np.ones((3, 4), np.float32) * [[1], [2], [3]])),
    Row("tile", (A, [1, 2, 3]), {}, "fi"),
    Row("broadcast_to", ((3, 1), [2, 3, 4]), {}, "fi"),
    Row("fill", ([2, 3], ()), {}, "fi"),
    Row("reverse_v2", (A, [1]), {}, "fi"),
    *(
        Row(kind, (IMAGE,), {"block_size": 2}, "fqi")
        for kind in ("space_to_depth", "depth_to_space")
    ),
    Row("space_to_batch_nd", (IMAGE, [2, 2], [[1, 1], [0, 2]]), {}, "fq"),
    Row("batch_to_space_nd", ((4, 3, 2, 5), [2, 2], [[1, 0], [0, 2]]), {}, "fq"),
    *(Row(kind, (A, [0, 2]), {"keep_dims": True}, "fi") for kind in ("mean", "sum")),
    *(Row(kind, (A, [-1]), {}, "fq") for kind in ("mean", "sum")),
    Row("reduce_prod", (A, [1])),
    *(Row(kind, (A, [1]), {}, "fqi") for kind in ("reduce_max", "reduce_min")),
    *(Row(kind, (A, [1]), {}, "b") for kind in ("reduce_any", "reduce_all")),
    *(
        Row(kind, (A, [1]), {"output_type": name}, "fq", result=name)
        for kind, name in (("arg_max", "int32"), ("arg_min", "int64"))
    ),
    Row("cumsum", (A, [1]), {"exclusive": True}, "fi"),
    Row("cumsum", (A, [0]), {"reverse": True}, "f"),
    Row("padv2", (A, [[0, 1], [2, 0], [1, 1]], ()), {}, "fqi"),
    Row("topk_v2", ((3, 9), 4), {}, "fi"),
    Row("one_hot", ([[0, 2], [1, 5]], 3, (), ()), {"axis": -1}, "fi"),
    Row("one_hot", ([[0, 2], [1, 5]], 3, (), ()), {"axis": 0}, "fi"),
    Row("range", (1, 9, 3), {}, "i", result="int32"),
    Row("shape", (A,), {"out_type": "int64"}, "f", result="int64"),
    Row("rank", (A,), {}, "f", result="int32"),
    Row("select", (np.array([True, False]), A, A), {}, "fi"),
    Row("select_v2", (np.array([[True], [False], [True]]), A, (4,)), {}, "fi"),
    *(
        Row(kind, (IMAGE, [7, 9]), {name: True}, "fq")
        for kind in ("resize_bilinear", "resize_nearest_neighbor")
        for name in ("align_corners", "half_pixel_centers", "none")
    ),
    Row("batch_matmul", ((2, 3, 4), (2, 5, 4)), {"adj_y": True}),
    Row("batch_matmul", ((2, 4, 3), (4, 5)), {"adj_x": True}),
    Row("batch_matmul", ((2, 3, 4), (2, 4, 5)), {}, "q", q=(0.5, 3)),
]
SINGLE = [(row, t) for row in ROWS for t in row.types]


def graph_of(row: Row, t: str) -> Graph:
    draft, dtype = Draft(), TYPES[t]
    q = Q if t == "q" else None
    made = []
    for position, one in enumerate(row.inputs):
        if isinstance(one, tuple):
            made.append(draft.input(*one, dtype=dtype, q=q))
        elif position in KINDS[row.kind].values:
            made.append(draft.constant(np.asarray(one, dtype), q))
        else:
            made.append(draft.constant(one))
    result = row.result or (dtype if draft.graph.inputs else F32)
    if row.kind == "topk_v2":
        result = [dtype, I32]
    out_q = row.q if result in (I8, "int8") else None
    options = {name: value for name, value in row.options.items() if name != "none"}
    found = draft.op(row.kind, *made, dtype=result, q=out_q, outputs=row.outputs, **options)
    return draft.done(*(found if isinstance(found, tuple) else [found]))
