# SPDX-License-Identifier: Apache-2.0
"""The site builds without a warning, and its reference leaves nothing public out."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import types
from typing import TYPE_CHECKING

import pytest

from doc_blocks import ROOT

if TYPE_CHECKING:
    from pathlib import Path

for needed in ("sphinx", "myst_parser", "furo"):
    pytest.importorskip(needed, reason="the site needs the extra `docs`")

PUBLIC = [
    "octavo",
    "octavo.functional",
    "octavo.nn",
    "octavo.models",
    "octavo.compression",
    "octavo.algorithms.measures",
    "octavo.algorithms.observers",
    "octavo.algorithms.pruning",
    "octavo.algorithms.sharing",
    "octavo.algorithms.smoothing",
    "octavo.data",
    "octavo.evaluation",
    "octavo.runtime",
    "octavo.tuning",
    "octavo.io",
    "octavo.lora",
    "octavo.report",
]
OPTIONAL = {
    "octavo.torch": "torch",
    "octavo.transformers": "transformers",
    "octavo.sentence_transformers": "sentence_transformers",
    "octavo.peft": "peft",
}
CONSTANTS = {"__version__", "CONFIGS", "MAX_BYTES"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "trees")]
    # Without pages of sources, which take a third of the time: `nox -s docs` has them.
    options += ["-D", "extensions=myst_parser,sphinx.ext.autodoc,sphinx.ext.napoleon"]
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder / "html")],
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def documented(site: Path) -> set[str]:
    """Full names that the reference describes."""
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    return {name for kind, items in inventory.items() if kind.startswith("py:") for name in items}


@pytest.mark.parametrize("module", [*PUBLIC, *OPTIONAL])
def test_the_reference_is_complete(module: str, documented: set[str]) -> None:
    package = OPTIONAL.get(module)
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{module} needs {package}")
    public = importlib.import_module(module)
    short = {name.rpartition(".")[2] for name in documented}
    for name in public.__all__:
        thing = getattr(public, name)
        if isinstance(thing, types.ModuleType) or name in CONSTANTS:
            continue
        assert name in short, f"{module}.{name} is in no page of docs/reference"


def test_docstrings_reach_the_pages(site: Path) -> None:
    page = (site / "reference" / "nn.html").read_text(encoding="utf-8")
    assert "from_float" in page
    assert "out_features, in_features" in page


def test_the_site_needs_no_network(site: Path) -> None:
    """No script, style, font or picture comes from elsewhere."""
    sources = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=[\"'](https?://[^\"']+)")
    for page in site.rglob("*.html"):
        assert sources.findall(page.read_text(encoding="utf-8")) == [], page.name


def test_the_extras_table_is_complete() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^([a-z]+) = \[", section, re.MULTILINE)) - {"dev"}
    table = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE))
    assert listed == extras
