# SPDX-License-Identifier: Apache-2.0
"""A hostile caller of the native module: every function, on every tier, against its NumPy twin.

What the module accepts must have the twin's bits; whatever it is given, the process must live.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.arguments import JUNK, Spec, array, build, spoil
from fuzz.engine import Target
from octavo import _numpy

if TYPE_CHECKING:
    from pathlib import Path

    from fuzz.mutate import Files

core: Any = importlib.import_module("octavo._core")
TIERS = core.isa_tiers()

_CHOICES: dict[str, tuple[Any, ...]] = {
    "activation": ("none", "gelu", "gelu_tanh", "relu", "silu", "tanh"),
    "format": tuple(core.weight_formats()),
    "bool": (False, True),
    "none": (None,),
    "float": (1.0, 0.125, 1e-5, 0.0),
    "scale": (None, None, 0.1),
    "point": (0, 3, -5),
    "bits": (4, 5, 8),
}
_SIZES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 65)

FUNCTIONS = {
    "activation": "x=f4:n name=activation out=f4:n",
    "attention": (
        "q=f4:b,m,w k=f4:b,n,w v=f4:b,n,w mask?=?:b,n bias?=f4:h,m,n offsets=none"
        " heads=h sm_scale=float out=f4:b,m,w"
    ),
    "attention_int8": (
        "q=f4:b,m,w k=f4:b,n,w v=f4:b,n,w mask?=?:b,n bias?=f4:h,m,n key_ranges?=i8:m,two:below:n"
        " offsets=none heads=h kv_heads=h sm_scale=float out=f4:b,m,w"
    ),
    "dequantize_linear": (
        "q=CODE:all scale=FLOAT:blocks zero_point?=CODE:blocks outer=b channels=n inner=h"
        " block_size=block out=FLOAT:all"
    ),
    "embedding": "codes=i1:n,k scale=f4:n ids=i8:m:below:n out=f4:m,k",
    "format_cost": "codes=i1:n,k:codes:one format=format",
    "gated": "gate=f4:m,n x=f4:m,n name=activation out=f4:m,n",
    "layer_norm": "x=f4:m,n weight?=f4:n bias?=f4:n eps=float residual?=f4:m,n out=f4:m,n",
    "matmul_int8": (
        "a=CODE8:b,m,k b=CODE8:b,k,n a_zero_point?=i4:m b_zero_point?=i4:n out=i4:b,m,n"
    ),
    "quantize_dynamic": "x=f4:m,n symmetric=bool out?=i1:m,n",
    "quantize_linear": (
        "x=FLOAT:all scale=FLOAT:blocks zero_point?=CODE:blocks outer=b channels=n inner=h"
        " block_size=block out=CODE:all"
    ),
    "rms_norm": "x=f4:m,n weight?=f4:n eps=float addend?=f4:m,n out=f4:m,n",
    "rotary": (
        "x=f4:m,w cosine=f4:k,pairs sine=f4:k,pairs positions=i8:m:below:k heads=h out=f4:m,w"
    ),
    "softmax": "x=f4:m,n out=f4:m,n",
    "widen": "x=HALF:n:wild out=f4:n",
}
"""Arguments, with ``?`` those that may be None: dtype, shape and content, a choice, or a size."""

_ADDED = " residual?=f4:m,n addend?=f4:m,n"
_LINEAR = {
    "run": "x=f4:m,k" + _ADDED,
    "call": "x=f4:m,k" + _ADDED,
    "run_codes": "codes=i1:m,k scales=f4:m zero_points=i4:m:codes:most" + _ADDED,
    **dict.fromkeys(("unpack", "weight", "scale", "bias", "input_multiplier", "memory"), ""),
    "nbytes": "",
    **dict.fromkeys(("shape", "format", "activation"), ""),
}
OBJECTS = {
    "PackedLinear": (
        "codes=i1:n,k:codes:most scale=f4:n bias?=f4:n activation=activation symmetric=bool"
        " input_scale=scale input_zero_point=point output_scale=scale output_zero_point=point"
        " format=format input_multiplier?=f4:k",
        _LINEAR,
    ),
    "grouped_weight": (
        "codes=u1:n,k:below:sixteen bits=bits group=group scale=u1:n,groups:wild"
        " scale_unit=f2:n,units minimum=u1:n,groups:wild minimum_unit=f2:n,units"
        " order?=i4:k:order",
        {"rows": "ids=i8:m:below:n out=f4:m,k", **dict.fromkeys(("unpack", "numbers", "form"), "")},
    ),
    "grouped_linear": (
        "codes=i1:n,k:codes:seven bits=bits group=group scale=FLOAT:n,groups scale_unit=none"
        " minimum?=FLOAT:n,groups minimum_unit=none order?=i4:k:order bias?=f4:n"
        " activation=activation output_scale=scale output_zero_point=point input_multiplier?=f4:k",
        {name: spec for name, spec in _LINEAR.items() if name != "run_codes"},
    ),
    "PackedF32": (
        "values=f4:n,k",
        {"unpack": "begin=first end=n", **dict.fromkeys(("packed", "shape", "nbytes"), "")},
    ),
    "LinearF32": (
        "values=f4:n,k bias?=f4:n activation=activation input_multiplier?=f4:k",
        {name: _LINEAR[name] for name in ("run", "call")},
    ),
    "PackedMatrix": ("b=i1:k,n", {"matmul": "a=CODE8:m,k out=i4:m,n", "shape": "", "nbytes": ""}),
    "SparseF32": (
        "indptr=i8:rows:starts:nonzeros indices=i4:nonzeros:columns:row values=f4:nonzeros k=k",
        {
            "matmul": "x=f4:k,m out=f4:n,m",
            **dict.fromkeys(("unpack", "shape", "nnz", "nbytes"), ""),
        },
    ),
}
"""What makes an object, and its methods and properties; m, n, k are the same for both."""


def _grouped_linear(module: Any, *values: Any) -> Any:
    """Make the weight, of unsigned codes where there are minima, then its layer."""
    codes, *rest = values[:8]
    if rest[4] is not None and isinstance(codes, np.ndarray) and codes.dtype == np.int8:
        codes = (codes & 15).view(np.uint8)
    return module.grouped_linear(module.grouped_weight(codes, *rest), *values[8:])


_MAKERS = {
    "LinearF32": lambda _, values, *rest: core.LinearF32(core.PackedF32(values), *rest),
    "grouped_linear": _grouped_linear,
}
"""Of objects that are made of others."""
_WITHOUT_TWIN = ("PackedF32", "LinearF32")
PLAIN = (
    *("version", "compiler", "machine", "cpu_features", "isa_tiers", "compiled_isa_tiers"),
    *("get_isa", "set_isa", "set_num_threads", "get_num_threads", "default_num_threads"),
    *("empty", "result_cache", "limit_result_cache", "SMALLEST_KEPT"),
    *("families", "kernels", "weight_formats", "bench_dot_peak", "bench_read", "bench_copy"),
    "PackedWeight",  # the target "segment" is for it
    "Program",  # and "program" for this
    "GraphProgram",  # and "graph-program"
    "KeyValueCache",  # and "cache" for these
    "attention_cached",
)
"""Functions of a few plain values, which have no twin or none of the same answer."""
_OWN_ANSWERS = ("nbytes", "memory", "format_cost")
"""What depends on how the native module holds things, or on the tier."""


def _sizes(rng: random.Random) -> dict[str, int]:
    m, n, k = (rng.choice(_SIZES) for _ in "mnk")
    b, h, block, group = (rng.choice(few) for few in ((0, 1, 2), (1, 2, 3), (0, 0, 1, 4), (32, 64)))
    d, row = rng.choice((0, 1, 4, 17)), rng.randrange(k + 1)
    return {
        "m": m,
        "n": n,
        "k": k,
        "b": b,
        "h": h,
        "w": h * d,
        "pairs": d // 2,
        "all": b * n * h,
        "blocks": b * -(-n // block) * h if block else n,
        "block": block,
        "group": group,
        "groups": -(-k // group),
        "units": -(-k // group // 8),
        "sixteen": 16,
        "one": 1,
        "two": 2,
        "seven": 7,
        "most": 127,
        "rows": n + 1,
        "row": row,
        "first": rng.randrange(n + 1),
        "nonzeros": n * row,
    }


def draw(rng: random.Random, signature: str, sizes: dict[str, int]) -> dict[str, Spec]:
    """Return arguments that a function takes."""
    kinds = {"CODE": ("i1", "u1", "i2", "u2"), "CODE8": ("i1", "u1"), "FLOAT": ("f4", "f2")}
    kinds["HALF"] = ("f2", "u2")
    chosen = {name: rng.choice(dtypes) for name, dtypes in kinds.items()}
    arguments: dict[str, Spec] = {}
    for word in signature.split():
        name, _, kind = word.partition("=")
        dtype, _, rest = kind.partition(":")
        if name.endswith("?") and rng.random() < 0.5:
            arguments[name[:-1]] = {"value": None}
        elif rest:
            shape, _, fill = rest.partition(":")
            fill, _, top = fill.partition(":")
            extents = tuple(sizes[axis] for axis in shape.split(","))
            content = (fill or "normal", sizes[top] if top else 0)
            arguments[name.rstrip("?")] = array(chosen.get(dtype, dtype), extents, *content)
        else:
            value = sizes[kind] if kind in sizes else rng.choice(_CHOICES[kind])
            arguments[name] = {"value": value}
    return arguments


def change(rng: random.Random, _: Files) -> Files:
    """Make a call, and spoil some of its arguments."""
    kind, sizes = rng.random(), _sizes(rng)
    case: dict[str, Any] = {"threads": rng.choice((1, 1, 2, 3))}
    if kind < 0.02:
        name = rng.choice(PLAIN)
        # Probes run as long, or as often, as they are told to.
        known = (-1, 0, -1.5, 1e-6, None, "", []) if "bench" in name else (*JUNK, *TIERS)
        values = [{"value": rng.choice(known)} for _ in range(rng.choice((0, 1, 1, 2)))]
        return _file({**case, "call": name, "args": dict(zip("ab", values, strict=False))})
    if kind < 0.5:
        name = rng.choice(list(FUNCTIONS))
        case |= {"call": name, "args": draw(rng, FUNCTIONS[name], sizes)}
    else:
        name = rng.choice(("PackedLinear", *OBJECTS))
        signature, methods = OBJECTS[name]
        method = rng.choice((next(iter(methods)), *methods))
        made = {"make": draw(rng, signature, sizes), "args": draw(rng, methods[method], sizes)}
        case |= {"call": f"{name}.{method}", **made}
        if "addend" in made["args"] and rng.random() < 0.3:
            made["args"]["out"] = array(rng.choice(("f4", "i1")), (sizes["m"], sizes["n"]))
    spoiled = [part for part in (case["args"], case.get("make")) if part]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        spoil(rng, rng.choice(spoiled))
    return _file(case)


def _file(case: dict[str, Any]) -> Files:
    return {"call.json": json.dumps(case).encode()}


def seeds(_: Path) -> list[Files]:
    """Return a call of each function and method that nothing is wrong with."""
    rng, found = random.Random(0), []
    for name, signature in FUNCTIONS.items():
        found.append({"call": name, "args": draw(rng, signature, _sizes(rng))})
    for name, (signature, methods) in OBJECTS.items():
        for method, arguments in methods.items():
            sizes = _sizes(rng)
            made = {"make": draw(rng, signature, sizes), "args": draw(rng, arguments, sizes)}
            found.append({"call": f"{name}.{method}", **made})
    return [_file({"threads": 1, **case}) for case in found]


def make(module: Any, kind: str, arguments: dict[str, Spec], *, plain: bool = False) -> Any:
    """Make an object of OBJECTS."""
    values = build(arguments, plain=plain).values()
    return _MAKERS[kind](module, *values) if kind in _MAKERS else getattr(module, kind)(*values)


def _call(module: Any, case: dict[str, Any], *, plain: bool = False) -> list[Any]:
    """Return the result and what was written to."""
    name, _, method = case["call"].partition(".")
    if method:
        function = getattr(make(module, name, case["make"], plain=plain), method)
        if not case["args"]:
            return [function() if callable(function) else function]
    else:
        function = getattr(module, name)
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
    if name.endswith(".call") and (results[0][0] is None or "out" in case["args"]):
        return  # no plain arrays: the caller converts them; the twin leaves an output to `run`
    for tier, result in zip(TIERS, results, strict=True):
        if name != "format_cost":
            same(result, results[0], f"{name} on {tier}")
    values = [
        spec.get("value") for spec in (*case["args"].values(), *case.get("make", {}).values())
    ]
    huge = any(type(value) in (int, float) and abs(value) > 1e4 for value in values)
    owner, _, method = name.rpartition(".")
    if huge or method in _OWN_ANSWERS or owner in _WITHOUT_TWIN:
        return  # NumPy repeats things as often, or loops
    try:
        expected = _call(_numpy, case, plain=True)
    except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError, MemoryError):
        return  # the twin trusts its callers, the native module may have a meaning for this
    same(results[0], expected, f"{name}: twin")


@functools.singledispatch
def same(found: Any, expected: Any, where: str) -> None:
    if found is None and np.size(expected) == 0:
        return  # nothing to point to
    with np.printoptions(threshold=4, edgeitems=1):
        assert found == expected, f"{where}: {found!r}, expected {expected!r}"


@same.register(list)
@same.register(tuple)
def _same_all(found: Any, expected: Any, where: str) -> None:
    assert len(found) == len(expected), where
    for one, other in zip(found, expected, strict=True):
        same(one, other, where)


@same.register(core.PackedWeight)
def _same_codes(found: Any, expected: Any, where: str) -> None:
    same(found.unpack(), expected.unpack(), where)


@same.register(np.ndarray)
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
