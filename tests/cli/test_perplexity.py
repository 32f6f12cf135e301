# SPDX-License-Identifier: Apache-2.0
"""`perplexity` and ``octavo evaluate --perplexity``: numbers against NumPy, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import decoder_gguf
import model_files
import octavo
from octavo.evaluation import perplexity
from octavo.models import Cache, likelihood

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

IDS = np.random.default_rng(5).integers(0, 100, 50)
TEXT = "Once upon a time there was a castle, and in it a king lived; é 한."


def losses(model: Any, ids: Any, known: int = 1, precision: str | None = None) -> Any:
    """-ln p of tokens, of logits in float64."""
    logits = model(ids, Cache(model, precision)).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_p[np.arange(known - 1, len(ids) - 1), ids[known:]]


@pytest.mark.parametrize("at_once", [1, 300, 1 << 25])
def test_windows_of_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Fifty tokens are four windows of 16 but for the last two; cuts change no bit."""
    monkeypatch.setattr(likelihood, "_LOGITS_AT_ONCE", at_once)
    exact, small = decoder_files.loaded(tmp_path / "a"), octavo.compress(tmp_path / "a")
    exact.attention_precision = "float32"
    seen: list[float] = []
    found = perplexity(
        small, IDS, context=16, reference=exact, on_progress=lambda _, share: seen.append(share)
    )
    windows = [IDS[start : start + 16] for start in (0, 16, 32, 48)]
    mine = np.concatenate([losses(small, one) for one in windows])
    theirs = np.concatenate([losses(exact, one, precision="float32") for one in windows])
    assert (found.text, found.tokens, found.context, found.windows) == ("tokens", 46, 16, 4)
    assert found.model.perplexity == pytest.approx(np.exp(mine.mean()), rel=1e-6)
    assert found.reference.perplexity == pytest.approx(np.exp(theirs.mean()), rel=1e-6)
    ratio = np.exp((mine - theirs).mean())
    assert found.change == pytest.approx(ratio - 1, abs=1e-6)
    error = ratio * (mine - theirs).std(ddof=1) / np.sqrt(46)
    assert found.change_error == pytest.approx(error, rel=1e-3)
    assert (found.model.weights, found.model.keys_and_values) == ("int8", "int8")
    assert (found.reference.weights, found.reference.keys_and_values) == ("float32", "float32")
    assert found.model.recipe == {"quantize": "int8"}
    assert found.tokens_per_second > 0
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_one_token_in_front_is_no_window(tmp_path: Path) -> None:
    found = perplexity(decoder_files.loaded(tmp_path / "a"), IDS[:33], context=16)
    assert (found.tokens, found.windows, found.change) == (30, 2, None)


@pytest.mark.parametrize("begins", [False, True])
def test_files(tmp_path: Path, begins: bool) -> None:
    """Each window begins as the tokenizer begins a text; all that follows is predicted then."""
    pytest.importorskip("tokenizers", reason="texts need a tokenizer")
    folder = decoder_files.write_chat(tmp_path / "model")
    if begins:
        path = folder / "tokenizer.json"
        document = json.loads(path.read_text("utf-8"))
        single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": _FIRST}]
        document["post_processor"] = {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        }
        path.write_text(json.dumps(document), encoding="utf-8")
    file = tmp_path / "text.txt"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    model = octavo.models.load(folder)
    ids = np.array(model.tokenizer.encode(TEXT, add_special_tokens=False).ids)
    step = 19 if begins else 20
    windows = [[1] * begins + ids[at : at + step].tolist() for at in range(0, len(ids), step)]
    wanted = np.concatenate([losses(model, np.array(one)) for one in windows])
    found = perplexity(folder, file, context=20)
    assert (found.text, found.tokens) == (str(file), len(ids) if begins else len(ids) - 4)
    assert found.model.perplexity == pytest.approx(np.exp(wanted.mean()), rel=1e-6)


_FIRST = {"id": "A", "type_id": 0}


