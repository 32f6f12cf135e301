# SPDX-License-Identifier: Apache-2.0
"""Distillation of models of transformers: BERT, DistilBERT, classifiers, narrower students."""

from __future__ import annotations

import importlib
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_files
import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TRAINING = {"epochs": 4, "learning_rate": 3e-3}


def classifier(**changes: Any) -> Any:
    config = transformers.BertConfig(**{**SIZES, "num_labels": 3, **changes})
    return transformers.BertForSequenceClassification(config).eval()


def batches(labels: bool = True, tokens: int = 9, vocabulary: int = 60) -> list[dict[str, Any]]:
    made = []
    for _ in range(4):
        mask = torch.arange(tokens) < torch.randint(2, tokens + 1, (6, 1))
        batch = {
            "input_ids": torch.randint(0, vocabulary, (6, tokens)),
            "token_type_ids": torch.zeros(6, tokens, dtype=torch.int64),
            "attention_mask": mask.long(),
        }
        if labels:
            batch["labels"] = torch.randint(0, 3, (6,))
        made.append(batch)
    return made


def test_a_classifier_of_half_the_layers() -> None:
    """All parts at once; attention maps need another attention, which is put back."""
    teacher = classifier()
    student = ot.student_of(teacher, layers=[0, 3])
    assert student.config.num_hidden_layers == 2
    assert teacher.config.num_hidden_layers == len(teacher.bert.encoder.layer) == 4
    before = teacher.config._attn_implementation, student.config._attn_implementation
    parts = ("soft", "hidden", "embeddings", "attention", "cosine", "vectors")
    result = ot.distill(
        teacher, student, batches(), objective=dict.fromkeys(parts, 1.0), training=TRAINING
    )
    assert (teacher.config._attn_implementation, student.config._attn_implementation) == before
    first, last = result.history[0], result.losses(last=4)
    assert set(last) == {"loss", "labels", *parts}
    for part in ("hidden", "cosine"):
        assert last[part] < first[part], part
    assert not list(result.projections)


def test_attention_maps_are_learned() -> None:
    teacher = classifier(initializer_range=0.3, **NO_DROPOUT)
    aims = {"soft": 0.0, "labels": 0.0, "hidden": 0.0, "attention": 1.0}
    student = ot.student_of(teacher, 2)
    result = ot.distill(teacher, student, batches(), objective=aims, training=TRAINING)
    assert set(result.losses()) == {"loss", "attention"}
    assert result.losses(4)["attention"] < 0.9 * result.history[0]["attention"]


def test_a_narrower_student_and_other_heads() -> None:
    teacher = classifier()
    config = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    state = torch.get_rng_state()
    student = ot.student_of(teacher, config=config)
    assert torch.equal(torch.get_rng_state(), state)
    again = ot.student_of(
        teacher, config=transformers.BertConfig(**{**SIZES, **config}, num_labels=3)
    )
    assert torch.equal(student.classifier.weight, again.classifier.weight)
    assert teacher.config.hidden_size == 32
    result = ot.distill(
        teacher, student, batches(), objective={"attention": 1.0}, training=TRAINING
    )
    assert {key: tuple(p.weight.shape) for key, p in result.projections.items()} == {
        "hidden_0_1": (32, 16),
        "hidden_1_3": (32, 16),
    }
    assert result.losses(4)["hidden"] < result.history[0]["hidden"]
    two = ot.student_of(teacher, config={**config, "num_attention_heads": 2})
    with pytest.raises(ValueError, match="the teacher's 4 heads in the student, got 2"):
        ot.distill(teacher, two, batches(), objective={"attention": 1.0})
    with pytest.raises(ValueError, match="fields of BertConfig, got 'width'"):
        ot.student_of(teacher, config={"width": 3})
    with pytest.raises(TypeError, match="a dict or a BertConfig, got int"):
        ot.student_of(teacher, config=3)


@pytest.mark.parametrize("pooling", ["mean", "first", "pooler"])
def test_sentence_vectors(pooling: str) -> None:
    teacher = transformers.BertModel(transformers.BertConfig(**SIZES, **NO_DROPOUT))
    student = ot.student_of(teacher, 2)
    result = ot.distill(
        teacher,
        student,
        batches(labels=False),
        objective={"pooling": pooling, "hidden": 0.0},
        training={"epochs": 10, "learning_rate": 1e-3},
    )
    assert set(result.losses()) == {"loss", "vectors"}
    assert result.losses(4)["vectors"] < result.history[0]["vectors"]


