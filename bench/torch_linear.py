# SPDX-License-Identifier: Apache-2.0
"""octavo.torch's linear layer against PyTorch float32, torch.ao's dynamic int8 and torchao's.

Torch tensors in and out, quantization included, weights prepared beforehand, interleaved in one
process per thread count.  "octavo" is the NumPy layer underneath: what is above it is overhead.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from common import workers
from common.targets import Target, at_least, at_most, by_case, fastest
from octavo import runtime, timing
from octavo.bench import linear as ours
from octavo.bench import report
from octavo.bench.peers.base import Layer, attempt, first_line
from octavo.bench.peers.torch_linear import dynamic_int8, float_layer, start
from octavo.bench.peers.worker import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LAYERS = ((384, 384), (1536, 384), (768, 768), (3072, 768), (768, 3072), (4096, 4096))
ROWS = (1, 8, 32, 128, 512)
SMALL = ((1, 64, 64), (8, 64, 64), (1, 128, 128))
QUICK = ((1, 64, 64), (1, 768, 768), (32, 768, 768), (128, 768, 768))
ENGINES = ("x86", "fbgemm", "onednn")
OVERHEAD_MICROSECONDS = 6.0
SHARE_OF_FLOAT = 0.6
MAX_PEER_ERROR = 0.3


def torchao_layer(layer: Layer) -> Any:
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    model = torch.nn.Sequential(float_layer(layer))
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def modules(layer: Layer) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """Return engine -> (kind, module), and the engines that failed."""
    import torch

    import octavo.torch

    start(layer.threads)
    plain = float_layer(layer)
    mine = octavo.torch.Linear.from_float(plain).eval()
    found = {"torch float32": ("float", plain), "octavo.torch": ("ours", mine)}
    found["octavo.torch compiled"] = ("ours compiled", torch.compile(mine, fullgraph=True))
    failed = []
    makers: dict[str, Callable[[], Any]] = {
        f"torch int8 {engine}": partial(dynamic_int8, torch.nn.Sequential(plain), engine)
        for engine in ENGINES
        if engine in torch.backends.quantized.supported_engines
    }
    makers["torchao int8"] = partial(torchao_layer, layer)
    for name, make in makers.items():
        module, reason = attempt(make)
        if module is None:
            failed.append(f"{name}: {reason}")
            continue
        found[name] = ("int8", module)
        if name == "torchao int8":
            found["torchao int8 compiled"] = ("int8", torch.compile(module, fullgraph=True))
    return found, failed


def usable(
    found: dict[str, tuple[str, Any]], x: Any, check: Callable[[str, Any], None]
) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """Bind the input and try each engine; wrong or failing peers are reported."""
    calls: dict[str, Callable[[], Any]] = {}
    failed = []
    for name, (kind, module) in found.items():
        call = partial(module, x)
        try:
            check(name, call().numpy())
        except Exception as error:
            if kind.startswith("ours"):
                raise
            failed.append(f"{name}: {first_line(error)}")
            continue
        calls[name] = call
    return calls, failed


def measure_shape(
    m: int, layer: Layer, found: dict[str, tuple[str, Any]], quick: bool
) -> tuple[list[report.Row], list[str]]:
    """Time all engines on one input."""
    import torch

    n, k = layer.weight.shape
    x = ours.make_input(m, k)
    check = ours.checker(ours.Problem(x, layer.weight, layer.bias), MAX_PEER_ERROR)
    calls, failed = usable(found, torch.from_numpy(x), check)
    calls["octavo"] = partial(found["octavo.torch"][1]._weight.layer, x)
    kinds = {name: kind for name, (kind, _) in found.items()} | {"octavo": "core"}
    timed = timing.run(
        calls,
        rounds=5 if quick else 9,
        seconds=0.05 if quick else 0.35,
        settled=layer.threads > 1,
    ).timings
    ops, nbytes = ours.work(m, n, k)
    isa = str(runtime.get_isa())
    rows = [
        report.make_row(
            (
                "torch_linear",
                f"{m}x{n}x{k}",
                engine,
                isa if "octavo" in engine else "-",
                layer.threads,
            ),
            times,
            (ops, nbytes),
            extra={"kind": kinds[engine], "m": m, "n": n, "k": k},
        )
        for engine, times in timed.items()
    ]
    return rows, [f"{m}x{n}x{k} {reason}" for reason in failed]


def torch_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Hold the rows against the project's targets; overhead is taken from the fastest rounds."""
    overhead: list[tuple[float, str]] = []
    share: list[tuple[float, str]] = []
    rivals: list[tuple[float, str]] = []
    floats: list[tuple[float, str]] = []
    for (case, threads), engines in by_case(rows).items():
        mine, where = engines["octavo.torch"], f"{case} T={threads}"
        sizes = mine["extra"]
        if (sizes["m"], sizes["n"], sizes["k"]) == (1, 64, 64):
            overhead.append(((mine["low"] - engines["octavo"]["low"]) * 1e6, where))
        ratio = engines["torch float32"]["seconds"] / mine["seconds"]
        if (sizes["m"], sizes["n"], sizes["k"]) == (1, 768, 768):
            share.append((1 / ratio, where))
        if sizes["n"] >= 384:
            floats.append((ratio, where))
            rival = fastest(engines, "int8")
            if rival is not None:
                rivals.append((rival["seconds"] / mine["seconds"], f"{where} ({rival['engine']})"))
    return [
        at_most("overhead over octavo.Linear", OVERHEAD_MICROSECONDS, overhead, "{:.1f} us".format),
        at_most("1x768x768: share of float32's time", SHARE_OF_FLOAT, share, "{:.0%}".format),
        at_least("fastest int8 peer, worst row", 1.0, rivals),
        at_least("PyTorch float32, worst row", 1.0, floats),
    ]


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    import torch

    runtime.set_num_threads(threads)
    rows: list[report.Row] = []
    failed: list[str] = []
    for n, k in dict.fromkeys((n, k) for _, n, k in shapes):
        torch.compiler.reset()
        layer = Layer(*ours.make_layer(n, k), threads)
        found, wrong = modules(layer)
        failed += [f"{n}x{k} {reason}" for reason in wrong]
        for m in [m for m, *rest in shapes if tuple(rest) == (n, k)]:
            made, wrong = measure_shape(m, layer, found, quick)
            rows, failed = rows + made, failed + wrong
            for row in sorted(made, key=lambda row: row.seconds):
                workers.say(report.row_line(row))
            workers.say()
    for line in failed:
        workers.say(f"failed: {line}")
    more = {"versions": versions(), "failed": failed}
    return report.document("torch_linear", rows, {"quick": quick}, **more)


def grid(quick: bool) -> tuple[tuple[int, ...], ...]:
    """Return the usual (M, N, K)."""
    return QUICK if quick else SMALL + tuple((m, n, k) for n, k in LAYERS for m in ROWS)


def main(argv: Sequence[str] | None = None) -> int:
    return workers.main_of_script(
        argv,
        __file__,
        __doc__ or "",
        work,
        grid,
        torch_targets,
        threads="1",
    )


if __name__ == "__main__":
    sys.exit(main())
