# SPDX-License-Identifier: Apache-2.0
"""Their class with an octavo encoder inside: what theirs gives, octavo's bits, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="sentence-transformers needs PyTorch")
theirs = pytest.importorskip("sentence_transformers", reason="it is the library in question")

import model_files  # noqa: E402
import octavo  # noqa: E402
from octavo.io.folder import read_json  # noqa: E402
from octavo.nn import hooks  # noqa: E402
from octavo.sentence_transformers import SentenceTransformer  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # theirs warn of names of their own
    pytest.mark.usefixtures("offline"),
]

TEXTS = ["the a of", "and", "strange , words", "the the a", "a a", "of . , of"]
TOLERANCE = 1e-5


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_files.write_sentence_model(tmp_path_factory.mktemp("sentences") / "model")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return theirs.SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return SentenceTransformer(folder, device="cpu")


def plain(found: Any) -> list[Any]:
    """Arrays of what `encode` returned, whatever its form; of tokens, without what pads them."""
    if isinstance(found, dict):
        kept = found["attention_mask"].bool()
        return [np.asarray(found["sentence_embedding"]), found["token_embeddings"][kept].numpy()]
    if isinstance(found, list):
        return [array for one in found for array in plain(one)]
    return [np.asarray(found)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"prompt_name": "query"},
        {"prompt": "the "},
        {"truncate_dim": 7, "normalize_embeddings": True},
        {"precision": "int8"},
        {"precision": "ubinary", "truncate_dim": 16},
        {"batch_size": 2, "show_progress_bar": True},
    ],
    ids=str,
)
def test_as_theirs(model: Any, reference: Any, options: dict[str, Any]) -> None:
    check_as_theirs(model, reference, TEXTS, options)


@pytest.mark.parametrize("texts", [TEXTS[0], TEXTS[:1], tuple(TEXTS), np.array(TEXTS)], ids=type)
@pytest.mark.parametrize("output", ["sentence_embedding", "token_embeddings", None])
def test_whatever_holds_the_texts(model: Any, reference: Any, texts: Any, output: Any) -> None:
    check_as_theirs(model, reference, texts, {"output_value": output})


def check_as_theirs(model: Any, reference: Any, texts: Any, options: dict[str, Any]) -> None:
    ours, wanted = model.encode(texts, **options), reference.encode(texts, **options)
    assert type(ours) is type(wanted)
    for one, other in zip(plain(ours), plain(wanted), strict=True):
        assert one.dtype == other.dtype
        bound = 1 if one.dtype == np.int8 else TOLERANCE  # a code is one of two neighbours
        np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=0, atol=bound)


def test_it_is_one_of_theirs(model: Any, reference: Any) -> None:
    assert isinstance(model, theirs.SentenceTransformer)
    assert model.max_seq_length == reference.max_seq_length == 6
    assert model.get_sentence_embedding_dimension() == 32
    assert model.prompts == reference.prompts
    assert model.device == torch.device("cpu")
    assert "BertModel, size=32" in repr(model)
    ours, wanted = model.tokenize(TEXTS), reference.tokenize(TEXTS)
    assert set(wanted) - {"modality"} <= set(ours) | {"token_type_ids"}
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(ours[name], wanted[name])
    features = model.tokenize(TEXTS)
    vectors = model(features)["sentence_embedding"].numpy()
    np.testing.assert_allclose(vectors, model.encode(TEXTS, prompt=""), rtol=0, atol=TOLERANCE)
    assert model.tokenizer.tokenize("the a") == reference.tokenizer.tokenize("the a")
    assert model.similarity(vectors[:2], vectors).shape == (2, len(TEXTS))
    for name in ("encode_query", "encode_document"):
        wanted = getattr(reference, name)(TEXTS)
        np.testing.assert_allclose(getattr(model, name)(TEXTS), wanted, rtol=0, atol=TOLERANCE)
    with model.truncate_embeddings(3):
        assert model.encode(TEXTS).shape == (len(TEXTS), 3)
    assert len(model.encode([])) == 0


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_that_are_not_pooled(tmp_path: Path, include_prompt: bool) -> None:
    pooling = {
        "embedding_dimension": 32,
        "pooling_mode": "mean",
        "include_prompt": include_prompt,
    }
    folder = model_files.write_sentence_model(tmp_path / "model", **{"1_Pooling/config": pooling})
    both = SentenceTransformer(folder), theirs.SentenceTransformer(str(folder), device="cpu")
    for one in both:
        one.set_pooling_include_prompt(include_prompt)
    ours, wanted = (one.encode(TEXTS, prompt_name="query") for one in both)
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=TOLERANCE)


def test_octavos_bits(folder: Path) -> None:
    small = octavo.compress(folder)
    for model in (SentenceTransformer(folder, recipe="int8"), SentenceTransformer(small)):
        np.testing.assert_array_equal(model.encode(TEXTS), small.encode(TEXTS))
        np.testing.assert_array_equal(model.encode_query(TEXTS), small.encode_query(TEXTS))
        many = TEXTS * 200
        np.testing.assert_array_equal(model.encode(many), small.encode(many))
    assert SentenceTransformer(small).encoder is small


def test_encode_is_octavos(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of octavo's for all texts, whatever their batch size says."""
    model, calls = SentenceTransformer(folder), []
    encode = model.encoder.encode

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return encode(*arguments, **options)

    monkeypatch.setattr(model.encoder, "encode", counted)
    model.encode(TEXTS * 10, batch_size=2)
    assert len(calls) == 1


