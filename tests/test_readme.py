# SPDX-License-Identifier: Apache-2.0
"""The README's code runs, and the commands it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_python_blocks_run() -> None:
    code = blocks("python")
    assert code
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in code:
        exec(compile(block, str(README), "exec"), namespace)


def test_commands_exist() -> None:
    commands = sorted(set(re.findall(r"\boctavo ([a-z]+)", "\n".join(blocks("sh")))))
    assert commands
    for command in commands:
        code = f"import sys; from octavo.cli import main; sys.exit(main([{command!r}, '--help']))"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr


def test_the_first_screen_holds_the_two_commands() -> None:
    top = "\n".join(README.read_text(encoding="utf-8").splitlines()[:20])
    for command in ('pip install ".[demo]" && octavo demo', 'pip install ".[test]" && pytest'):
        assert command in top


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"])
def test_the_files_it_points_to_exist(name: str) -> None:
    assert (README.parent / name).is_file()
