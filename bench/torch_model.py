# SPDX-License-Identifier: Apache-2.0
"""Whole transformers models under PyTorch: float32, octavo.torch and torch.ao's dynamic int8.

MiniLM with its weights, DistilBERT and a LLaMA of four layers with random ones; token ids in,
hidden states out, eager and compiled, interleaved in one process per thread count.
"""

from __future__ import annotations

import copy
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from common import workers
from common.targets import Row, Target, at_least, by_case
from model import model_folder
from octavo import runtime, timing
from octavo.bench import report
from octavo.bench.peers.base import attempt
from octavo.bench.peers.torch_linear import dynamic_int8, start
from octavo.bench.peers.worker import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = ("minilm", "distilbert", "llama")
SHAPES = ((1, 128),)
FASTER_THAN_FLOAT = 2.0
COMPILED_TOLERANCE = 0.97
"""Below this share of its eager speed, compiling our model made it slower: the noise is 3%."""


def make_model(name: str, folder: str) -> Any:
    """Return a float32 model in evaluation mode."""
    import torch
    import transformers

    torch.manual_seed(0)
    if name == "minilm":
        return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    if name == "distilbert":
        return transformers.DistilBertModel(transformers.DistilBertConfig()).eval()
    config = transformers.LlamaConfig(
        vocab_size=8000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=4,
        num_attention_heads=12,
        num_key_value_heads=12,
        use_cache=False,
    )
    return transformers.LlamaModel(config).eval()


def candidates(plain: Any) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """Return engine -> (kind, model), and what could not be made."""
    import torch

    import octavo.torch

    ours = copy.deepcopy(plain)
    summary = octavo.torch.quantize_(ours)
    workers.say(str(summary))
    found = {
        "torch float32": ("float", plain),
        "torch float32 compiled": ("float compiled", torch.compile(plain)),
        "octavo.torch": ("ours", ours),
        "octavo.torch compiled": ("ours compiled", torch.compile(ours)),
    }
    failed = []
    for engine in ("x86", "onednn"):
        model, reason = attempt(partial(dynamic_int8, plain, engine))
        if model is None:
            failed.append(f"torch int8 {engine}: {reason}")
        else:
            found[f"torch int8 {engine}"] = ("int8", model)
    return found, failed


def measure(
    name: str,
    shape: tuple[int, int],
    found: dict[str, tuple[str, Any]],
    threads: int,
    quick: bool,
) -> list[report.Row]:
    """Time all engines on one batch of token ids."""
    import torch

    config = found["torch float32"][1].config
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, config.vocab_size, shape, generator=generator)
    calls = {
        engine: partial(_states, model, ids, torch.ones_like(ids))
        for engine, (_, model) in found.items()
    }
    states = {engine: call() for engine, call in calls.items()}
    expected = states["torch float32"]
    timed = timing.run(
        calls, rounds=5 if quick else 11, seconds=0.3 if quick else 2.0, settled=threads > 1
    ).timings
    rows, work_done = [], _work(found["torch float32"][1], shape)
    for engine, times in timed.items():
        cosine = torch.nn.functional.cosine_similarity(states[engine], expected, dim=-1)
        extra = {"kind": found[engine][0], "cosine": float(cosine.mean())}
        isa = str(runtime.get_isa()) if "octavo" in engine else "-"
        case = f"{name} {shape[0]}x{shape[1]}"
        where = ("torch_model", case, engine, isa, threads)
        rows.append(report.make_row(where, times, work_done, extra=extra))
    return rows


def _states(model: Any, ids: Any, mask: Any) -> Any:
    return model(input_ids=ids, attention_mask=mask).last_hidden_state


def _work(model: Any, shape: tuple[int, int]) -> tuple[int, int]:
    """Operations of the linear layers, and bytes of their weights."""
    import torch

    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    return 2 * weights * shape[0] * shape[1], 4 * weights


def model_targets(rows: Sequence[Row]) -> list[Target]:
    """Hold the rows against the project's targets."""
    floats: list[tuple[float, str]] = []
    compiled: list[tuple[float, str]] = []
    for (case, threads), engines in by_case(rows).items():
        mine = engines["octavo.torch"]["seconds"]
        if case.endswith(" 1x128") and threads == 1:
            floats.append((engines["torch float32"]["seconds"] / mine, case))
        compiled.append((mine / engines["octavo.torch compiled"]["seconds"], f"{case} T={threads}"))
    return [
        at_least("1x128, one thread: PyTorch float32", FASTER_THAN_FLOAT, floats),
        at_least("compiled against eager", COMPILED_TOLERANCE, compiled),
    ]


def work(threads: int, arguments: Any) -> dict[str, Any]:
    """Measure all models in this process; return the JSON document."""
    import torch

    start(threads)
    runtime.set_num_threads(threads)
    rows: list[report.Row] = []
    failed: list[str] = []
    for name in arguments.models.split(","):
        torch.compiler.reset()
        folder = str(model_folder(arguments.model)) if name == "minilm" else ""
        found, wrong = candidates(make_model(name, folder))
        failed += [f"{name} {reason}" for reason in wrong]
        for shape in workers.shapes_or(arguments.shapes, 2, SHAPES):
            made = measure(name, shape, found, threads, arguments.quick)
            rows += made
            for row in sorted(made, key=lambda row: row.seconds):
                workers.say(f"{report.row_line(row)}  cosine {row.extra['cosine']:.4f}")
            workers.say()
    for line in failed:
        workers.say(f"failed: {line}")
    more = {"versions": versions(), "failed": failed}
    return report.document("torch_model", rows, {"quick": arguments.quick}, **more)


def main(argv: Sequence[str] | None = None) -> int:
    made = workers.parser(__doc__ or "", shapes="BATCHxTOKENS,...")
    workers.add_threads(made, "1")
    made.add_argument("--model", metavar="FOLDER", help="MiniLM's folder")
    made.add_argument("--models", metavar="LIST", default=",".join(MODELS), help="some of them")
    made.add_argument("--worker", type=int, metavar="T", help="measure here, with T threads")
    arguments = made.parse_args(argv)
    for name in arguments.models.split(","):
        if name not in MODELS:
            made.error(f"--models: expected some of {','.join(MODELS)}, got {name!r}")
    if arguments.worker:
        workers.finish(arguments.json, work(arguments.worker, arguments))
        return 0
    passed = ["--models", arguments.models] + ["--quick"] * arguments.quick
    for option in ("shapes", "model"):
        value = getattr(arguments, option)
        passed += [f"--{option}", value] if value else []
    workers.say(report.header_line())
    return workers.run_all(
        partial(workers.run_script, __file__, passed),
        workers.counts_or_usual(arguments.threads),
        model_targets,
        arguments.json,
    )


if __name__ == "__main__":
    sys.exit(main())