def test_a_gguf_file_against_itself_in_float(tmp_path: Path) -> None:
    file = decoder_gguf.write(tmp_path / "model.gguf", decoder_files.LLAMA)
    found = perplexity(file, IDS, context=50, reference=file)
    assert (found.model.weights, found.reference.weights) == ("int8", "float32")
    assert found.reference.keys_and_values == "float32"
    assert found.model.rounded[0].startswith("F32 became int8: 15 tensors, ")
    assert 0 < abs(found.change) < 0.1


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("absent.txt", {}, "absent.txt"),
        (b"\xff", {}, "text.txt: expected UTF-8, got byte 0"),
        (b"a", {}, "text.txt: expected a text of at least 2 tokens, got 1"),
        (b"", {}, "text.txt: expected a text of at least 2 tokens, got 0"),
        ([5], {}, "text: expected a text of at least 2 tokens, got 1"),
        ([[5, 6]], {}, "text: expected"),
        ([5, 100], {}, r"text: expected values in \[0, 99\], got 100"),
        (IDS, {"context": 1}, "context: expected"),
        (IDS, {"context": 161}, "context: expected at most 160, the model's positions, got 161"),
        (IDS, {"reference": 3}, "reference: expected a decoder, .* got a int"),
        (IDS, {"reference": "bert"}, "bert: expected a decoder, .* got a BertModel"),
        (IDS, {"reference": "other"}, "reference: expected a vocabulary of 100 tokens, got 101"),
    ],
)
def test_refused(tmp_path: Path, text: Any, options: dict[str, Any], message: str) -> None:
    pytest.importorskip("tokenizers", reason="texts need a tokenizer")
    model = octavo.models.load(decoder_files.write_chat(tmp_path / "model"))
    model_files.write_random(tmp_path / "bert")
    decoder_files.write_random(tmp_path / "other", vocab_size=101)
    if isinstance(text, bytes):
        (tmp_path / "text.txt").write_bytes(text)
        text = tmp_path / "text.txt"
    elif isinstance(text, str):
        text = tmp_path / text
    if isinstance(options.get("reference"), str):
        options = {"reference": tmp_path / options["reference"]}
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        perplexity(model, text, **options)


def test_weights_that_give_no_numbers(tmp_path: Path) -> None:
    model = decoder_files.loaded(tmp_path / "a")
    model.model.norm = octavo.nn.RMSNorm(np.full(32, np.nan, np.float32), 1e-6)
    with pytest.raises(ValueError, match=r"model: expected finite probabilities, got .* nan"):
        perplexity(model, IDS)


def test_command(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("tokenizers", reason="texts need a tokenizer")
    pytest.importorskip("typer", reason="needs the extra `cli`")
    folder, small = decoder_files.write_chat(tmp_path / "model"), tmp_path / "small"
    octavo.compress(folder).save(small)
    file = tmp_path / "text.txt"
    file.write_text(TEXT, encoding="utf-8")
    words = ("evaluate", small, "--perplexity", file, "--context", 32, "--reference", folder)
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{file}: 65 tokens foretold in 3 windows of 32, ")
    assert lines[1].split() == ["weights", "keys", "and", "values", "perplexity"]
    assert lines[2].split()[:3] == ["model", "int8", "int8"]
    assert lines[3].split()[:3] == ["reference", "float32", "float32"]
    assert lines[4].startswith("above the reference by ")
    assert lines[5:] == ['recipe: {"quantize": "int8"}']
    found = json.loads(run(*words, "--json")[1])
    wanted = perplexity(small, file, context=32, reference=folder)
    assert found["model"]["perplexity"] == wanted.model.perplexity
    assert found["change"] == wanted.change
    assert {"path", "reference_path", "tokens_per_second", "context"} <= found.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected --data FILE, or --perplexity FILE for a decoder, got neither"),
        (("--perplexity", "a", "--data", "b"), "--data: expected none beside --perplexity, got b"),
        (("--perplexity", "a", "--train", "b"), "--train: expected none beside --perplexity"),
        (("--data", "a", "--context", "8"), "--context: expected --perplexity beside it"),
    ],
)
def test_command_refuses(run: Run, words: tuple[str, ...], message: str) -> None:
    pytest.importorskip("typer", reason="needs the extra `cli`")
    code, _, err = run("evaluate", "model", *words)
    assert code == 1
    assert message in err
