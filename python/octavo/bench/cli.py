# SPDX-License-Identifier: Apache-2.0
"""The ``octavo bench`` command."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

from octavo.bench import linear, machine, model, quantize, report, roofline
from octavo.bench.options import Options, parse_isas, parse_shapes, parse_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Kind(NamedTuple):
    """One benchmark of the command: its run function, rank and quick shapes."""

    run: Callable[[Options], Iterator[report.Row]]
    rank: int
    quick: tuple[tuple[int, ...], ...]


KINDS = {
    "linear": Kind(linear.run, 3, ((1, 384, 384), (32, 384, 384), (128, 768, 768))),
    "quantize": Kind(quantize.run, 2, ((512, 768),)),
    "model": Kind(model.run, 2, ((1, 16),)),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``octavo bench``."""
    parser = argparse.ArgumentParser(
        prog="octavo bench",
        description="Time the int8 kernels, each row against the machine's own limit.",
    )
    parser.add_argument("kind", nargs="?", default="linear", choices=sorted(KINDS))
    parser.add_argument(
        "path", nargs="?", help="model folder, for 'model' (default: that of octavo demo)"
    )
    parser.add_argument(
        "--shapes", metavar="LIST", help="MxNxK,... (linear), ROWSxCOLUMNS,... or BATCHxTOKENS,..."
    )
    parser.add_argument("--threads", metavar="LIST", help="thread counts, such as 1,2")
    parser.add_argument("--isa", metavar="LIST", help="tiers to force, such as avx2; or all")
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE")
    parser.add_argument("--quick", action="store_true", help="few shapes, short rounds")
    return parser


def _options(arguments: argparse.Namespace, kind: Kind) -> Options:
    quick = bool(arguments.quick)
    shapes = kind.quick if quick else ()
    return Options(
        shapes=parse_shapes(arguments.shapes, kind.rank) if arguments.shapes else shapes,
        threads=parse_threads(arguments.threads) if arguments.threads else (),
        isas=parse_isas(arguments.isa) if arguments.isa else (),
        rounds=3 if quick else 7,
        seconds=0.03 if quick else 0.3,
        model=arguments.path,
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``octavo bench`` with the given arguments; return the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after ``octavo bench`` (default: those of the process).

    Returns
    -------
    int
        0; 2 for arguments that make no sense.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.path is not None and arguments.kind != "model":
        parser.error(f"PATH is for 'model' only, got {arguments.path!r}")
    kind = KINDS[arguments.kind]
    try:
        options = _options(arguments, kind)
    except ValueError as error:
        parser.error(str(error))
    info = machine.describe()
    limits = roofline.measure(nbytes=(4 if arguments.quick else 64) << 20)
    _say(f"{info['cpu']}, {info['cpus']} CPUs; octavo {info['octavo']}, {info['backend']} backend")
    _say(
        f"{limits['isa']} x {limits['threads']}: {limits['dot_gops']:.0f} GOP/s int8 dot, "
        f"{limits['read_gbs']:.1f} GB/s read, {limits['copy_gbs']:.1f} GB/s copy "
        f"({limits['source']} probes)"
    )
    _say(report.header_line())
    rows = []
    for row in kind.run(options):
        rows.append(row)
        _say(report.row_line(row))
    if arguments.json:
        settings = {"rounds": options.rounds, "seconds": options.seconds, "quick": arguments.quick}
        content = report.document(arguments.kind, rows, settings, roofline=limits)
        report.write_json(arguments.json, content)
    return 0
