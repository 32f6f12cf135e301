# SPDX-License-Identifier: Apache-2.0
"""Hostile graphs: what runs gives the same on both backends, and what does not is refused by both.

A case is JSON: which graph, and what was changed in it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.engine import Target
from octavo import _backend
from octavo.graph import Graph, Operator, Quantization, Session, infer_shapes
from octavo.graph.kinds import KINDS
from tests.support.graph_cases import CASES, build, sample
from tests.support.graph_rows import ROWS, TYPES, graph_of

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from fuzz.mutate import Files

_NAME = "graph.json"
_MOST_BYTES = 1 << 22
_NUMBERS = (*range(-3, 10), 64, 127, 128, 255, 256, 65_535, 2**31 - 1, -(2**31), 2**31, 2**62)
_FLOATS = (0.0, -1.0, 1e-45, 1e-38, 1.0, 1e38, math.inf, math.nan)
_WORDS = ("none", "relu", "relu6", "tanh", "sign_bit", "same", "valid", "reflect", "symmetric", "")
_DTYPES = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool", "float16")
_OPTIONS = (
    *("stride_w", "dilation_h_factor", "padding", "fused_activation_function", "axis", "keep_dims"),
    *(
        "num_splits",
        "begin_mask",
        "shrink_axis_mask",
        "new_axis_mask",
        "ellipsis_mask",
        "new_shape",
    ),
    *("beta", "alpha", "block_size", "squeeze_dims", "filter_width", "adj_x", "batch_dims"),
    *("align_corners", "half_pixel_centers", "weights_format", "exclusive", "approximate", "mode"),
)


def _seeds(_: Path) -> list[Files]:
    cases = [{"graph": name, "type": t, "changes": []} for name in CASES for t in "fq"]
    cases += [{"graph": i, "type": row.types[-1], "changes": []} for i, row in enumerate(ROWS)]
    return [{_NAME: json.dumps(case).encode()} for case in cases]


def _change(rng: random.Random, files: Files) -> Files:
    case = json.loads(files[_NAME])
    for _ in range(rng.choice((1, 1, 2, 3))):
        number = rng.choice((*_NUMBERS, rng.randrange(12)))
        what = rng.choice(
            (
                {"shape": rng.randrange(9), "axis": rng.randrange(5), "value": number},
                {"data": rng.randrange(9), "at": rng.randrange(9), "value": number},
                {"dtype": rng.randrange(9), "value": rng.choice(_DTYPES)},
                {"scale": rng.randrange(9), "value": rng.choice(_FLOATS), "point": number},
                {"kind": rng.randrange(9), "value": rng.choice(sorted(KINDS))},
                {"option": rng.choice(_OPTIONS), "of": rng.randrange(9), "value": _value(rng)},
                {"input": rng.randrange(4), "of": rng.randrange(9), "value": rng.randrange(-1, 14)},
                {"drop": rng.randrange(9)},
            )
        )
        case["changes"].append(what)
    case["changes"] = case["changes"][-6:]
    return {_NAME: json.dumps(case).encode()}


def _value(rng: random.Random) -> Any:
    some = (*_NUMBERS, *_FLOATS, *_WORDS, True, False)
    return rng.choice((*some, [rng.choice(_NUMBERS) for _ in range(rng.randrange(4))]))


def _changed(graph: Graph, what: dict[str, Any]) -> None:
    tensors, operators, value = graph.tensors, graph.operators, what.get("value")
    if "shape" in what:
        tensor = tensors[what["shape"] % len(tensors)]
        shape = tensor.shape
        tensor.shape = (*shape[: what["axis"]], value, *shape[what["axis"] + 1 :])
    elif "data" in what:
        tensor = tensors[what["data"] % len(tensors)]
        if tensor.data is not None and tensor.data.size:
            tensor.data = tensor.data.copy()
            at = what["at"] % tensor.data.size
            tensor.data.reshape(-1)[at] = np.array(value).astype(tensor.dtype)
    elif "dtype" in what:
        tensor = tensors[what["dtype"] % len(tensors)]
        tensor.dtype = np.dtype(value)
        if tensor.data is not None:
            tensor.data = tensor.data.astype(value)
    elif "scale" in what:
        tensor = tensors[what["scale"] % len(tensors)]
        tensor.quantization = Quantization.per_tensor(value, what["point"])
    else:
        _changed_operator(operators, operators[what.get("of", 0) % len(operators)], what)


def _changed_operator(operators: list[Operator], one: Operator, what: dict[str, Any]) -> None:
    value = what.get("value")
    if "kind" in what:
        operators[what["kind"] % len(operators)].kind = value
    elif "option" in what:
        one.options[what["option"]] = value
    elif "input" in what:
        inputs = list(one.inputs)
        inputs[what["input"] % len(inputs)] = value
        one.inputs = tuple(inputs)
    elif len(operators) > 1:
        del operators[what["drop"] % len(operators)]


def _read(place: Path) -> tuple[Graph, list[Any], Any]:
    case = json.loads((place / _NAME).read_bytes())
    name, t = case["graph"], case["type"]
    graph = build(name, TYPES[t]) if isinstance(name, str) else graph_of(ROWS[name], t)
    with np.errstate(all="ignore"):
        for what in case["changes"]:
            _changed(graph, what)
    graph.check()
    shapes = infer_shapes(graph)
    if sum(map(math.prod, shapes)) > _MOST_BYTES:
        raise ValueError("a large graph")
    inputs = sample(graph)
    return graph, inputs, Session(graph)(*inputs)


def _check(_: Path, found: tuple[Graph, list[Any], Any]) -> None:
    graph, inputs, results = found
    with _backend.use("numpy"):
        others = Session(graph)(*inputs)
    for index, one, other in zip(graph.outputs, results, others, strict=True):
        assert one.shape == other.shape == infer_shapes(graph)[index]
        assert one.dtype == other.dtype == graph.tensors[index].dtype
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(one, other)


TARGET = Target("graph", _seeds, _change, _read, _check)
