# SPDX-License-Identifier: Apache-2.0
"""``octavo bench --device``, and ``--compare`` for its files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from octavo.bench import compare as comparison
from octavo.bench.device import compare, document, run, table
from octavo.bench.device.clusters import Cluster
from octavo.bench.device.files import SystemFiles
from octavo.cli.console import Progress, paint, put, save_json, width

INTERRUPTED = 130


def measure(quick: bool, json_file: Path | None, plot: Path | None) -> int:
    """Measure this device, print what it does as it comes, and write what was asked for."""
    stream = sys.stderr if json_file is not None and str(json_file) == "-" else sys.stdout
    columns = width(stream)
    measurement = run.Measurement(run.QUICK if quick else run.FULL, SystemFiles())
    machine = measurement.machine
    put(f"{machine['cpu']}, {machine['system']}, tier {machine['tier']}", stream)
    shown: Cluster | None = None
    with Progress() as progress:

        def tell(cluster: Cluster, result: Any, done: float) -> None:
            nonlocal shown
            progress.clear()
            if cluster is not shown:
                put(f"\n{paint(table.heading(cluster), 'bold', stream)}", stream)
                put(table.header_line(columns), stream)
                shown = cluster
            put(table.row_line(result, columns), stream)
            progress(f"{cluster.name}, {result['case']}", done)

        progress("starting", 0.0)
        finished = True
        try:
            measurement.run(tell)
        except KeyboardInterrupt:
            finished = False
            measurement.interrupted()
    made = measurement.document()
    put("", stream)
    for line in table.summary(made):
        put(line, stream)
    if json_file is not None:
        save_json(json_file, made)
    if plot is not None and made["results"]:
        from octavo.report.device_figure import save_device

        save_device(made, plot)
    if not finished:
        return INTERRUPTED
    return 0 if made["results"] else 1


def compare_files(
    base: Any, head: Any, names: tuple[Path, Path], json_file: Path | None, bound: float | None
) -> int:
    """Print what became of each result of two device files; return 1 if one became too slow."""
    for file, name in ((base, names[0]), (head, names[1])):
        if not document.is_device(file):
            raise ValueError(f"{name}: not a device file, and the other one is")
        document.check(file, str(name))
    result = compare.compare(base, head)
    stream = sys.stderr if json_file is not None and str(json_file) == "-" else sys.stdout
    for line in compare.differences(base, head):
        put(line, stream)
    for line in compare.only_in(result):
        put(line, stream)
    put(compare.text(result, width(stream)), stream)
    if json_file is not None:
        save_json(json_file, result.to_json())
    return 1 if bound is not None and comparison.slower(result, bound) else 0
