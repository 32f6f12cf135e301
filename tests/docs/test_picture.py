# SPDX-License-Identifier: Apache-2.0
"""The first page's picture is drawn of the figures beside it."""

from __future__ import annotations

import importlib.util
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from doc_blocks import ROOT

SCRIPT = ROOT / "tools" / "picture.py"


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("picture", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_what_was_measured(script: Any) -> None:
    measured = json.loads((script.FIGURES / "minilm.json").read_text(encoding="utf-8"))
    drawn = (script.FIGURES / "minilm.svg").read_text(encoding="utf-8")
    assert drawn == script.picture(measured)
    said = [element.text for element in ElementTree.fromstring(drawn).iter() if element.text]
    for name in ("octavo float32", "octavo int8"):
        assert f"{min(measured['seconds'][name]):.2f} s" in said
    for size in measured["bytes"].values():
        assert f"{size / 1e6:.1f} MB" in said
    assert any(measured["machine"]["cpu"] in line for line in said)
    assert len(measured["cosines"]) == measured["texts"]
