# SPDX-License-Identifier: Apache-2.0
"""Texts in: vectors, labels, an order; against sentence-transformers where it is installed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.io.folder import read_json, write_json
from octavo.io.tokenizer import Tokenizer, read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

tokenizers = pytest.importorskip("tokenizers", reason="texts are cut into tokens by it")

TEXTS = ["the a of", "", "and", "strange , words .", "the the the the the", "a a", "of . , of"]
TOLERANCE = 1e-5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_files.write_sentence_model(tmp_path / "model")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("include_prompt", [True, False])
def test_as_sentence_transformers(tmp_path: Path, include_prompt: bool) -> None:
    pytest.importorskip("torch", reason="the reference needs PyTorch")
    peer = pytest.importorskip("sentence_transformers", reason="it is the reference")
    pooling = {
        "embedding_dimension": 32,
        "pooling_mode": "mean",
        "include_prompt": include_prompt,
    }
    folder = model_files.write_sentence_model(tmp_path / "model", **{"1_Pooling/config": pooling})
    reference = peer.SentenceTransformer(str(folder), device="cpu")
    model = octavo.models.load(folder)
    texts = [text for text in TEXTS if text]
    for ours, theirs in (
        (model.encode(texts), reference.encode(texts)),
        (model.encode_query(texts), reference.encode_query(texts)),
        (model.encode_document(texts), reference.encode_document(texts)),
        (model.encode(texts[0], prompt="the "), reference.encode(texts[0], prompt="the ")),
        (
            model.encode(texts, prompt_name="query", truncate_dim=7, normalize=True),
            reference.encode(texts, prompt_name="query", truncate_dim=7, normalize_embeddings=True),
        ),
        (
            model.encode(texts, precision="binary"),
            reference.encode(texts, precision="ubinary"),
        ),
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    for ours, theirs in zip(
        model.encode(texts, output="tokens"),
        reference.encode(texts, output_value="token_embeddings"),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore:.*texts are longer")
def test_a_text_depends_on_itself_alone(folder: Path, tmp_path: Path) -> None:
    octavo.compress(folder).save(tmp_path / "int8")
    model = octavo.models.load(tmp_path / "int8")
    steps: list[tuple[int, int]] = []
    vectors = model.encode(TEXTS, prompt="", progress=lambda *step: steps.append(step))
    assert vectors.shape == (len(TEXTS), 32)
    assert steps[-1] == (len(TEXTS), len(TEXTS))
    for tokens in (1, 7, 12):
        np.testing.assert_array_equal(model.encode(TEXTS, prompt="", batch_tokens=tokens), vectors)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_array_equal(model.encode(text, prompt=""), vector)
    assert not vectors[1].any()
    ids = np.array([[2, 3, 7]])
    np.testing.assert_array_equal(model.encode(ids)[0], vectors[0])
    np.testing.assert_array_equal(model.encode({"input_ids": ids})[0], vectors[0])
    states = model.encode(TEXTS, prompt="", output="tokens")
    assert [len(state) for state in states] == [3, 0, 1, 4, 5, 2, 4]
    np.testing.assert_array_equal(states[0], model(ids)[0])
    codes = model.encode(TEXTS, prompt="", precision="int8")
    assert codes.dtype == np.int8
    cosine = (codes * vectors).sum(1) / np.maximum(
        np.linalg.norm(codes.astype(float), axis=1) * np.linalg.norm(vectors, axis=1), 1e-9
    )
    assert cosine[np.arange(len(TEXTS)) != 1].min() > 0.999


COLUMNS: dict[str, Callable[[list[str]], Any]] = {
    "tuple": tuple,
    "array": np.array,
    "objects": lambda texts: np.array(texts, object),
    "strings of NumPy": lambda texts: [np.str_(text) for text in texts],
    "Series": lambda texts: pandas().Series(texts, index=range(5, 5 + len(texts))),
    "categories": lambda texts: pandas().Series(texts, dtype="category"),
}


def pandas() -> Any:
    return pytest.importorskip("pandas", reason="it makes the column")


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_texts(tmp_path: Path, folder: Path, kind: str) -> None:
    model, small = octavo.models.load(folder), classifier(tmp_path / "classifier", 1)
    for texts in (TEXTS[:3], []):
        column = COLUMNS[kind](texts)
        np.testing.assert_array_equal(model.encode(column), model.encode(texts))
        assert small.classify(column) == small.classify(texts)
        assert small.rerank("the", column) == small.rerank("the", texts)


STRANGE = {
    "nothing known": "\u96ea\U0001f600",
    "control": "\x00\x07\u200b",
    "spaces": " \u3000",
    "words": "the " * 250_000,
    "a word": "a" * 1_000_000,
    "marks": "e" + "\u0301" * 999_999,
}


@pytest.mark.filterwarnings("ignore:.*texts are longer")
@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_texts(tmp_path: Path, folder: Path, text: str) -> None:
    model, small = octavo.models.load(folder), classifier(tmp_path / "classifier", 1)
    vectors = model.encode(["a", text])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], model.encode("a"), rtol=0, atol=TOLERANCE)
    assert 0 <= small.classify(text).score <= 1
    assert [one.place for one in small.rerank(text, [text])] == [0]


@pytest.mark.parametrize("layout", ["$A:0", "[PAD]:0 $A:0 [UNK]:0", "$A:0 [UNK]:0 [PAD]:1"])
def test_texts_are_cut_as_the_library_cuts_them(tmp_path: Path, layout: str) -> None:
    model_files.write_tokenizer(tmp_path)
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    library.post_processor = tokenizers.processors.TemplateProcessing(
        single=layout, pair=f"{layout} $B:1 [UNK]:1", special_tokens=[("[PAD]", 0), ("[UNK]", 1)]
    )
    library.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer(read_tokenizer(tmp_path), tmp_path)
    for limit in range(3, 20):
        library.enable_truncation(limit)
        for count in range(12):
            for second in (None, *range(12)):
                first, other = "the of " * count, None if second is None else "a , . " * second
                wanted = library.encode(first, other)
                found = ours([first], limit, None if other is None else [other])[0]
                assert found == (wanted.ids, wanted.type_ids, bool(wanted.overflowing))


def test_a_tokenizer_that_knows_more_words(folder: Path) -> None:
    tokenizer = read_json(folder / "tokenizer.json")
    tokenizer["model"]["vocab"]["zebra"] = 100
    write_json(folder / "tokenizer.json", tokenizer)
    model = octavo.models.load(folder)
    assert np.isfinite(model.encode(["the a"])).all()
    with pytest.raises(ValueError, match=r"item 1: .* gives token id 100, .* vocab_size is 100"):
        model.encode(["the", "the zebra"])


def test_nothing_to_encode(folder: Path) -> None:
    model = octavo.models.load(folder)
    assert model.encode([]).shape == (0, 32)
    assert model.encode([], precision="binary").shape == (0, 4)
    assert model.encode([], output="tokens") == []
    assert model.encode({"input_ids": [], "attention_mask": []}).shape == (0, 32)


def test_what_is_cut_is_told_once(folder: Path) -> None:
    model = octavo.models.load(folder)
    long = "the " * 1000
    with pytest.warns(UserWarning, match=r"2 of 3 texts are longer than 6 tokens") as told:
        vectors = model.encode([long, "a", long + "a"], batch_tokens=6)
    assert len(told) == 1
    np.testing.assert_array_equal(vectors[0], vectors[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode(["the the the the the"])  # with the default prompt, "and ", just 6


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (["a", 3], {}, "texts: item 1: expected a string, got int"),
        (["a", "b\ud800"], {}, "texts: item 1: expected Unicode text, got half a surrogate"),
        (
            ["a"],
            {"prompt_name": "title"},
            r"prompt_name: .*\(document, other, query\)",
        ),
        ([[2, 3]], {"prompt": "x"}, "prompt: expected texts beside it, got token ids"),
        (["a"], {"prompt_tokens": 2}, "expected token ids beside .* got texts"),
        (["a"], {"truncate_dim": 33}, r"truncate_dim: expected .* got 33"),
        (["a"], {"precision": "int4"}, "precision: expected one of float32, int8, binary"),
        (["a"], {"output": "words"}, "output: expected one of sentence, tokens"),
        (["a"], {"batch_tokens": 0}, "batch_tokens: "),
        ({"ids": [[2]]}, {}, "inputs: expected input_ids"),
        ({"input_ids": ["a"]}, {}, "input_ids: expected integers"),
        (None, {}, "inputs: expected texts or token ids, got NoneType"),
        (b"a", {}, "inputs: expected texts or token ids, got bytes"),
        ({"a", "b"}, {}, "inputs: expected texts or token ids, got set"),
        (iter(["a"]), {}, "inputs: expected texts or token ids, got list_iterator"),
        ([None], {}, "inputs: item 0: expected a string or token ids, got None"),
        ([("a", "b")], {}, r"inputs: item 0: expected a string or token ids, got \('a', 'b'\)"),
        (np.array([b"a"]), {}, "inputs: item 0: expected a string or token ids"),
        (np.array(["a", None]), {}, "texts: item 1: expected a string, got NoneType"),
        (np.array([["a", "b"]]), {}, "input_ids: expected integers"),
        ([[2, 3], [4]], {}, "input_ids: "),
        ([[99, 100]], {}, r"input_ids: expected values in \[0, 99\], got 100"),
        (np.full((1, 25), 2), {}, "input_ids: 25 tokens, the model has 24 positions"),
        (["a"], {"attention_mask": [[1]]}, "expected token ids beside attention_mask"),
        (["a"], {"prompt": 3}, "prompt: expected a string, got int"),
        (["a"], {"prompt_name": ["query"]}, "prompt_name: expected one of"),
        (["a"], {"prompt": "\udfff"}, "expected Unicode text, got half a surrogate"),
    ],
)
def test_refused(folder: Path, inputs: Any, options: dict[str, Any], message: str) -> None:
    model = octavo.models.load(folder)
    for encode in (model.encode, model.encode_query, model.encode_document):
        with pytest.raises((TypeError, ValueError), match=f"{message}|^prompt: .* got token ids"):
            encode(inputs, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sentence_bert_config", {"max_seq_length": "all"}, "max_seq_length is 'all'"),
        ("config_sentence_transformers", {"prompts": ["a"]}, "prompts is"),
        (
            "config_sentence_transformers",
            {"prompts": {}, "default_prompt_name": "q"},
            "default_prompt_name 'q' is none of its prompts",
        ),
    ],
)
def test_folders_that_contradict_themselves(
    tmp_path: Path, name: str, content: Any, message: str
) -> None:
    model = octavo.models.load(
        model_files.write_sentence_model(tmp_path / "model", **{name: content})
    )
    with pytest.raises(ValueError, match=f"{name}.json: {message}"):
        model.encode(["a"])


def test_no_tokenizer(tmp_path: Path) -> None:
    model_files.write_random(tmp_path / "model")
    (tmp_path / "model" / "merges.txt").write_text("x", encoding="utf-8")
    model = octavo.models.load(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json .*\(there are merges\.txt\)"):
        model.encode(["a"])


@pytest.mark.parametrize("lower", [True, False])
def test_a_vocabulary_alone(tmp_path: Path, lower: bool) -> None:
    model_files.write_random(tmp_path / "model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "##re", "The", "\u2028", "x"]
    (tmp_path / "model" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    write_json(tmp_path / "model" / "tokenizer_config.json", {"do_lower_case": lower})
    model = octavo.models.load(tmp_path / "model")
    ids = [[2, 4 if lower else 6, 5, 8, 1, 3]]
    np.testing.assert_array_equal(model.encode(["There x y"]), model.encode(ids))


def classifier(folder: Path, labels: int, **config: Any) -> octavo.models.Encoder:
    model_files.write_classifier(folder, labels=labels)
    model_files.write_tokenizer(folder)
    write_json(folder / "config.json", read_json(folder / "config.json") | config)
    return octavo.models.load(folder)


def test_labels(tmp_path: Path) -> None:
    model = classifier(tmp_path / "one", 3)
    logits = model.logits(TEXTS)
    assert logits.shape == (len(TEXTS), 3)
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = model.classify(TEXTS)
    assert [one.label for one in found] == [f"class {row.argmax()}" for row in wanted]
    np.testing.assert_allclose([one.score for one in found], wanted.max(1), rtol=1e-5)
    one = model.classify(TEXTS[0])
    assert (one.label, one.score) == (found[0].label, pytest.approx(found[0].score, rel=1e-5))
    assert model.classify([[2, 3, 7]]) == [one]
    every = model.classify(TEXTS, top=5)
    assert [len(row) for row in every] == [3] * len(TEXTS)
    assert all(row[0] == one for row, one in zip(every, found, strict=True))
    assert model.classify([]) == []
    several = classifier(tmp_path / "two", 3, problem_type="multi_label_classification")
    score = several.classify(TEXTS[0], top=1)[0].score
    assert score == pytest.approx(1 / (1 + np.exp(-logits[0].max())), rel=1e-5)
    regression = classifier(tmp_path / "three", 1, problem_type="regression")
    assert regression.classify("a").score == pytest.approx(regression.logits("a")[0], rel=1e-5)


@pytest.mark.parametrize(
    ("query", "texts", "message"),
    [
        ("a", "text", "texts: expected a list of strings, got str"),
        ("a", {"a": "b"}, "texts: expected a list of strings, got dict"),
        ("a", np.array("b"), "texts: expected a list of strings, got ndarray"),
        ("a", ["b", None], "texts: item 1: expected a string, got NoneType"),
        (["a"], ["b"], "query: .* expected a string, got list"),
        ("\ud800", ["b"], "query: .* got half a surrogate"),
    ],
)
def test_rerank_refuses(tmp_path: Path, query: Any, texts: Any, message: str) -> None:
    model = classifier(tmp_path / "model", 1)
    with pytest.raises((TypeError, ValueError), match=message):
        model.rerank(query, texts)
    with pytest.raises(TypeError, match="expected token ids beside attention_mask"):
        model.logits(["a"], [[1]])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("activation", ["Identity", None])
def test_rerank(tmp_path: Path, activation: str | None) -> None:
    name = f"torch.nn.modules.linear.{activation}"
    extra = {"sentence_transformers": {"activation_fn": name}} if activation else {}
    model = classifier(tmp_path / "model", 1, **extra)
    order = model.rerank("the of", TEXTS)
    assert sorted(one.place for one in order) == list(range(len(TEXTS)))
    assert [one.score for one in order] == sorted((one.score for one in order), reverse=True)
    assert model.rerank("the of", TEXTS, top=2) == order[:2]
    assert model.rerank("a", []) == []
    peer = pytest.importorskip("sentence_transformers", reason="it is the reference")
    special = {
        "pad_token": "[PAD]",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    write_json(tmp_path / "model" / "tokenizer_config.json", special)
    theirs = peer.CrossEncoder(str(tmp_path / "model"), device="cpu").rank("the of", TEXTS)
    np.testing.assert_allclose(
        [one.score for one in order], [one["score"] for one in theirs], atol=TOLERANCE
    )


def test_heads_for_tokens(tmp_path: Path) -> None:
    model_files.write_classifier(tmp_path / "model", task="TokenClassification")
    model_files.write_tokenizer(tmp_path / "model")
    model = octavo.models.load(tmp_path / "model")
    found = model.logits(["the a of", "and"])
    assert [row.shape for row in found] == [(3, 3), (1, 3)]
    np.testing.assert_allclose(found[0], model.logits([[2, 3, 7]])[0], atol=TOLERANCE)
    with pytest.raises(ValueError, match="expected a head for SequenceClassification"):
        model.classify(["a"])
