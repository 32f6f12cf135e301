# SPDX-License-Identifier: Apache-2.0
"""``octavo bench``."""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from octavo.bench import compare as comparison
from octavo.bench import decoder, machine, pays, report, tflite
from octavo.bench.device.document import is_device
from octavo.bench.files import check_target
from octavo.bench.layers import layer_shapes
from octavo.bench.options import Options, parse_isas, parse_shapes, parse_threads
from octavo.bench.peers.worker import thread_counts
from octavo.bench.report import Row
from octavo.bench.run import KINDS, run_here, run_peers
from octavo.cli.console import Progress, paint, put, save_json, width
from octavo.cli.device import compare_files, measure

EXAMPLES = (
    "octavo bench --quick",
    "octavo bench --shapes 1x768x768,128x768x768 --threads 1,2",
    "octavo bench --peers --shapes 32x1024x1024 --json mine.json --plot mine.svg",
    "octavo bench --peers --layers-of path/to/model --rows 1,64",
    "octavo bench model path/to/bert --peers",
    "octavo bench --model path/to/llama.gguf --threads 1,2",
    "octavo bench --model path/to/model.tflite",
    "octavo bench --compare before.json after.json --fail-above 1.1",
    "octavo bench --device --json phone.json --plot phone.png",
)


class KindName(str, enum.Enum):
    """The benchmarks."""

    linear = "linear"
    quantize = "quantize"
    model = "model"


Name = Annotated[KindName, typer.Argument(metavar="[KIND]", help="linear, quantize or model.")]
Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        help="Model folder, GGUF or .tflite file, for 'model' (default: that of octavo demo).",
        show_default=False,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="The same as: model PATH.", show_default=False),
]
Shapes = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="MxNxK,... or ROWSxCOLUMNS,... or BATCHxTOKENS,..."),
]
LayersOf = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The shapes of that model's linear layers.")
]
Rows = Annotated[str, typer.Option(metavar="LIST", help="With --layers-of: the values of M.")]
Threads = Annotated[str | None, typer.Option(metavar="LIST", help="Thread counts, such as 1,2.")]
Isas = Annotated[
    str | None, typer.Option(metavar="LIST", help="Tiers to force, such as avx2; or all.")
]
Peers = Annotated[
    bool, typer.Option("--peers", help="Also time the other libraries that are installed.")
]
Only = Annotated[
    str, typer.Option(metavar="WORDS", help="With --peers: those with one of these words.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Few shapes, short rounds.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the results to FILE; -: to stdout."),
]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Draw the results: FILE.png or FILE.svg.")
]
Device = Annotated[
    bool,
    typer.Option("--device", help="What this device does, for each kind of its CPUs: a minute."),
]
Compare = Annotated[
    tuple[Path, Path] | None,
    typer.Option(metavar="BASE HEAD", help="Compare two result files instead of timing."),
]
FailAbove = Annotated[
    float | None,
    typer.Option(metavar="R", help="With --compare: exit 1 if a row is clearly slower than R."),
]


def command(
    kind: Name = KindName.linear,
    path: Folder = None,
    model: Model = None,
    shapes: Shapes = None,
    layers_of: LayersOf = None,
    rows: Rows = "1,128",
    threads: Threads = None,
    isa: Isas = None,
    peers: Peers = False,
    only: Only = "",
    quick: Quick = False,
    json_file: JsonFile = None,
    plot: Plot = None,
    device: Device = False,
    compare: Compare = None,
    fail_above: FailAbove = None,
) -> int:
    """Time the int8 kernels and say when int8 pays here.

    Each row stands against the machine's own limit. All engines take turns, the result of each is
    checked before it is timed, and one thread pool is awake at a time.
    """
    if compare is not None:
        return _compare(compare, json_file, fail_above)
    if model is not None:
        if path is not None or kind is KindName.quantize:
            raise typer.BadParameter("--model stands for KIND and PATH")
        kind, path = KindName.model, model
    name = kind.value
    if device:
        if name != "linear" or peers or any((path, shapes, layers_of, threads, isa)):
            raise typer.BadParameter("--device takes --quick, --json and --plot alone")
        _check_outputs(json_file, plot)
        return measure(quick, json_file, plot)
    if path is not None and name != "model":
        raise typer.BadParameter(f"it is for 'model' only, got {str(path)!r}", param_hint="PATH")
    if layers_of is not None and (shapes is not None or name != "linear"):
        raise typer.BadParameter("--layers-of is for 'linear', without --shapes")
    _check_outputs(json_file, plot)
    if path is not None and tflite.is_tflite(path):
        name, peers = "tflite", True  # LiteRT takes part where it is installed
    elif path is not None and decoder.is_decoder(path):
        name, peers = "decoder", True  # llama.cpp takes part where it is installed
    try:
        options = _options(name, shapes, threads, isa, quick, peers)
        counts = parse_threads(rows)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if layers_of is not None:
        options = replace(options, shapes=layer_shapes(layers_of, counts))
    options = replace(options, model=None if path is None else str(path))
    stream = sys.stderr if json_file is not None and str(json_file) == "-" else sys.stdout
    document = _run(name, options, only.split(",") if peers else None, stream)
    if json_file is not None:
        save_json(json_file, document)
    if plot is not None:
        from octavo.report.figures import save_latency

        save_latency(document["rows"], plot)
    return 0


