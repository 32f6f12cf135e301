# SPDX-License-Identifier: Apache-2.0
"""Worker processes: one per thread count or tier, because libraries read both when they load.

The parent sends a :class:`Request` as the only argument; the worker answers in lines of JSON on
its standard output, which nothing else can reach: whatever the libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from octavo import runtime
from octavo.bench import report, roofline

Tell = Callable[[Sequence[report.Row]], None]
"""Gets the rows of one case as soon as they are measured."""

BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE")
"""Settings of the machine's own that change NumPy's speed: recorded with the results."""

_LIBRARIES = (
    *("torch", "onnxruntime", "openvino", "ctranslate2", "deepsparse", "transformers", "onnx"),
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
    command = [sys.executable, "-m", "octavo.bench.peers.worker", json.dumps(asdict(request))]
    answer: dict[str, Any] = {}
    with subprocess.Popen(
        command,
        env=environment(request.threads, more),
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # Ctrl-C is for this process, which then ends the worker.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                answer = json.loads(line)
                if "rows" in answer:
                    tell([report.row_of(row) for row in answer["rows"]])
        except BaseException:
            process.kill()
            raise
    if process.returncode or "document" not in answer:
        reason = answer.get("error") or f"exit code {process.returncode}"
        raise WorkerError(f"the benchmark with {request.threads} threads failed: {reason}")
    return answer["document"]


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


def main(argument: str) -> int:
    """Answer the request that is the process's argument."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    given = json.loads(argument)
    given["shapes"] = tuple(tuple(shape) for shape in given["shapes"])
    request = Request(**{**given, "only": tuple(given["only"])})
    try:
        document = work(request, lambda rows: send({"rows": [row.to_json() for row in rows]}))
    except Exception as error:  # the parent says it; a traceback would help nobody
        send({"error": f"{type(error).__name__}: {error}"})
        return 1
    send({"document": document})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
