# SPDX-License-Identifier: Apache-2.0
"""A hostile maker of graph programs: on every tier they must write what their twin in NumPy writes.

Steps that are refused are left out.  Whatever a program was told, nothing beside its arena changes.
"""

from __future__ import annotations

import copy
import importlib
import itertools
import json
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.arguments import JUNK, Spec, array, build, spoil
from fuzz.engine import Target
from fuzz.native import TIERS
from octavo import _numpy

if TYPE_CHECKING:
    from pathlib import Path

    from fuzz.mutate import Files

    Shape = tuple[int, int, int, int]

core: Any = importlib.import_module("octavo._core")

_REFUSALS = (ValueError, TypeError, MemoryError)
_CHANNELS = (1, 2, 3, 8, 15, 16, 17, 32, 40, 70)
_EXTENTS = (1, 1, 2, 3, 5, 8, 13)
_MOST_BYTES, _ALIGNMENT, CANARIES = 1 << 20, 64, 256
BY_BLAS = "add_conv_f32"
"""What NumPy leaves to BLAS, whose bits are its own."""


class _Draft:
    """Steps that fit each other: each reads tensors before it, and makes one behind them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.end = rng, 0
        self.tensors: list[tuple[int, Shape, bool]] = []
        self.calls: list[dict[str, Any]] = []
        shape = rng.choice((1, 1, 2)), *rng.choices(_EXTENTS, k=2), rng.choice(_CHANNELS)
        self.place(shape, rng.random() < 0.6)

    def place(self, shape: Shape, codes: bool) -> int:
        """Find a tensor its place."""
        at = self.end
        self.end += -(-math.prod(shape) * (1 if codes else 4) // _ALIGNMENT) * _ALIGNMENT
        self.tensors.append((at, shape, codes))
        return at

    def add(self, name: str, shape: Shape, codes: bool, /, **arguments: Any) -> None:
        """Take a step down; it may write where its input is."""
        if math.prod(shape) * 4 + self.end > _MOST_BYTES:
            return
        x, _, x_codes = self.tensors[-1]
        in_place = name in (
            "lookup",
            "activation_f32",
            "prelu",
            "prelu_f32",
            "add",
            "add_f32",
            "mul",
        )
        here = in_place and x_codes == codes and self.rng.random() < 0.3
        given: dict[str, Any] = {"out": x if here else self.place(shape, codes)}
        given |= {} if "a" in arguments or name == "fill" else {"x": x}
        given |= arguments
        specs = {k: v if isinstance(v, dict) else {"value": v} for k, v in given.items()}
        self.calls.append({"call": f"add_{name}", "args": specs})

    def code(self) -> int:
        return self.rng.choice((-128, -7, 0, 3, 127, self.rng.randint(-128, 127)))

    def factor(self) -> float:
        return math.exp(self.rng.uniform(-7, 1))

    def codes(self) -> dict[str, int]:
        """How outputs become codes."""
        low, high = sorted((self.rng.randint(-128, 0), self.rng.randint(-1, 127)))
        bounds = {"low": low, "high": high} if self.rng.random() < 0.5 else {}
        return {"out_zero_point": self.code(), **bounds}

    def bounds(self) -> dict[str, float]:
        return self.rng.choice(
            ({}, {"low": 0.0}, {"low": 0.0, "high": 6.0}, {"low": -1.0, "high": 1.0})
        )

    def windows(self, shape: Shape, *, pools: bool = False) -> tuple[dict[str, Any], list[int]]:
        """Return what places windows, and the kernel; those of pools have inputs."""
        rng = self.rng
        kernel, sizes, values = [], [], {"stride": [], "dilation": [], "padding": []}
        for extent in shape[1:3]:
            taps, stride = rng.choice((1, 1, 2, 3, 3, 5)), rng.choice((1, 1, 2, 3))
            dilation = 1 if pools else rng.choice((1, 1, 1, 2, 3))
            padding = rng.randrange(taps if pools else 2 * taps)
            most = (extent + padding - 1) // stride + 1
            sizes.append(max(1, min(most, rng.choice((most, most, rng.randint(1, most))))))
            kernel.append(taps)
            for name, value in (("stride", stride), ("dilation", dilation), ("padding", padding)):
                values[name].append(value)
        if pools:
            del values["dilation"]
        return {"shape": list(shape), "size": sizes, **values}, kernel

    def conv(self, shape: Shape, codes: bool) -> None:
        rng = self.rng
        place, (kh, kw) = self.windows(shape)
        groups = rng.choice([g for g in (1, 1, 1, 2, 3) if shape[3] % g == 0])
        n = groups * rng.choice((1, 2, 8, 16, 20, 33))
        weight_shape = (n, kh, kw, shape[3] // groups)
        out = (shape[0], *place["size"], n)
        if codes:
            self.add(
                *("conv", out, True),
                weight=array("i1", weight_shape),
                bias=rng.choice(({"value": None}, array("i4", (n,), "wild"))),
                multiplier=array("f4", (n,)),
                zero_point=self.code(),
                groups=groups,
                **(place | self.codes()),
            )
            return
        bias = rng.choice(({"value": None}, array("f4", (n,))))
        rest = {"bias": bias, "groups": groups, **place, **self.bounds()}
        if rng.random() < 0.3:
            self.add("conv_f32", out, False, weight=array("f4", weight_shape), **rest)
        else:
            weight, scale = array("i1", weight_shape), array("f4", (n,))
            self.add("conv_dynamic", out, False, weight=weight, scale=scale, **rest)

    def depthwise(self, shape: Shape, codes: bool) -> None:
        place, kernel = self.windows(shape)
        n = shape[3] * self.rng.choice((1, 1, 1, 2, 3))
        out = (shape[0], *place["size"], n)
        bias = self.rng.choice(({"value": None}, array("i4" if codes else "f4", (n,))))
        weight = array("i1" if codes else "f4", (*kernel, n))
        if codes:
            rest = {"multiplier": array("f4", (n,)), "zero_point": self.code(), **self.codes()}
        else:
            rest = self.bounds()
        step = "depthwise" if codes else "depthwise_f32"
        self.add(step, out, codes, weight=weight, bias=bias, **place, **rest)

    def pool(self, shape: Shape, codes: bool) -> None:
        place, kernel = self.windows(shape, pools=True)
        if self.rng.random() < 0.2:
            kernel, place = list(shape[1:3]), {"shape": list(shape), "size": [1, 1]}
        step, rest = self.rng.choice(("average_pool", "max_pool")), self.bounds()
        if codes:
            rest = self.codes()
            if step == "max_pool":
                del rest["out_zero_point"]
            else:
                rest |= {"scale": self.factor(), "out_scale": self.factor()}
                rest["zero_point"] = self.code()
        out = (shape[0], *place["size"], shape[3])
        self.add(step if codes else f"{step}_f32", out, codes, kernel=kernel, **place, **rest)

    def binary(self, shape: Shape, codes: bool) -> None:
        """A sum or product with an earlier tensor of these channels."""
        triple = [shape[0], shape[1] * shape[2], shape[3]]
        a = self.tensors[-1][0]
        operands = [(a, triple)]
        for at, other, other_codes in self.tensors:
            b_shape = [other[0], other[1] * other[2], other[3]]
            fits = all(
                one in (1, whole) for one, whole in zip(b_shape[:2], triple[:2], strict=True)
            )
            if fits and b_shape[2] == triple[2] and other_codes == codes:
                operands.append((at, b_shape))
        b, b_shape = self.rng.choice(operands)
        place = {"a": a, "b": b, "shape": triple, "b_shape": b_shape}
        step = self.rng.choice(("add", "mul"))
        if not codes:
            self.add(f"{step}_f32", shape, False, **place, **self.bounds())
            return
        names = ("a_multiplier", "b_multiplier") if step == "add" else ("multiplier",)
        points = {"a_zero_point": self.code(), "b_zero_point": self.code(), **self.codes()}
        self.add(step, shape, True, **place, **points, **{name: self.factor() for name in names})

    def element(self, shape: Shape, codes: bool) -> None:
        count, rows = math.prod(shape), [math.prod(shape[:3]), shape[3]]
        alpha = array("i1" if codes else "f4", (shape[3],))
        if not codes:
            names = ("none", "relu", "gelu", "tanh", "silu", "hard_swish", "logistic")
            name, bounds = self.rng.choice(names), self.bounds()
            self.rng.choice(
                (
                    lambda: self.add(
                        "activation_f32", shape, False, count=count, name=name, **bounds
                    ),
                    lambda: self.add("prelu_f32", shape, False, shape=rows, alpha=alpha),
                    lambda: self.add("softmax_f32", shape, False, shape=rows),
                )
            )()
            return
        factors = {"multiplier": self.factor(), "negative_multiplier": self.factor() / 50}
        points = {"zero_point": self.code(), "alpha_zero_point": self.code(), **self.codes()}
        out = {"out_scale": 1 / 256, "out_zero_point": -128}
        scale = {"scale": self.factor(), "zero_point": self.code()}
        self.rng.choice(
            (
                lambda: self.add("lookup", shape, True, count=count, table=array("i1", (256,))),
                lambda: self.add(
                    "prelu", shape, True, shape=rows, alpha=alpha, **factors, **points
                ),
                lambda: self.add("softmax", shape, True, shape=rows, **scale, **out),
            )
        )()

    def change_type(self, shape: Shape, codes: bool) -> None:
        step = "dequantize" if codes else "quantize"
        scale = {"scale": self.factor(), "zero_point": self.code()}
        self.add(step, shape, not codes, count=math.prod(shape), **scale)

    def resize(self, shape: Shape, codes: bool) -> None:
        size = self.rng.choices((1, 2, 3, 7, 10), k=2)
        options = {"method": self.rng.choice(("bilinear", "bilinear", "nearest"))}
        options |= {
            name: self.rng.random() < 0.3 for name in ("align_corners", "half_pixel_centers")
        }
        out = (shape[0], *size, shape[3])
        step = "resize" if codes else "resize_f32"
        self.add(step, out, codes, shape=list(shape), size=size, **options)

    def move(self, shape: Shape, codes: bool) -> None:
        """Fill a tensor, and copy a part of the last one, perhaps turned, into it."""
        item = 1 if codes else 4
        at = self.tensors[-1][0]
        h, w, c = (self.rng.randint(1, extent) for extent in shape[1:])
        strides = [
            shape[1] * shape[2] * shape[3] * item,
            shape[2] * shape[3] * item,
            shape[3] * item,
        ]
        out = (shape[0], h, w, c)
        value = array("i1" if codes else "f4", (1,))
        self.add("fill", out, codes, count=math.prod(out), value=value)
        x_strides, extents = strides, [shape[0], h, w, c * item]
        if self.rng.random() < 0.5:
            x_strides, extents = [strides[0], strides[2], strides[1]], [shape[0], w, h, c * item]
        _, rows, columns, size = extents
        out_strides = [rows * columns * size, columns * size, size]
        place = {"x": at, "out": self.tensors[-1][0], "x_strides": x_strides}
        specs = {k: {"value": v} for k, v in place.items()}
        specs |= {"shape": {"value": extents}, "out_strides": {"value": out_strides}}
        self.calls.append({"call": "add_copy", "args": specs})

    def case(self) -> dict[str, Any]:
        rng = self.rng
        steps = (self.conv, self.depthwise, self.pool, self.binary, self.element, self.resize)
        for _ in range(rng.choice((1, 2, 4, 8))):
            _, shape, codes = self.tensors[-1]
            rng.choice((*steps, *steps, self.conv, self.change_type, self.move))(shape, codes)
        arena: Spec = {"arena_bytes": {"value": self.end}}
        return {
            "threads": rng.choice((2, 3)),
            "arena": arena,
            "seed": rng.randrange(9),
            "calls": self.calls,
        }


def change(rng: random.Random, _: Files) -> Files:
    """Make a program, and spoil some of what it is told."""
    case = _Draft(rng).case()
    calls = case["calls"]
    for _ in range(rng.choice((0, 0, 1, 2, 4))):
        if not calls:
            break
        kind, at = rng.random(), rng.randrange(len(calls))
        if kind < 0.1:
            del calls[at]
        elif kind < 0.2:
            calls.insert(rng.randrange(len(calls) + 1), copy.deepcopy(calls[at]))
        elif kind < 0.3:
            case["arena"]["arena_bytes"] = {"value": rng.choice((*JUNK, 4096))}
        elif kind < 0.6:
            _spoil_number(rng, calls[at]["args"])
        else:
            spoil(rng, calls[at]["args"])
    return {"program.json": json.dumps(case).encode()}


def _spoil_number(rng: random.Random, arguments: dict[str, Spec]) -> None:
    """Change one number of a shape, or an offset."""
    spec = arguments[rng.choice(list(arguments))]
    value = spec.get("value")
    if isinstance(value, list) and value:
        value[rng.randrange(len(value))] = rng.choice((0, 1, 2, 7, 64, 2**20, *JUNK))
    elif isinstance(value, int):
        spec["value"] = value + rng.choice((-64, 64, 1, -1, 128, 2**31))


def seeds(_: Path) -> list[Files]:
    """Return some programs that nothing is wrong with."""
    rng = random.Random(0)
    return [{"program.json": json.dumps(_Draft(rng).case()).encode()} for _ in range(30)]


def _takes(program: Any, call: dict[str, Any], plain: bool) -> bool:
    """Add a step, which may be refused."""
    try:
        getattr(program, call["call"])(**build(call["args"], plain=plain))
    except _REFUSALS:
        return False
    return True


def make_program(module: Any, case: dict[str, Any]) -> tuple[Any, list[bool]]:
    """Return a program, and which of the steps it took."""
    program = module.GraphProgram(*build(case["arena"]).values())
    return program, [_takes(program, call, module is _numpy) for call in case["calls"]]


def make_arena(case: dict[str, Any]) -> tuple[Any, Any]:
    """Return memory of any values, and the arena in the middle of it."""
    size = int(case["arena"]["arena_bytes"]["value"])
    if size > _MOST_BYTES:
        raise MemoryError("an arena too large to try")
    memory = np.random.default_rng(case["seed"]).integers(0, 256, size + 2 * CANARIES, np.uint8)
    whole = np.zeros(memory.size + _ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % _ALIGNMENT
    whole = whole[start : start + memory.size]
    whole[:] = memory
    if case["seed"] % 2 == 0 and size % 4 == 0:  # floats of a middling size; else any bytes
        normal = np.random.default_rng(case["seed"]).standard_normal(size // 4, np.float32)
        whole[CANARIES : CANARIES + size] = normal.view(np.uint8)
    return whole, whole[CANARIES : CANARIES + size]


def same_values(found: Any, expected: Any) -> None:
    """Compare bytes; where four of them are a NaN, any other will do."""
    whole = found.size // 4 * 4
    nan = [np.isnan(one[:whole].view(np.float32)).repeat(4) for one in (found, expected)]
    same_bytes = found == expected
    same_bytes[:whole] |= nan[0] & nan[1]
    assert same_bytes.all(), f"other values from byte {np.argmin(same_bytes) - CANARIES} on"


def read(place: Path) -> tuple[dict[str, Any], list[bool], list[Any]]:
    """Run a program on each tier; return the case, the steps taken, and what memory held then."""
    case = json.loads((place / "program.json").read_bytes())
    found = []
    try:
        program, taken = make_program(core, case)
        for tier, threads in itertools.product(TIERS, (1, case["threads"])):
            core.set_isa(tier)
            core.set_num_threads(threads)
            memory, arena = make_arena(case)
            program.run(arena)
            found.append(memory)
    finally:
        core.set_isa(None)
        core.set_num_threads(1)
    return case, taken, found


def twin_arena(case: dict[str, Any], taken: list[bool]) -> Any:
    """Return what memory holds after the twin ran; None where NumPy has bits of its own."""
    calls = [call for call, there in zip(case["calls"], taken, strict=True) if there]
    memory, arena = make_arena(case)
    program, twin_taken = make_program(_numpy, {**case, "calls": calls})
    if not all(twin_taken) or any(call["call"] == BY_BLAS for call in calls):
        return None
    program.run(arena)
    return memory


def check(_: Path, result: tuple[dict[str, Any], list[bool], list[Any]]) -> None:
    """Compare tiers with each other and with the twin, and look beside the arena."""
    case, taken, found = result
    before, _ = make_arena(case)
    for memory in found:
        for edge in (slice(CANARIES), slice(-CANARIES, None)):
            assert np.array_equal(memory[edge], before[edge]), "written beside the arena"
        same_values(memory, found[0])
    expected = twin_arena(case, taken)
    if expected is not None:
        same_values(found[0], expected)


TARGET = Target(
    *("graph-program", seeds, change, read, check, _REFUSALS, 2 * len(TIERS)),
    longest_message=math.inf,
)
