# SPDX-License-Identifier: Apache-2.0
"""What all scripts do: their options, workers of the package or of their own, results."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.targets import Target, format_table
from octavo.bench import report
from octavo.bench.options import parse_shapes, parse_threads
from octavo.bench.peers.worker import (
    Request,
    WorkerError,
    environment,
    launch,
    merge,
    thread_counts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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


def counts_or_usual(text: str | None) -> tuple[int, ...]:
    """Return the thread counts asked for, or 1 and 2 as far as there are CPUs."""
    return parse_threads(text) if text else thread_counts()


def shapes_or(text: str | None, rank: int, usual: Sequence[tuple[int, ...]]) -> Any:
    return parse_shapes(text, rank) if text else tuple(usual)


def run_request(request: Request, more: Mapping[str, str] | None = None) -> Any:
    """Run one of the package's workers, print its rows, return its document; None if it failed."""

    def tell(rows: Sequence[report.Row]) -> None:
        for row in sorted(rows, key=lambda row: row.seconds):
            cosine = row.extra.get("cosine")
            say(report.row_line(row) + ("" if cosine is None else f"  cosine {cosine:.4f}"))
        say()

    try:
        document = launch(request, tell, more)
    except WorkerError as error:
        say(str(error))
        return None
    announce(document["absent"])
    for line in document["failed"]:
        say(f"failed: {line}")
    return document


def run_script(script: str, arguments: Sequence[str], threads: int) -> Any:
    """Run ``script --worker T ...`` and return the document it wrote; None if it failed.

    The worker's lines go straight to this process's output.
    """
    with tempfile.TemporaryDirectory(prefix="octavo-bench-") as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, str(Path(script).resolve()), "--worker", str(threads)]
        done = subprocess.run(
            [*command, *arguments, "--json", str(result)], env=environment(threads), check=False
        )
        if done.returncode or not result.exists():
            say(f"worker with {threads} threads ended with exit code {done.returncode}")
            return None
        return json.loads(result.read_text(encoding="utf-8"))


def main_of_script(
    argv: Sequence[str] | None,
    script: str,
    description: str,
    work: Callable[[int, Any, bool], Mapping[str, Any]],
    usual: Callable[[bool], Sequence[tuple[int, ...]]],
    targets_of: Callable[[Sequence[dict[str, Any]]], list[Target]],
    threads: str,
) -> int:
    """Be the ``main`` of a script over (M, N, K) that is its own worker; return the exit code.

    ``work(threads, shapes, quick)`` measures in this process and returns the document;
    ``usual(quick)`` gives the shapes where none are asked for.
    """
    made = parser(description, shapes="MxNxK,...")
    add_threads(made, threads)
    made.add_argument("--worker", type=int, metavar="T", help="measure here, with T threads")
    arguments = made.parse_args(argv)
    shapes = shapes_or(arguments.shapes, 3, usual(arguments.quick))
    if arguments.worker:
        finish(arguments.json, work(arguments.worker, shapes, arguments.quick))
        return 0
    passed = ["--shapes", ",".join("x".join(map(str, shape)) for shape in shapes)]
    passed += ["--quick"] * arguments.quick
    say(report.header_line())
    return run_all(
        partial(run_script, script, passed),
        counts_or_usual(arguments.threads),
        targets_of,
        arguments.json,
    )


def run_all(
    run_one: Callable[[int], Any],
    counts: Sequence[int],
    targets_of: Callable[[Sequence[dict[str, Any]]], list[Target]],
    json_path: str | None,
) -> int:
    """Run one worker per thread count, print the targets, write the JSON; return the exit code."""
    made = [run_one(threads) for threads in counts]
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


def finish(path: str | None, content: Mapping[str, Any]) -> None:
    if path:
        report.write_json(path, content)