def test_bert_teaches_distilbert() -> None:
    """DistilBERT takes no token types; names of layers do not matter."""
    names = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    }
    sizes = {names.get(key, key): value for key, value in SIZES.items()} | {"n_layers": 2}
    student = transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(**sizes, num_labels=3)
    )
    result = ot.distill(classifier(), student, batches(), training=TRAINING)
    assert result.losses(4)["hidden"] < result.history[0]["hidden"]
    one = ot.student_of(student, 1)
    assert one.config.n_layers == len(one.distilbert.transformer.layer) == 1


def test_vocabularies_and_lengths_that_differ() -> None:
    teacher = classifier()
    with pytest.raises(ValueError, match=r"teacher.s vocabulary of 60 tokens.*got 61"):
        ot.distill(teacher, classifier(vocab_size=61), batches())
    student = ot.student_of(teacher, 2)
    high = batches()
    high[1]["input_ids"][2, 3] = 60
    with pytest.raises(ValueError, match=r"batch 1: expected token ids in \[0, 59\], got 60"):
        ot.distill(teacher, student, high)
    with pytest.raises(ValueError, match="at most 16 tokens, the teacher's limit, got 17"):
        ot.distill(teacher, student, batches(tokens=17))
    with pytest.raises(ValueError, match="at most 8 tokens, the student's limit, got 9"):
        ot.distill(teacher, classifier(max_position_embeddings=8), batches())


def test_resuming_with_dropout(tmp_path: Path) -> None:
    teacher = classifier()
    data = batches()
    whole = ot.distill(teacher, ot.student_of(teacher, 2), data, training=TRAINING)

    def stop(text: str, share: float) -> None:
        if share > 0.4:
            raise RuntimeError("enough")

    training = {**TRAINING, "checkpoint_every": 3}
    path = tmp_path / "run.pt"
    with pytest.raises(RuntimeError, match="enough"):
        ot.distill(
            teacher,
            ot.student_of(teacher, 2),
            data,
            training=training,
            checkpoint=path,
            on_progress=stop,
        )
    result = ot.distill(
        teacher, ot.student_of(teacher, 2), data, training=training, checkpoint=path
    )
    assert result.history == whole.history
    for name, tensor in whole.student.state_dict().items():
        assert torch.equal(tensor, result.student.state_dict()[name]), name
    other = ot.student_of(teacher, [0, 1])
    with pytest.raises(ValueError, match="student: its weights are not those"):
        ot.distill(teacher, other, data, training=training, checkpoint=path)


def test_a_saved_student_is_an_octavo_model(tmp_path: Path) -> None:
    teacher = classifier()
    student = ot.student_of(teacher, 2)
    ot.distill(teacher, student, batches(), training={"epochs": 1})
    student.save_pretrained(tmp_path / "student")
    batch = batches(labels=False)[0]
    with torch.no_grad():
        logits = student(**batch).logits.numpy()
    ids, mask = batch["input_ids"].numpy(), batch["attention_mask"].numpy()
    np.testing.assert_allclose(
        octavo.models.load(tmp_path / "student").logits(ids, mask), logits, rtol=1e-3, atol=1e-4
    )
    small = octavo.compress(tmp_path / "student")
    assert np.abs(small.logits(ids, mask) - logits).max() < 0.1


@pytest.mark.usefixtures("interruptible")
def test_the_student_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bench/common/distilled.py goes on where it was interrupted, and leaves a model folder."""
    bench = Path(__file__).resolve().parents[2] / "bench"
    if not bench.is_dir():
        pytest.skip("the bench folder is not here")
    monkeypatch.syspath_prepend(str(bench))
    distilled = importlib.import_module("common.distilled")
    folder, out = tmp_path / "teacher", tmp_path / "out"
    classifier(vocab_size=100, num_labels=2).save_pretrained(folder)
    model_files.write_tokenizer(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]"
    ).save_pretrained(folder)
    sentences = ["the a of", "and , the .", "a", "of of"] * 20

    def stop(text: str, share: float) -> None:
        signal.raise_signal(signal.SIGINT)

    options = {"layers": [0, 3], "epochs": 1, "batch_size": 16}
    with pytest.raises(KeyboardInterrupt):
        distilled.distilled_student(folder, sentences, out, say=stop, **options)
    assert (out / "distillation.pt").is_file()
    told: list[str] = []
    made = distilled.distilled_student(
        folder, sentences, out, say=lambda text, share: told.append(text), **options
    )
    assert len(told) == 4
    assert not (out / "distillation.pt").exists()
    assert octavo.models.load(made).config.layers == 2