def _options(
    name: str, shapes: str | None, threads: str | None, isa: str | None, quick: bool, peers: bool
) -> Options:
    """Parse what is to be timed; a ValueError is wrong usage."""
    kind = KINDS[name]
    usual = kind.quick if quick else ()
    counts = thread_counts() if peers else ()
    return Options(
        shapes=usual if shapes is None else parse_shapes(shapes, kind.rank),
        threads=counts if threads is None else parse_threads(threads),
        isas=() if isa is None else parse_isas(isa),
        rounds=3 if quick else 7,
        seconds=0.03 if quick else 0.3,
    )


def _check_outputs(json_file: Path | None, plot: Path | None) -> None:
    """Raise before anything is timed if the results could not be written."""
    if plot is not None:
        from octavo.report.figures import require_matplotlib

        if plot.suffix not in (".png", ".svg"):
            raise typer.BadParameter(f"expected FILE.png or FILE.svg, got {str(plot)!r}")
        require_matplotlib()
    for target in (json_file, plot):
        if target is not None and str(target) != "-":
            check_target(target.absolute())


def _run(name: str, options: Options, only: Sequence[str] | None, stream: Any) -> dict[str, Any]:
    """Measure, print the rows as they come and what they mean; return the document."""
    columns = width(stream)
    info = machine.describe()
    put(
        f"{info['cpu']}, {info['cpus']} CPUs; octavo {info['octavo']}, {info['backend']} backend",
        stream,
    )
    put(report.header_line(columns), stream)
    with Progress() as progress:
        progress("measuring the machine's limits" if only is None else "preparing", 0.0)

        def tell(rows: Sequence[Row], done: float) -> None:
            progress.clear()
            for row in rows:
                put(report.row_line(row, columns), stream)
            progress(rows[-1].case, done)

        if only is None:
            document = run_here(name, options, tell)
        else:
            document = run_peers(name, options, tell, only)
    _explain(name, document, only is not None, stream)
    return document


def _explain(name: str, document: dict[str, Any], peers: bool, stream: Any) -> None:
    """Print what was left out, the machine's limits, and when int8 pays."""
    for peer, reason in document.get("absent", {}).items():
        put(f"{peer}: left out ({reason})", stream)
    for line in document.get("failed", []):
        put(f"failed: {line}", stream)
    put("", stream)
    for limits in document.get("rooflines", [document["roofline"]]):
        put(
            f"{limits['isa']} x {limits['threads']}: {limits['dot_gops']:.0f} GOP/s int8 dot, "
            f"{limits['read_gbs']:.1f} GB/s read, {limits['copy_gbs']:.1f} GB/s copy "
            f"({limits['source']} probes)",
            stream,
        )
    if document["busy"]:
        put(paint(document["busy"], "bad", stream), stream)
    summaries = {"decoder": decoder.summary, "tflite": tflite.summary}
    if name in summaries:
        put("", stream)
        put(summaries[name](document["rows"]), stream)
        return
    found = pays.verdicts(document["rows"])
    if not found:
        return
    rivals = "NumPy's float32 (--peers adds other libraries)"
    if peers:
        rivals = "the fastest float32 of those above"
    elif name == "model":
        rivals = "the model's own float32 (--peers adds other libraries)"
    put(f"\n{paint('When int8 pays here', 'bold', stream)}, against {rivals}:", stream)
    put(pays.text(found, width(stream)), stream)


def _compare(files: tuple[Path, Path], json_file: Path | None, bound: float | None) -> int:
    found = [comparison.load(path) for path in files]
    if any(map(is_device, found)):
        return compare_files(found[0], found[1], files, json_file, bound)
    base, head = (comparison.check(one, path) for one, path in zip(found, files, strict=True))
    result = comparison.compare(base, head)
    stream = sys.stderr if json_file is not None and str(json_file) == "-" else sys.stdout
    for line in comparison.changed_machine(base, head):
        put(line, stream)
    put(comparison.text(result), stream)
    if json_file is not None:
        save_json(json_file, result.to_json())
    return 1 if bound is not None and comparison.slower(result, bound) else 0