def test_states_and_vectors_are_of_one_run(folder: Path) -> None:
    model, runs = SentenceTransformer(folder), []
    block = model.encoder.encoder.layer[0]
    with hooks.register(block, before=lambda *arguments: runs.append(arguments)):
        model.encode(TEXTS, output_value=None)
    assert len(runs) == 1


@pytest.mark.parametrize("recipe", [None, "int8"])
def test_saved_and_loaded_with_its_settings(
    folder: Path, reference: Any, tmp_path: Path, recipe: str | None
) -> None:
    model = SentenceTransformer(folder, recipe=recipe, prompts={"title": "a "}, truncate_dim=9)
    model.max_seq_length = 4
    model.similarity_fn_name = "dot"
    model.save_pretrained(tmp_path / "saved")
    again = SentenceTransformer(tmp_path / "saved")
    assert again.max_seq_length == 4
    assert again.similarity_fn_name == "dot"
    assert again.prompts == model.prompts
    assert again.prompts["title"] == "a "
    assert again.default_prompt_name == "other"
    vectors = model.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 9)
    np.testing.assert_array_equal(again.encode(TEXTS), vectors)
    if recipe is None:
        plain_again = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
        np.testing.assert_allclose(plain_again.encode(TEXTS), vectors, rtol=0, atol=TOLERANCE)
    assert read_json(folder / "sentence_bert_config.json") == {"max_seq_length": 6}


def test_made_of_one_of_theirs(folder: Path) -> None:
    trained = theirs.SentenceTransformer(str(folder), device="cpu")
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter *= 1.1
    trained.max_seq_length = 5
    trained.prompts["new"] = "of "
    model = SentenceTransformer(trained)
    wanted = trained.encode(TEXTS, prompt_name="new")
    np.testing.assert_allclose(
        model.encode(TEXTS, prompt_name="new"), wanted, rtol=0, atol=TOLERANCE
    )
    assert model.max_seq_length == 5


REFUSED: dict[str, tuple[Any, str]] = {
    "device": (lambda m: m.encode(TEXTS, device="cuda"), "device: expected 'cpu'.* 'cuda'"),
    "devices": (lambda m: m.encode(TEXTS, device=["cpu", "cuda"]), "device: expected 'cpu'"),
    "another place": (lambda _: SentenceTransformer("x", device="cuda"), "device: .* 'cuda'"),
    "moving": (lambda m: m.to("meta"), "device, dtype: expected 'cpu' and torch.float32"),
    "halves": (lambda m: m.half(), "device, dtype: .* torch.float16"),
    "processing": (
        lambda m: m.encode(TEXTS, processing_kwargs={"text": {"max_length": 3}}),
        "processing_kwargs",
    ),
    "unknown": (lambda m: m.encode(TEXTS, colour="red"), "colour"),
    "batch_size": (lambda m: m.encode(TEXTS, batch_size=0), "batch_size|step must"),
    "prompt_name": (lambda m: m.encode(TEXTS, prompt_name="x"), "'x'"),
    "no text": (lambda m: m.encode(["a", 3]), "item [01]: expected a string, got int"),
    "length": (lambda m: setattr(m, "max_seq_length", 25), r"max_seq_length: .*\[1, 24\]"),
    "backend": (lambda _: SentenceTransformer("x", backend="onnx"), "backend"),
    "no model": (lambda _: SentenceTransformer(3), "model_name_or_path: expected .* got int"),
    "revision": (
        lambda m: SentenceTransformer(m.encoder, revision="x"),
        "revision: expected none, the model is in memory",
    ),
    "pooling": (lambda m: m.set_pooling_include_prompt(False), "include_prompt: expected .* True"),
    "uploading": (lambda m: m.push_to_hub("a/b"), "push_to_hub: save the model"),
    "nothing": (lambda m: m.encode(), "inputs|sentences"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_do_is_named(model: Any, case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=message):
        call(model)


def test_a_name_without_owner_is_theirs() -> None:
    with pytest.raises(OSError, match="sentence-transformers/no-such-model"):
        SentenceTransformer("no-such-model")


@pytest.mark.slow
def test_a_pool_of_processes(model: Any) -> None:
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    try:
        found = model.encode(TEXTS * 5, pool=pool, chunk_size=7)
    finally:
        model.stop_multi_process_pool(pool)
    np.testing.assert_allclose(found, model.encode(TEXTS * 5), rtol=0, atol=TOLERANCE)


def test_evaluators_and_utilities(model: Any) -> None:
    pytest.importorskip("sklearn", reason="their evaluators compute with it")
    datasets = pytest.importorskip("datasets", reason="their mining takes a data set")
    from sentence_transformers import util
    from sentence_transformers.evaluation import (
        EmbeddingSimilarityEvaluator,
        InformationRetrievalEvaluator,
    )

    scores = [0.1, 0.9, 0.5]
    pairs = EmbeddingSimilarityEvaluator(TEXTS[:3], TEXTS[3:], scores)
    assert all(-1 <= value <= 1 for value in pairs(model).values())
    names = {str(place): text for place, text in enumerate(TEXTS)}
    finds_itself = {name: {name} for name in names}
    retrieval = InformationRetrievalEvaluator(names, names, finds_itself, write_csv=False)
    assert max(retrieval(model).values()) > 0
    vectors = model.encode(TEXTS, convert_to_tensor=True)
    hits = util.semantic_search(vectors, vectors, top_k=1)
    assert [hit[0]["corpus_id"] for hit in hits] == list(range(len(TEXTS)))
    rows = datasets.Dataset.from_dict({"anchor": TEXTS, "positive": TEXTS[::-1]})
    mined = util.mine_hard_negatives(rows, model, num_negatives=1, range_max=4, verbose=False)
    assert set(mined.column_names) == {"anchor", "positive", "negative"}
