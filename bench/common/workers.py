# SPDX-License-Identifier: Apache-2.0
"""Worker processes: one per thread count or tier, because libraries read both when they load."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.targets import Target, format_table
from octavo.bench import report
from octavo.bench.options import parse_shapes, parse_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE")
"""Settings of the machine's own that change NumPy's speed: recorded with the results."""


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parser(description: str, *, shapes: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", metavar="FILE", help="write the results to FILE")
    made.add_argument("--quick", action="store_true", help="few cases, short rounds")
    if shapes is not None:
        made.add_argument("--shapes", metavar=shapes, help="cases instead of the usual ones")
    return made


def add_threads(made: argparse.ArgumentParser, default: str | None = None) -> None:
    made.add_argument(
        "--threads", metavar="LIST", default=default, help="thread counts (default: 1 and 2)"
    )


def thread_counts(text: str | None) -> tuple[int, ...]:
    """Return the thread counts asked for, or 1 and 2 as far as there are CPUs."""
    if text:
        return parse_threads(text)
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:
        cpus = os.cpu_count() or 1
    return tuple(count for count in (1, 2) if count <= cpus)


def shapes_or(text: str | None, rank: int, usual: Sequence[tuple[int, ...]]) -> Any:
    return parse_shapes(text, rank) if text else tuple(usual)


def environment(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment that holds every library to `threads` threads and off the network."""
    count = str(threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OCTAVO_NUM_THREADS")
    settings = dict.fromkeys(names, count)
    settings.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TORCH_CPP_LOG_LEVEL="ERROR")
    return {**os.environ, **settings, **(more or {})}


def run_worker(
    script: str, arguments: Sequence[str], threads: int, more: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Run ``script --worker T ...`` and return the document it wrote; None if it failed.

    The worker's lines go straight to this process's output.
    """
    with tempfile.TemporaryDirectory(prefix="octavo-bench-") as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, str(Path(script).resolve()), "--worker", str(threads)]
        done = subprocess.run(
            [*command, *arguments, "--json", str(result)],
            env=environment(threads, more),
            check=False,
        )
        if done.returncode or not result.exists():
            say(f"worker with {threads} threads ended with exit code {done.returncode}")
            return None
        document: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return document


def merge(documents: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Join the documents of several workers: rows and failures in a row, the rest of the first."""
    first = documents[0]
    merged = {key: value for key, value in first.items() if key not in ("rows", "failed")}
    merged["rows"] = [row for document in documents for row in document["rows"]]
    merged["failed"] = [item for document in documents for item in document.get("failed", [])]
    merged["workers"] = [document["machine"] for document in documents]
    kept = {name: os.environ[name] for name in BLAS_SETTINGS if name in os.environ}
    return {**merged, "environment": kept, **more}


def run_all(
    script: str,
    arguments: Sequence[str],
    counts: Sequence[int],
    targets_of: Callable[[Sequence[dict[str, Any]]], list[Target]],
    json_path: str | None,
) -> int:
    """Run one worker per thread count, print the targets, write the JSON; return the exit code."""
    made = [run_worker(script, arguments, threads) for threads in counts]
    documents = [document for document in made if document is not None]
    if not documents:
        return 1
    targets = targets_of([row for document in documents for row in document["rows"]])
    say()
    say(format_table(targets))
    finish(json_path, merge(documents, targets=[target.to_json() for target in targets]))
    return 0 if len(documents) == len(counts) else 1


def announce(absent: Mapping[str, str]) -> None:
    for name, reason in absent.items():
        say(f"{name}: left out ({reason})")


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are loaded in this process."""
    names = ("torch", "onnxruntime", "openvino", "ctranslate2", "transformers", "onnx")
    loaded = {name: sys.modules.get(name) for name in names}
    return {
        name: str(getattr(module, "__version__", "?"))
        for name, module in loaded.items()
        if module is not None
    }


def finish(path: str | None, content: Mapping[str, Any]) -> None:
    if path:
        report.write_json(path, content)
