# SPDX-License-Identifier: Apache-2.0
"""The commands put together, and what becomes of an error."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import typer
import typer.main

from octavo import __version__
from octavo.cli import bench, chat, compress, demo, evaluate, generate, info, report, tune
from octavo.cli.console import colours, escaping, paint, put, width

FAILURE, INTERRUPTED = 1, 130
_PLAIN_BELOW = 60
"""Terminals with fewer columns get help without frames."""

_SUMMARY = "Fold float models into int8 and run them on the CPU."
_EXAMPLES = (
    "octavo demo",
    "octavo compress path/to/bert out",
    "octavo bench --shapes 1x768x768,128x768x768",
    "octavo report report.html --model path/to/bert",
)
_COMMANDS: tuple[tuple[str, ModuleType], ...] = (
    ("compress", compress),
    ("generate", generate),
    ("chat", chat),
    ("info", info),
    ("bench", bench),
    ("demo", demo),
    ("evaluate", evaluate),
    ("report", report),
    ("tune", tune),
)

# Errors whose message says it all; any other kind shows its name too.
_EXPECTED = (OSError, ValueError, TypeError, ImportError, ArithmeticError)


@dataclass
class Settings:
    """What the options before the command set."""

    traceback: bool = False


def _epilog(examples: Sequence[str], pretty: bool) -> str:
    if pretty:
        return "\n\n".join(["[bold]Examples[/bold]", *(f"$ {line}" for line in examples)])
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])


def _show_version(wanted: bool) -> None:
    if wanted:
        put(f"octavo {__version__}")
        raise typer.Exit


def build(settings: Settings, pretty: bool) -> Any:
    """Return the command line; `pretty` has frames and colours in its help."""
    app = typer.Typer(
        name="octavo",
        help=_SUMMARY,
        epilog=_epilog(_EXAMPLES, pretty),
        rich_markup_mode="rich" if pretty else None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def start(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=_show_version, is_eager=True, help="Show the version."
            ),
        ] = False,
        show_traceback: Annotated[
            bool, typer.Option("--traceback", help="Show where in the code an error came from.")
        ] = False,
    ) -> None:
        del version
        settings.traceback = show_traceback

    app.callback()(start)
    for name, module in _COMMANDS:
        app.command(name, epilog=_epilog(module.EXAMPLES, pretty))(module.command)
    return typer.main.get_command(app)


@escaping()
def run(words: Sequence[str]) -> int:
    """Run the command line with the given words; return the exit code."""
    settings = Settings()
    columns = width(sys.stdout)
    pretty = colours(sys.stdout) and columns is not None and columns >= _PLAIN_BELOW
    code: Any
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            command = build(settings, pretty)
            code = command.main(args=list(words), prog_name="octavo", standalone_mode=False)
    except SystemExit as stop:
        code = stop.code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # the user gets a message, whatever it is
        code = _report(error, settings)
    if code == INTERRUPTED:
        put("octavo: interrupted; nothing was left half-written", sys.stderr)
    return code if isinstance(code, int) else 0


def _warn(message: Warning | str, *_: Any) -> None:
    put(f"{paint('octavo: warning:', 'bad', sys.stderr)} {message}", sys.stderr)


def _report(error: Exception, settings: Settings) -> int:
    """Write what went wrong to stderr; return the exit code."""
    if settings.traceback:
        traceback.print_exception(error)
    show = getattr(error, "show", None)
    if show is not None and hasattr(error, "exit_code"):
        show()  # wrong usage: the parser's own words
        return int(error.exit_code)
    kind = "" if isinstance(error, _EXPECTED) else f"{type(error).__name__}: "
    text = "out of memory" if isinstance(error, MemoryError) else f"{kind}{error}"
    put(f"{paint('octavo: error:', 'bad', sys.stderr)} {text}", sys.stderr)
    return FAILURE
