# SPDX-License-Identifier: Apache-2.0
"""Rows of int8 models come in the order given, and no bit of one depends on the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import model_files
import octavo
from reference import assert_same_bits

pytest.importorskip("tokenizers", reason="texts are cut into tokens by it")

WORDS = ["the", "a", "and", ".", ",", "of", "else"]
# With BLAS too, outlier columns of so few outputs are multiplied row by row.
SMOOTH = {"quantize": {"outliers": 2.0, "smooth": 0.5}}
RECIPES = ["int8", SMOOTH, "int8-static", "sparse50-int8", {"quantize": "int4"}]


def texts(count: int = 24) -> list[str]:
    """Texts of 0 to 23 words, in any order."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, length)) for length in rng.permutation(count)]


@pytest.fixture(scope="module", params=RECIPES, ids=str)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compressed classifier."""
    place = tmp_path_factory.mktemp("model")
    model_files.write_classifier(place / "float")
    model_files.write_tokenizer(place / "float")
    needs_data = request.param in (SMOOTH, "int8-static")
    small = octavo.compress(
        place / "float", request.param, calibration=texts() if needs_data else None
    )
    has_outliers = any("outliers=" in repr(layer) for _, layer in small.named_modules())
    assert has_outliers == (request.param == SMOOTH)
    small.save(place / "small")
    return place / "small"


def test_of_texts(folder: Path, isa: str) -> None:
    assert octavo.runtime.get_isa() == isa
    model, all_texts = octavo.models.load(folder), texts()
    vectors = np.stack([model.encode(text) for text in all_texts])
    logits = np.stack([model.logits(text) for text in all_texts])
    states = [model.encode(text, output="tokens") for text in all_texts]
    rng = np.random.default_rng(1)
    for batch_tokens in (1, 30, 64, 512, 100_000):
        places = rng.permutation(len(all_texts))[: rng.integers(1, len(all_texts) + 1)]
        company = [all_texts[place] for place in places]
        assert_same_bits(model.encode(company, batch_tokens=batch_tokens), vectors[places])
        assert_same_bits(model.logits(company), logits[places])
        found = model.encode(company, batch_tokens=batch_tokens, output="tokens")
        for place, state in zip(places, found, strict=True):
            assert_same_bits(state, states[place])


def test_of_ids_and_masks(folder: Path, isa: str) -> None:
    """With padding on either side, holes, and rows of nothing else."""
    assert octavo.runtime.get_isa() == isa
    model, rng = octavo.models.load(folder), np.random.default_rng(2)
    ids, places = rng.integers(1, 100, (8, 20)), np.arange(20)
    mask = np.stack(
        [
            *(places < 20, places < 7, places < 1, places > 12, places % 3 > 0, places < 0),
            *(places != 4, rng.random(20) < 0.5),
        ]
    )
    vectors = np.concatenate([model.encode(ids[i : i + 1], mask[i : i + 1]) for i in range(8)])
    assert np.isfinite(vectors).all()
    assert_same_bits(vectors[0], model.encode(ids[:1])[0])
    assert_same_bits(vectors[1], model.encode(ids[1:2, :7])[0])
    assert not vectors[5].any()
    for batch_tokens in (1, 50, 10_000):
        order = rng.permutation(8)
        found = model.encode(ids[order], mask[order], batch_tokens=batch_tokens)
        assert_same_bits(found, vectors[order])
    wider = np.zeros((8, 24), np.int64), np.zeros((8, 24), bool)
    wider[0][:, :20], wider[1][:, :20] = ids, mask
    assert_same_bits(model.encode(*wider), vectors)
