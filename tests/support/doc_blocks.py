# SPDX-License-Identifier: Apache-2.0
"""Fenced code blocks of the Markdown pages: finding them, and running them as a reader would."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^(```+)([^\n`]*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)

# Commands that install, build or test the project itself, and who runs them.
RUN_ELSEWHERE = {
    "pip install .": "the wheel jobs",
    'pip install ".[test]"': ".ci/run, the README's test command",
    'pip install ".[demo]"': "tests/cli/test_demo.py runs the demo",
    'pip install ".[report]"': "part of the extra `test`",
    'pip install ".[cli,models]"': "part of the extra `test`",
    'pip install ".[torch]"': ".ci/run, with the CPU build of PyTorch",
    'pip install ".[lora]"': ".ci/run, with the CPU build of PyTorch",
    'pip install ".[transformers]"': ".ci/run, with the CPU build of PyTorch",
    'pip install ".[bench]"': "tests/bench/test_scripts.py; the other engines are gigabytes",
    "python bench/linear.py --json linear.json": "tests/bench/test_scripts.py, with small shapes",
    'pip install -e ".[dev]"': "nox -s lint",
    "nox": "its sessions are the steps of .ci/run",
    "pytest": ".ci/run, the README's test command",
    "pytest tests/kernels tests/functional tests/nn": ".ci/run, on every tier",
    "cmake --preset release": ".ci/run builds the same for wheels",
    "cmake --build --preset release": ".ci/run builds the same for wheels",
    "build/release/tests/cpp/test_kernels --bench gemm_s8": "a time; .ci/run checks what is timed",
    "cmake --workflow --preset dev": ".ci/run builds and runs the same targets under sanitizers",
    "cmake --workflow --preset emulate": "nox -s nightly, under sanitizers",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order; the language of a directive is like ``{include}``."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 2, match[2].strip(), match[3])
        for match in _FENCE.finditer(text)
    ]


def commands(code: str) -> list[str]:
    """The single commands of a shell block, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        lexer = shlex.shlex(line, posix=False, punctuation_chars="&")
        lexer.whitespace_split = True
        words = " ".join(lexer).split(" && ")
        found += [command.strip() for command in words if command.strip()]
    return found


def missing_packages(block: Block) -> list[str]:
    """Packages that a block needs, and that are not installed."""
    return sorted({name for name in _packages(block) if importlib.util.find_spec(name) is None})


def _packages(block: Block) -> Iterator[str]:
    if block.language == "sh":
        if any(_is_octavo(command) for command in commands(block.code)):
            yield "typer"
    elif block.language == "python":
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield (node.module or "").partition(".")[0]


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block; a traceback points at the line of the page."""
    code = "\n" * (block.line - 1) + block.code
    exec(compile(code, str(block.page), "exec"), namespace)


def without_numbers(text: str) -> str:
    """What a page shows of an output may differ in numbers, and in nothing else."""
    return re.sub(r"\d+(\.\d+)?", "N", text).strip()


def run_shell(block: Block, folder: Path) -> None:
    """Run the commands of a block that call octavo; every other one must be accounted for."""
    for command in commands(block.code):
        if _is_octavo(command):
            _run_octavo(smaller(shlex.split(command)), folder, block)
        else:
            assert command in RUN_ELSEWHERE, f"{block}: who runs {command!r}?"


def _is_octavo(command: str) -> bool:
    return "octavo" in shlex.split(command)[:2] and not command.startswith("pip ")


def smaller(words: list[str]) -> list[str]:
    """The same command on a model and on shapes that take no time."""
    if words[-2:] == ["octavo", "demo"]:
        return [*words, "path/to/bert"]
    if "report" in words or ("bench" in words and "--compare" not in words):
        words = [*words, "--quick"]
    if "--shapes" in words:
        at = words.index("--shapes") + 1
        words[at] = ",".join(f"{1 + i}x64x64" for i in range(words[at].count(",") + 1))
    return words


# `octavo tune`, with less time for each measurement, on smaller layers and reads.
_TUNE = """
import functools, sys
import octavo.bench.tune as tune
tune.measure_tier = functools.partial(tune.measure_tier, seconds=0.001)
tune._LARGEST_SIZE, tune._TIMES_L2 = 128, (1, 2)
from octavo.cli import main
sys.exit(main(["tune"]))
"""


def _run_octavo(words: list[str], folder: Path, block: Block) -> None:
    command = " ".join(words)
    settings = {"OCTAVO_TUNING": str(folder / "tuning.json")}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        settings[name] = value
    run = subprocess.run(
        [sys.executable, *(("-c", _TUNE) if words == ["octavo", "tune"] else ("-m", *words))],
        cwd=folder,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{block}: {command}\n{run.stdout}{run.stderr}"
