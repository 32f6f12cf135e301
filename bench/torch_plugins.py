# SPDX-License-Identifier: Apache-2.0
"""octavo's int8 product under bitsandbytes, optimum-quanto and torchao, against their own.

Each library's int8 linear layer on the CPU, without the plug-in and with it, in turns.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from common import workers
from common.targets import Target, at_least
from octavo import runtime, timing
from octavo.bench import linear as ours
from octavo.bench import report
from octavo.bench.peers.base import Layer, attempt
from octavo.bench.peers.torch_linear import float_layer, start
from octavo.bench.peers.worker import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHAPES = tuple((m, n, k) for n, k in ((768, 768), (3072, 768)) for m in (1, 32, 128))
QUICK = ((1, 768, 768), (32, 768, 768))
FASTER = 2.0
MAX_ERROR = 0.3
"""Per-tensor activations are coarse; this finds broken results."""


def bitsandbytes_layer(layer: Layer) -> Any:
    import bitsandbytes

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    n, k = layer.weight.shape
    made = bitsandbytes.nn.Linear8bitLt(k, n, has_fp16_weights=False)
    made.load_state_dict(float_layer(layer).state_dict())
    return made.to("cpu").eval()


def quanto_layer(layer: Layer) -> Any:
    import torch
    from optimum import quanto

    model = torch.nn.Sequential(float_layer(layer))
    quanto.quantize(model, weights=quanto.qint8, activations=quanto.qint8)
    with quanto.Calibration():
        model(torch.from_numpy(ours.make_input(256, layer.weight.shape[1], seed=1)))
    quanto.freeze(model)
    return model


def torchao_layer(layer: Layer) -> Any:
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    model = torch.nn.Sequential(float_layer(layer))
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


LIBRARIES: dict[str, tuple[str, Callable[[Layer], Any]]] = {
    "bitsandbytes": ("bitsandbytes", bitsandbytes_layer),
    "quanto": ("torch", quanto_layer),
    "torchao": ("torch", torchao_layer),
}


def in_turns(call: Callable[[], Any], plug_in: str, rounds: int) -> dict[bool, timing.Timing]:
    """Time the call without (False) and with (True) the plug-in, round after round."""
    from octavo.torch import plug_in as plug

    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        seconds[False] += timing.run({"call": call}, rounds=1, seconds=0.02).timings["call"].rounds
        with plug(plug_in):
            call()  # the second sight of a weight packs it
            timed = timing.run({"call": call}, rounds=1, seconds=0.02).timings["call"]
            seconds[True] += timed.rounds
    return {active: timing.Timing(tuple(values)) for active, values in seconds.items()}


def measure(library: str, module: Any, m: int, layer: Layer, quick: bool) -> list[report.Row]:
    import torch

    import octavo.torch

    plug_in = LIBRARIES[library][0]
    n, k = layer.weight.shape
    x = ours.make_input(m, k)
    call = partial(module, torch.from_numpy(x))
    check = ours.checker(ours.Problem(x, layer.weight, layer.bias), MAX_ERROR)
    check(library, call().float().numpy())
    with octavo.torch.plug_in(plug_in):
        check(f"{library} + octavo", call().float().numpy())
    isa = str(runtime.get_isa())
    return [
        report.make_row(
            (
                "torch_plugins",
                f"{m}x{n}x{k}",
                f"{library} + octavo" if active else library,
                isa if active else "-",
                layer.threads,
            ),
            timed,
            ours.work(m, n, k),
            extra={"library": library, "plugged": active},
        )
        for active, timed in in_turns(call, plug_in, 3 if quick else 7).items()
    ]


def plugin_targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Hold each library with the plug-in against itself."""
    times = {
        (r["extra"]["library"], r["extra"]["plugged"], r["case"], r["threads"]): r["seconds"]
        for r in rows
    }
    targets = []
    for library in LIBRARIES:
        ratios = [
            (times[library, False, case, threads] / seconds, f"{case} T={threads}")
            for (name, plugged, case, threads), seconds in times.items()
            if name == library and plugged
        ]
        targets.append(at_least(f"{library}: faster by", FASTER, ratios))
    return targets


def work(threads: int, shapes: Sequence[tuple[int, ...]], quick: bool) -> dict[str, Any]:
    """Measure all shapes in this process; return the JSON document."""
    runtime.set_num_threads(threads)
    start(threads)
    rows: list[report.Row] = []
    absent: dict[str, str] = {}
    for library, (_, make) in LIBRARIES.items():
        for m, n, k in shapes:
            layer = Layer(*ours.make_layer(n, k), threads)
            module, reason = attempt(partial(make, layer))
            if module is None:
                absent[library] = reason
                break
            made = measure(library, module, m, layer, quick)
            rows += made
            for row in made:
                workers.say(report.row_line(row))
    workers.announce(absent)
    more = {"versions": versions(), "absent": absent}
    return report.document("torch_plugins", rows, {"quick": quick}, **more)


def main(argv: Sequence[str] | None = None) -> int:
    return workers.main_of_script(
        argv,
        __file__,
        __doc__ or "",
        work,
        lambda quick: QUICK if quick else SHAPES,
        plugin_targets,
        threads="1",
    )


if __name__ == "__main__":
    sys.exit(main())
