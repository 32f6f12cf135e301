# SPDX-License-Identifier: Apache-2.0
"""The command line on terminals: colours, few columns, one line of progress with the time left."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import model_files
from octavo import cli, timing
from octavo.bench import compare, pays, report
from octavo.cli import console
from octavo.demo.table import align

if TYPE_CHECKING:
    from pathlib import Path

ESCAPE = "\x1b["


def on_terminal(columns: int, *words: Any, **settings: str) -> tuple[int, str]:
    """Run the command with a terminal of that width as all three streams."""
    if os.name != "posix":
        pytest.skip("needs pseudo-terminals")
    import fcntl
    import pty
    import termios

    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "octavo", *map(str, words)],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**kept, "TERM": "xterm-256color", **settings},
    )
    os.close(side)
    parts = []
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(main)
    return process.wait(), b"".join(parts).decode("utf-8").replace("\r\n", "\n")


def test_colours_only_where_they_are_wanted() -> None:
    code, out = on_terminal(80, "info")
    assert code == 0
    assert f"{ESCAPE}1mbackend{ESCAPE}0m" in out
    code, plain = on_terminal(80, "info", NO_COLOR="1")
    assert code == 0
    assert ESCAPE not in plain
    assert plain == re.sub(r"\x1b\[\d*m", "", out)
    assert ESCAPE not in on_terminal(80, "info", TERM="dumb")[1]
    code, out = on_terminal(80, "compress", "absent", "out")
    assert code == 1
    assert f"{ESCAPE}1;31moctavo: error:{ESCAPE}0m no such folder" in out


def test_help_has_frames_on_a_wide_terminal_alone() -> None:
    wide, narrow = on_terminal(100, "compress", "--help"), on_terminal(20, "compress", "--help")
    assert wide[0] == narrow[0] == 0
    assert "╭" in wide[1]
    assert ESCAPE in wide[1]
    assert "╭" not in narrow[1]
    for text in (wide[1], narrow[1]):
        assert "octavo compress path/to/bert out" in " ".join(text.split())
    code, plain = on_terminal(100, "compress", "--help", NO_COLOR="1")
    assert code == 0
    assert ESCAPE not in plain


def test_twenty_columns(tmp_path: Path) -> None:
    code, out = on_terminal(20, "info")
    assert code == 0
    lines = re.sub(r"\x1b\[\d*m", "", out).splitlines()
    words = [word for word in out.split() if len(word) > 18]
    assert all(len(line) <= 20 for line in lines), words
    folder = model_files.write_random(tmp_path / "float")
    code, out = on_terminal(20, "compress", folder, tmp_path / "int8")
    assert code == 0
    shown = [piece for piece in out.split("\r\x1b[K") if piece][:-1]
    assert len(shown) > 20
    assert max(map(len, shown)) == 19


def test_progress_only_on_a_terminal(
    tmp_path: Path, terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = model_files.write_random(tmp_path / "float")
    for stream, shown in ((terminal, True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert cli.main(["compress", str(folder), str(tmp_path / "int8")]) == 0
        assert ("encoder.layer.1.output.dense" in stream.getvalue()) is shown
        assert stream.getvalue().endswith("\r\x1b[K" if shown else "")
        shares = [int(share) for share in re.findall(r"(\d+)%", stream.getvalue())]
        assert shares == sorted(shares)
        assert bool(shares) is shown
        if shown:
            assert shares[0] < 50 < shares[-1] <= 100


def test_time_left(terminal: Any) -> None:
    now = [0.0]
    with console.Progress(terminal, lambda: now[0]) as progress:
        progress("first", 0.0)
        now[0] = 10.0
        progress("second", 0.1)
        progress("no share")
        progress("x" * 500, 0.5)
    first, second, bare, long, after = terminal.getvalue().split("\r\x1b[K")[1:]
    assert (first, second, bare, after) == (
        "  0%  first",
        " 10%  1:30 left  second",
        "no share",
        "",
    )
    assert len(long) == 79
    assert long.startswith(" 50%  0:10 left  x")


@pytest.mark.parametrize("columns", [None, 200, 80, 75, 20, 1])
def test_bench_rows_fit(columns: int | None) -> None:
    row = report.make_row(
        ("linear", "1x8x8", "octavo", "avx2", 1),
        timing.Timing((1e-3, 2e-3)),
        (2_000_000, 4_000_000),
        limit=1e-3,
        numpy=timing.Timing((4e-3,)),
    )
    text = report.row_line(row, columns)
    for part in ("1x8x8", "octavo", "1.50 ms", "2.67x"):
        assert part in text
    assert ("GB/s" in report.header_line(columns)) == (columns is None or columns > 150)
    if columns is not None and columns >= 18:
        assert max(map(len, text.splitlines())) <= columns


def test_tables_are_stacked_on_narrow_terminals() -> None:
    rows = [["weights", "MB", ""], ["float32", "90.9", ""], ["int8", "23.0", "3.95x smaller"]]
    assert align(rows, 80) == align(rows)
    assert align(rows, 20) == ["float32", "  MB 90.9", "int8", "  MB 23.0", "   3.95x smaller"]
    row = {"bench": "linear", "case": "1x8x8", "isa": "-", "threads": 1, "engine": "octavo"}
    ours = {**row, "seconds": 1.0, "low": 0.9, "high": 1.1}
    found = pays.verdicts([ours, {**ours, "engine": "numpy float32", "seconds": 2.0}])
    assert "1x8x8 T=1:\n  2.00x" in pays.text(found, 20)
    assert "numpy float32" in pays.text(found, 200)
    assert compare.geometric_mean([v.ratio for v in found]) == 2.0
