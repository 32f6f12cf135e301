# SPDX-License-Identifier: Apache-2.0
"""The ``octavo`` command, one module per subcommand; it needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

FAILURE = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv`, or the process's arguments; return the exit code.

    It is 0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.

    Examples
    --------
    >>> from octavo.cli import main
    >>> from octavo import __version__
    >>> main(["--version"]) == 0  # doctest: +ELLIPSIS
    octavo ...
    True
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        from octavo.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "octavo":
            raise
        sys.stderr.write(
            f"octavo: error: the command line needs the package {error.name!r}: "
            'pip install "octavo[cli]"\n'
        )
        return FAILURE
    return run(words)
