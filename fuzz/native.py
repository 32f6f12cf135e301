# SPDX-License-Identifier: Apache-2.0
"""A hostile caller of the native module: every function, on every tier, against its NumPy twin.

What the module accepts must have the twin's bits; whatever it is given, the process must live.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.arguments import JUNK, Spec, array, build, spoil
from fuzz.engine import Target
from octavo import _numpy

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from fuzz.mutate import Files

# Messages of pybind11 show arguments; this makes them short.
np.set_printoptions(threshold=4, edgeitems=1)
core: Any = importlib.import_module("octavo._core")
TIERS = core.isa_tiers()

FORMATS = core.weight_formats()
_ACTIVATIONS = ("none", "gelu", "gelu_tanh", "relu", "silu", "tanh")
_SIZES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 65)
Arguments = dict[str, Spec]


def _size(rng: random.Random) -> int:
    return rng.choice(_SIZES)


def _maybe(rng: random.Random, spec: Spec) -> Spec:
    return spec if rng.random() < 0.5 else {"value": None}


def _value(value: Any) -> Spec:
    return {"value": value}


def _activation(rng: random.Random) -> Arguments:
    n = _size(rng)
    name = rng.choice(_ACTIVATIONS)
    return {"x": array("f4", (n,)), "name": _value(name), "out": array("f4", (n,))}


def _softmax(rng: random.Random) -> Arguments:
    shape = (_size(rng), _size(rng))
    return {"x": array("f4", shape), "out": array("f4", shape)}


def _layer_norm(rng: random.Random) -> Arguments:
    shape = (_size(rng), _size(rng))
    return {
        "x": array("f4", shape),
        "weight": _maybe(rng, array("f4", shape[1:])),
        "bias": _maybe(rng, array("f4", shape[1:])),
        "eps": _value(rng.choice((1e-12, 1e-5, 0.0))),
        "residual": _maybe(rng, array("f4", shape)),
        "out": array("f4", shape),
    }


def _attention(rng: random.Random) -> Arguments:
    batch, queries, keys = rng.choice((0, 1, 2)), rng.choice((0, 1, 5)), rng.choice((0, 1, 7, 17))
    heads, size = rng.choice((1, 2, 3)), rng.choice((0, 1, 4, 17))
    width = heads * size
    return {
        "q": array("f4", (batch, queries, width)),
        "k": array("f4", (batch, keys, width)),
        "v": array("f4", (batch, keys, width)),
        "mask": _maybe(rng, array("?", (batch, keys), "wild")),
        "heads": _value(heads),
        "sm_scale": _value(rng.choice((1.0, 0.125))),
        "out": array("f4", (batch, queries, width)),
    }


def _layout(rng: random.Random) -> tuple[Arguments, int, int]:
    outer, channels, inner = rng.choice((1, 2)), rng.choice((0, 1, 3, 9)), rng.choice((0, 1, 5))
    block = rng.choice((0, 0, 1, 2, 4))
    count = outer * -(-channels // block) * inner if block else channels
    sizes = {"outer": outer, "channels": channels, "inner": inner, "block_size": block}
    return {key: _value(size) for key, size in sizes.items()}, outer * channels * inner, count


def _quantize_linear(rng: random.Random) -> Arguments:
    layout, size, count = _layout(rng)
    code, kind = rng.choice(("i1", "u1", "i2", "u2")), rng.choice(("f4", "f2"))
    return {
        "x": array(kind, (size,)),
        "scale": array(kind, (count,)),
        "zero_point": _maybe(rng, array(code, (count,))),
        **layout,
        "out": array(code, (size,)),
    }


def _dequantize_linear(rng: random.Random) -> Arguments:
    layout, size, count = _layout(rng)
    code, kind = rng.choice(("i1", "u1", "i2", "u2", "i4")), rng.choice(("f4", "f2"))
    return {
        "q": array(code, (size,)),
        "scale": array(kind, (count,)),
        "zero_point": _maybe(rng, array(code, (count,))),
        **layout,
        "out": array(kind, (size,)),
    }


def _quantize_dynamic(rng: random.Random) -> Arguments:
    return {"x": array("f4", (_size(rng), _size(rng))), "symmetric": _value(rng.random() < 0.5)}


def _embedding(rng: random.Random) -> Arguments:
    rows, width, count = _size(rng), _size(rng), _size(rng)
    return {
        "codes": array("i1", (rows, width)),
        "scale": array("f4", (rows,)),
        "ids": array("i8", (count,), "below", rows),
        "out": array("f4", (count, width)),
    }


def _widen(rng: random.Random) -> Arguments:
    n = _size(rng)
    kind = rng.choice(("f2", "u2"))
    return {"x": array(kind, (n,), "wild"), "out": array("f4", (n,))}


def _matmul_int8(rng: random.Random) -> Arguments:
    batch, m, k, n = rng.choice((0, 1, 2)), _size(rng), _size(rng), _size(rng)
    kinds = ("i1", "u1")
    return {
        "a": array(rng.choice(kinds), (batch, m, k)),
        "b": array(rng.choice(kinds), (batch, k, n)),
        "a_zero_point": _maybe(rng, array("i4", (rng.choice((1, m)),))),
        "b_zero_point": _maybe(rng, array("i4", (rng.choice((1, n)),))),
        "out": array("i4", (batch, m, n)),
    }


def _format_cost(rng: random.Random) -> Arguments:
    codes = array("i1", (_size(rng), _size(rng)), "codes", rng.choice((1, 127)))
    return {"codes": codes, "format": _value(rng.choice(FORMATS))}


def _linear(rng: random.Random, n: int, k: int) -> Arguments:
    static = rng.random() < 0.3
    return {
        "codes": array("i1", (n, k), "codes", rng.choice((1, 127))),
        "scale": array("f4", (n,)),
        "bias": _maybe(rng, array("f4", (n,))),
        "activation": _value(rng.choice(_ACTIVATIONS)),
        "symmetric": _value(rng.random() < 0.5),
        "input_scale": _value(0.05 if static else None),
        "input_zero_point": _value(rng.choice((0, 3)) if static else 0),
        "output_scale": _value(rng.choice((None, None, 0.1))),
        "output_zero_point": _value(rng.choice((0, -5))),
        "format": _value(rng.choice(FORMATS)),
        "input_multiplier": _maybe(rng, array("f4", (k,))),
    }


def _int4(rng: random.Random, n: int, k: int) -> Arguments:
    group = rng.choice((32, 64, 128))
    return {
        "codes": array("i1", (n, k), "codes", 7),
        "scale": array("f4", (n, -(-k // group))),
        "group": _value(group),
        "bias": _maybe(rng, array("f4", (n,))),
        "activation": _value(rng.choice(_ACTIVATIONS)),
        "output_scale": _value(rng.choice((None, None, 0.1))),
        "output_zero_point": _value(0),
        "input_multiplier": _maybe(rng, array("f4", (k,))),
    }


def _sparse(rng: random.Random, n: int, k: int) -> Arguments:
    per_row = rng.randrange(k + 1)
    return {
        "indptr": array("i8", (n + 1,), "starts", n * per_row),
        "indices": array("i4", (n * per_row,), "columns", per_row),
        "values": array("f4", (n * per_row,)),
        "k": _value(k),
    }


def _run(rng: random.Random, n: int, k: int) -> Arguments:
    m = _size(rng)
    added = array("f4", (m, n))
    x = array("f4", (m, k))
    return {"x": x, "residual": _maybe(rng, added), "addend": _maybe(rng, dict(added))}


def _run_codes(rng: random.Random, n: int, k: int) -> Arguments:
    rows = _run(rng, n, k)
    m = rows.pop("x")["shape"][0]
    zero_points = array("i4", (m,), "codes", 127)
    rows |= {"codes": array("i1", (m, k)), "scales": array("f4", (m,)), "zero_points": zero_points}
    return {key: rows[key] for key in ("codes", "scales", "zero_points", "residual", "addend")}


def _matrix_run(rng: random.Random, n: int, k: int) -> Arguments:
    m = _size(rng)
    return {"a": array(rng.choice(("i1", "u1")), (m, k)), "out": array("i4", (m, n))}


def _sparse_run(rng: random.Random, n: int, k: int) -> Arguments:
    m = _size(rng)
    return {"x": array("f4", (k, m)), "out": array("f4", (n, m))}


def _matrix(_: random.Random, n: int, k: int) -> Arguments:
    return {"b": array("i1", (k, n))}


def _nothing(*_: object) -> Arguments:
    return {}


FUNCTIONS: dict[str, Callable[[random.Random], Arguments]] = {
    "activation": _activation,
    "attention": _attention,
    "dequantize_linear": _dequantize_linear,
    "embedding": _embedding,
    "format_cost": _format_cost,
    "layer_norm": _layer_norm,
    "matmul_int8": _matmul_int8,
    "quantize_dynamic": _quantize_dynamic,
    "quantize_linear": _quantize_linear,
    "softmax": _softmax,
    "widen": _widen,
}
_LINEAR_METHODS = {
    "run": _run,
    "call": _run,
    "run_codes": _run_codes,
    **dict.fromkeys(("unpack", "scale", "bias", "input_multiplier", "memory", "nbytes"), _nothing),
    **dict.fromkeys(("shape", "format", "activation"), _nothing),
}
OBJECTS: dict[str, tuple[Callable[..., Arguments], dict[str, Callable[..., Arguments]]]] = {
    "PackedLinear": (_linear, _LINEAR_METHODS),
    "packed_int4": (_int4, _LINEAR_METHODS),
    "PackedMatrix": (_matrix, {"matmul": _matrix_run, "shape": _nothing, "nbytes": _nothing}),
    "SparseF32": (
        _sparse,
        {"matmul": _sparse_run, **dict.fromkeys(("unpack", "shape", "nnz", "nbytes"), _nothing)},
    ),
}
PLAIN = (
    *("version", "compiler", "machine", "cpu_features", "isa_tiers", "compiled_isa_tiers"),
    *("get_isa", "set_isa", "set_num_threads", "get_num_threads", "default_num_threads"),
    *("families", "kernels", "weight_formats", "bench_dot_peak", "bench_read", "bench_copy"),
)
"""Functions of a few plain values, which have no twin or none of the same answer."""
_OWN_ANSWERS = ("nbytes", "memory", "format_cost")
"""What depends on how the native module holds things, or on the tier."""


def change(rng: random.Random, _: Files) -> Files:
    """Make a call, and spoil some of its arguments."""
    kind = rng.random()
    case: dict[str, Any] = {"threads": rng.choice((1, 1, 2, 3))}
    if kind < 0.02:
        name = rng.choice(PLAIN)
        # Probes run as long, or as often, as they are told to.
        known = (-1, 0, -1.5, 1e-6, None, "", []) if "bench" in name else (*JUNK, *TIERS)
        values = [_value(rng.choice(known)) for _ in range(rng.choice((0, 1, 1, 2)))]
        case |= {"call": name, "args": dict(zip("ab", values, strict=False))}
    elif kind < 0.5:
        name = rng.choice(list(FUNCTIONS))
        case |= {"call": name, "args": FUNCTIONS[name](rng)}
    else:
        name = rng.choice(("PackedLinear", *OBJECTS))
        make, methods = OBJECTS[name]
        method = rng.choice((next(iter(methods)), *methods))
        n, k = _size(rng), _size(rng)
        case |= {
            "call": f"{name}.{method}",
            "make": make(rng, n, k),
            "args": methods[method](rng, n, k),
        }
    spoiled = [part for part in (case["args"], case.get("make")) if part]
    for _ in range(rng.choice((0, 1, 1, 2, 3)) if spoiled and kind >= 0.02 else 0):
        spoil(rng, rng.choice(spoiled))
    return {"call.json": json.dumps(case).encode()}


def seeds(_: Path) -> list[Files]:
    """Return a call of nothing, from which no mutant is made."""
    return [{"call.json": b'{"call": "version", "threads": 1, "args": {}}'}]


def _call(module: Any, case: dict[str, Any], *, plain: bool = False) -> list[Any]:
    """Return the result and what was written to."""
    name, _, method = case["call"].partition(".")
    function = getattr(module, name)
    if method:
        made = function(*build(case["make"], plain=plain).values())
        function = getattr(made, method)
        if not case["args"]:
            return [function() if callable(function) else function]
    arguments = build(case["args"], plain=plain)
    return [function(*arguments.values()), arguments.get("out")]


def read(place: Path) -> tuple[dict[str, Any], list[list[Any]]]:
    """Make the call on each tier; return the case and the results."""
    case = json.loads((place / "call.json").read_bytes())
    results = []
    try:
        for tier in TIERS:
            core.set_isa(tier)
            core.set_num_threads(case["threads"])
            with np.errstate(all="ignore"):
                results.append(_call(core, case))
    finally:
        core.set_isa(None)
        core.set_num_threads(1)
    return case, results


def check(_: Path, found: tuple[dict[str, Any], list[list[Any]]]) -> None:
    """Compare tiers with each other and with the twin."""
    case, results = found
    name = case["call"]
    shares = any("alias" in spec for spec in case["args"].values())
    if shares or case["args"].get("out", {}).get("layout") == "overlap" or name in PLAIN:
        return  # what is written first decides
    if name.endswith(".call") and results[0][0] is None:
        return  # no plain arrays: the caller converts them
    for tier, result in zip(TIERS, results, strict=True):
        if name != "format_cost":
            _same(result, results[0], f"{name} on {tier}")
    values = [
        spec.get("value") for spec in (*case["args"].values(), *case.get("make", {}).values())
    ]
    huge = any(type(value) in (int, float) and abs(value) > 1e6 for value in values)
    if huge or name.rpartition(".")[2] in _OWN_ANSWERS:
        return  # blocks of 2**31 channels are no more than all of them, but NumPy repeats as many
    try:
        with np.errstate(all="ignore"):
            expected = _call(_numpy, case, plain=True)
    except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError, MemoryError):
        return  # the twin trusts its callers, the native module may have a meaning for this
    _same(results[0], expected, f"{name}: twin")


@functools.singledispatch
def _same(found: Any, expected: Any, where: str) -> None:
    if found is None and np.size(expected) == 0:
        return  # nothing to point to
    assert found == expected, f"{where}: {found!r}, expected {expected!r}"


@_same.register(list)
@_same.register(tuple)
def _same_all(found: Any, expected: Any, where: str) -> None:
    assert len(found) == len(expected), where
    for one, other in zip(found, expected, strict=True):
        _same(one, other, where)


@_same.register(np.ndarray)
def _same_bits(found: Any, expected: Any, where: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype, f"{where}: {found.dtype}, expected {expected.dtype}"
    assert found.shape == expected.shape, f"{where}: {found.shape}, expected {expected.shape}"
    if found.dtype.kind == "f":
        found, expected = (np.where(np.isnan(one), np.nan, one) for one in (found, expected))
    assert found.tobytes() == expected.tobytes(), f"{where}: other values"


TARGET = Target(
    *("native", seeds, change, read, check, (ValueError, TypeError, MemoryError), len(TIERS)),
    longest_message=math.inf,
)
