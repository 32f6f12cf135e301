# SPDX-License-Identifier: Apache-2.0
"""Models with weights that somebody trained, on sentences that somebody wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_files
import octavo
from grids import slow
from octavo.algorithms.measures import cosines
from octavo.models.pooling import POOLINGS, pool

pytest.importorskip("tokenizers", reason="texts are cut into tokens by it")

DOCS = Path(__file__).parents[2] / "docs"
MODELS = {"minilm": model_files.minilm, "mpnet": model_files.mpnet}


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """Lines of the documentation."""
    lines = [line for page in sorted(DOCS.rglob("*.md")) for line in page.read_text().splitlines()]
    return [line for line in lines if re.fullmatch(r"[A-Z][^`|\[\]*]{40,}", line)][:150]


@pytest.fixture(scope="module", params=["minilm", *slow("mpnet")])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.filterwarnings("ignore")
def test_floats_are_those_of_the_reference(folder: Path, sentences: list[str]) -> None:
    torch = pytest.importorskip("torch", reason="the reference needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="it is the reference")
    texts = [*sentences[:30], "", "word " * 600, "\u96ea \U0001f600 \x00 \x07"]
    model = octavo.models.load(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        wanted = transformers.AutoModel.from_pretrained(folder).eval()(**tokens)[0].numpy()
    mask = tokens["attention_mask"].numpy()
    states = model(tokens["input_ids"].numpy(), mask)
    kept = mask.astype(bool)
    np.testing.assert_allclose(states[kept], wanted[kept], rtol=0, atol=1e-4)
    peer = pytest.importorskip("sentence_transformers", reason="it is the reference")
    reference = peer.SentenceTransformer(str(folder), device="cpu")
    from octavo.sentence_transformers import SentenceTransformer

    vectors = reference.encode(texts)
    np.testing.assert_allclose(model.encode(texts), vectors, rtol=0, atol=1e-5)
    ours = SentenceTransformer(folder).encode(texts)
    np.testing.assert_allclose(ours, vectors, rtol=0, atol=1e-5)


@pytest.mark.parametrize("recipe", ["int8", "int8-smooth"])
def test_int8_is_near_however_vectors_are_pooled(
    folder: Path, sentences: list[str], recipe: str
) -> None:
    model = octavo.models.load(folder)
    texts, data = sentences[:100], sentences[100:]
    small = octavo.compress(model, recipe, calibration=None if recipe == "int8" else data)
    before, after = (one.encode(texts, output="tokens") for one in (model, small))

    def near(*modes: str) -> Any:
        one, two = (
            np.concatenate([pool(states[None], None, modes) for states in rows])
            for rows in (before, after)
        )
        return cosines(one, two).mean()

    found = {modes: near(*modes) for modes in (*((mode,) for mode in POOLINGS), tuple(POOLINGS))}
    # Activations are larger by far where a text begins and ends, and nothing else averages them.
    low = {("cls",): 0.997, ("lasttoken",): 0.997} if recipe == "int8" else {}
    assert {modes: value for modes, value in found.items() if value < low.get(modes, 0.998)} == {}
