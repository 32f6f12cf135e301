# SPDX-License-Identifier: Apache-2.0
"""Every code block of the README and of the site runs, page by page, in the order of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import decoder_files
import doc_blocks
import model_files
import octavo
from doc_blocks import ROOT
from tflite_files import float_model, integer_model

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=NAMES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the pages call path/to/bert, llama, adapter, model.tflite."""
    model = model_files.write_random(tmp_path / "path" / "to" / "bert")
    model_files.write_tokenizer(model)
    llama = octavo.models.load(decoder_files.write_chat(tmp_path / "path" / "to" / "llama"))
    decoder_files.adapter(llama).save(tmp_path / "path" / "to" / "adapter")
    (tmp_path / "path" / "to" / "model.tflite").write_bytes(integer_model().bytes())
    (tmp_path / "path" / "to" / "float.tflite").write_bytes(float_model().bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


# peft asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@EVERY_PAGE
def test_blocks_run(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {"__name__": "page"}
    printed = ""
    tier, threads = octavo.runtime.get_isa(), octavo.runtime.get_num_threads()
    for block in doc_blocks.blocks(page):
        missing = doc_blocks.missing_packages(block)
        if missing:
            pytest.skip(f"the blocks from {block} on need {', '.join(missing)}")
        if block.language == "python":
            doc_blocks.run_python(block, namespace)
            printed = capsys.readouterr().out
        elif block.language == "sh":
            doc_blocks.run_shell(block, folder)
            printed = ""
        elif block.language == "text" and printed:
            assert doc_blocks.without_numbers(printed) == doc_blocks.without_numbers(block.code)
            printed = ""
    assert octavo.runtime.get_isa() == tier
    octavo.runtime.set_num_threads(threads)


@EVERY_PAGE
def test_no_block_escapes(page: Path) -> None:
    """A block runs, or Sphinx checks it, or it is marked as mere output."""
    for block in doc_blocks.blocks(page):
        directive = block.language.startswith("{")
        assert directive or block.language in {"python", "sh", "text"}, f"{block}: no language"


def test_the_pages_are_found() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/guides/pytorch.md"} <= set(NAMES)
    languages = [b.language for page in PAGES for b in doc_blocks.blocks(page)]
    assert languages.count("python") > 10
    assert languages.count("sh") > 5


def test_a_broken_block_is_noticed(tmp_path: Path, folder: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# T\n\n```python\nassert 1 == 2\n```\n\n```sh\nfrobnicate && octavo nonsense\n```\n"
    )
    python, shell = doc_blocks.blocks(page)
    assert (python.line, shell.line) == (4, 8)
    with pytest.raises(AssertionError):
        doc_blocks.run_python(python, {})
    with pytest.raises(AssertionError, match="who runs 'frobnicate'"):
        doc_blocks.run_shell(shell, folder)
    wrong = doc_blocks.Block(page, 8, "sh", "octavo nonsense\n")
    with pytest.raises(AssertionError, match="octavo nonsense"):
        doc_blocks.run_shell(wrong, folder)


def test_commands_are_taken_apart() -> None:
    code = 'pip install ".[x]" && octavo demo  # why\nOCTAVO_ISA=avx2 octavo info \\\n  --json\n'
    assert doc_blocks.commands(code) == [
        'pip install ".[x]"',
        "octavo demo",
        "OCTAVO_ISA=avx2 octavo info --json",
    ]
