# SPDX-License-Identifier: Apache-2.0
"""`octavo generate` and `octavo chat`: what the model says, as it comes, stopped in the middle."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

import decoder_files
import model_files
import octavo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("tokenizers", reason="texts need a tokenizer")
    return decoder_files.write_chat(tmp_path / "model")


def test_generate(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = octavo.models.load(folder)
    wanted = model.generate("Hello", 12)
    assert run("generate", folder, "Hello", "--max-new-tokens", 12) == (0, f"{wanted.text}\n", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello"))
    words = ("--max-new-tokens", 12, "--temperature", 0.8, "--top-k", 40, "--seed", 3, "--json")
    code, out, err = run("generate", folder, "-", *words)
    found = json.loads(out)
    drawn = model.generate("Hello", 12, temperature=0.8, top_k=40, seed=3)
    assert (code, err, found["ids"], found["text"]) == (0, "", drawn.ids, drawn.text)
    assert {"reason", "tokens_per_second", "first_seconds"} <= found.keys()
    out = run("generate", folder, "Hi", "--chat", "--max-new-tokens", 3)[1]
    assert out == f"{model.generate('u:Hi;a:', 3).text}\n"
    model.load_adapter(decoder_files.adapter(model)).save(folder / "adapter")
    out = run("generate", folder, "Hello", "--max-new-tokens", 12, "--adapter", folder / "adapter")
    assert (out[1], out[2]) == (f"{model.generate('Hello', 12).text}\n", "")
    assert out[1] != f"{wanted.text}\n"


def test_chat(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers become part of what is said; lines without a word are passed over."""
    model = octavo.models.load(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\n\udcff\ntwo\n"))
    code, out, err = run("chat", folder, "--system", "be", "--max-new-tokens", 5)
    first = model.generate("s:be;u:one;a:", 5).text
    second = model.generate(f"s:be;u:one;a:{first};u:two;a:", 5).text
    assert (code, out) == (0, f"{first}\n{second}\n")
    assert "got half a surrogate pair" in err


def test_ctrl_c_stops_the_answer_alone(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = octavo.models.load(folder)
    first = model.generate("u:one;a:", 2).text
    advance, calls = octavo.models.Decoder.advance, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(octavo.models.Decoder, "advance", interrupted)
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    code, out, _ = run("chat", folder, "--max-new-tokens", 5)
    second = model.generate(f"u:one;a:{first};u:two;a:", 5).text
    assert (code, out) == (0, f"{first} [stopped]\n{second}\n")


def test_a_full_context(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat goes on with what stands before the first question; generate does where told to."""
    model = octavo.models.load(folder)
    asked = "w" * 200
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{asked}\nshort\n"))
    code, out, err = run("chat", folder, "--system", "be", "--max-new-tokens", 4)
    options = {"context_shift": True, "n_keep": len("s:be;u:")}
    first = model.generate(f"s:be;u:{asked};a:", 4, **options).text
    second = model.generate(f"s:be;u:{asked};a:{first};u:short;a:", 4, **options).text
    assert (code, out, err) == (0, f"{first}\n{second}\n", "")
    code, out, err = run("generate", folder, asked)
    assert (code, out) == (1, "")
    assert "200 tokens, the model has 160 positions" in err
    out = run("generate", folder, asked, "--context-shift", "--max-new-tokens", 4)[1]
    assert out == f"{model.generate(asked, 4, context_shift=True).text}\n"


def test_errors(folder: Path, tmp_path: Path, run: Run) -> None:
    encoder = model_files.write_random(tmp_path / "bert")
    for words, message in [
        (("generate", encoder, "x"), "expected a decoder, got a BertModel"),
        (("chat", tmp_path / "absent.gguf"), "No such file"),
        (("generate", folder, "x", "--top-p", 2, "--temperature", 1), "top_p: expected a value"),
        (("generate", folder, "x", "--top-p", 0.5), "top_p: expected none without a temperature"),
        (("chat", folder, "--min-p", 0.5), "min_p: expected none without a temperature"),
        (("chat", folder, "--repetition-penalty", 0), "repetition_penalty: expected a value"),
        (("generate", folder, ""), "prompt: expected at least one token"),
    ]:
        code, out, err = run(*words)
        assert (code, out) == (1, "")
        assert message in err
