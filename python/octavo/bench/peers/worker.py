# SPDX-License-Identifier: Apache-2.0
"""Worker processes: one per thread count or tier, because libraries read both when they load.

The parent sends a :class:`Request`; the worker answers with rows as they come, then a document.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from octavo import runtime
from octavo.bench import report, roofline
from octavo.bench.children import Child, ChildError, Send, serve

Tell = Callable[[Sequence[report.Row]], None]
"""Gets the rows of one case as soon as they are measured."""

BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE")
"""Settings of the machine's own that change NumPy's speed: recorded with the results."""

_LIBRARIES = (
    *(
        "torch",
        "onnxruntime",
        "openvino",
        "ctranslate2",
        "deepsparse",
        "transformers",
        "onnx",
        "llama_cpp",
    ),
)


class WorkerError(RuntimeError):
    """A worker ended before it had an answer."""


@dataclass(frozen=True)
class Request:
    """What one worker measures; `model`, `workdir` and `texts` are for "model"."""

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    threads: int
    only: tuple[str, ...] = ()
    quick: bool = False
    model: str | None = None
    workdir: str | None = None
    texts: str | None = None

    def wants(self, name: str) -> bool:
        """Whether the peer of that name takes part."""
        words = [word for word in self.only if word]
        return not words or any(word in name for word in words)


def thread_counts() -> tuple[int, ...]:
    """Return 1 and 2, as far as this process may use so many CPUs."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:
        cpus = os.cpu_count() or 1
    return tuple(count for count in (1, 2) if count <= cpus)


def environment(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment that holds every library to `threads` threads and off the network."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OCTAVO_NUM_THREADS")
    settings = dict.fromkeys(names, str(threads))
    settings.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TORCH_CPP_LOG_LEVEL="ERROR")
    return {**os.environ, **settings, **(more or {})}


def launch(request: Request, tell: Tell, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a worker, with some more environment variables, and return its document.

    `tell` gets the rows of each case as they come.
    """
    document = None
    settings = environment(request.threads, more)
    try:
        with Child("octavo.bench.peers.worker", asdict(request), settings) as child:
            for answer in child.answers():
                if "rows" in answer:
                    tell([report.row_of(row) for row in answer["rows"]])
                document = answer.get("document")
    except ChildError as error:
        threads = request.threads
        raise WorkerError(f"the benchmark with {threads} threads failed: {error}") from None
    if document is None:
        raise WorkerError(f"the benchmark with {request.threads} threads gave no result")
    return cast("dict[str, Any]", document)


def merge(documents: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Join the documents of several workers: rows and failures in a row, the rest of the first."""
    first = documents[0]
    merged = {key: value for key, value in first.items() if key not in ("rows", "failed")}
    merged["rows"] = [row for document in documents for row in document["rows"]]
    merged["failed"] = [item for document in documents for item in document.get("failed", [])]
    merged["rooflines"] = [document["roofline"] for document in documents if "roofline" in document]
    merged["workers"] = [document["machine"] for document in documents]
    kept = {name: os.environ[name] for name in BLAS_SETTINGS if name in os.environ}
    return {**merged, "environment": kept, **more}


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are loaded in this process."""
    loaded = {name: sys.modules.get(name) for name in _LIBRARIES}
    return {
        name: str(getattr(module, "__version__", "?"))
        for name, module in loaded.items()
        if module is not None
    }


def work(request: Request, tell: Tell) -> dict[str, Any]:
    """Measure `request` in this process, which must have been started for it."""
    runtime.set_num_threads(request.threads)
    rows: list[report.Row] = []

    def keep(made: Sequence[report.Row]) -> None:
        rows.extend(made)
        tell(made)

    module = importlib.import_module(f"octavo.bench.peers.{request.kind}")
    more = module.measure(request, keep)
    limits = roofline.measure(nbytes=(4 if request.quick else 64) << 20)
    settings = {"quick": request.quick, "peers": True}
    return report.document(
        request.kind, rows, settings, roofline=limits, versions=versions(), **more
    )


def _answer(given: dict[str, Any], send: Send) -> None:
    given["shapes"] = tuple(tuple(shape) for shape in given["shapes"])
    request = Request(**{**given, "only": tuple(given["only"])})
    document = work(request, lambda rows: send({"rows": [row.to_json() for row in rows]}))
    send({"document": document})


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], _answer))
