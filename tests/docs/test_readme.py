# SPDX-License-Identifier: Apache-2.0
"""The README's first screen and its links; `test_blocks.py` runs its code."""

from __future__ import annotations

import re

import pytest

from doc_blocks import ROOT

README = ROOT / "README.md"


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_the_first_screen_holds_the_two_commands(name: str) -> None:
    top = "\n".join((ROOT / name).read_text(encoding="utf-8").splitlines()[:20])
    for command in ('pip install ".[demo]" && octavo demo', 'pip install ".[test]" && pytest'):
        assert command in top


@pytest.mark.parametrize("name", ["README.md", "README.ko.md", "CONTRIBUTING.md"])
def test_the_files_it_points_to_exist(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert targets or name == "CONTRIBUTING.md"
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_every_setting_is_listed() -> None:
    """The variables that the package reads stand in the table, and no others."""
    read = set()
    for source in ("_backend.py", "runtime.py"):
        text = (ROOT / "python" / "octavo" / source).read_text(encoding="utf-8")
        read |= set(re.findall(r"(?:environ\.get|_number_in)\(\s*\"(OCTAVO_\w+)\"", text))
    table = re.findall(r"^\| `(OCTAVO_\w+)(=1)?`", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert read == {name for name, installing in table if not installing}
