# SPDX-License-Identifier: Apache-2.0
"""octavo.torch.distill: students learn, forms of data, early stop, int8, and bad input."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
from distill_models import CLASSES, VOCABULARY, Tiny, batches, models  # noqa: E402

nn = torch.nn

FAST = {"epochs": 6, "learning_rate": 5e-3}


def distilled(data: Any = None, student: Any = None, **options: Any) -> Any:
    teacher, made = models()
    options.setdefault("training", FAST)
    data = batches() if data is None else data
    return ot.distill(teacher, made if student is None else student, data, **options)


def test_every_part_falls() -> None:
    parts = ("soft", "hidden", "embeddings", "cosine", "vectors")
    result = distilled(
        student=models(layers=2)[1],
        objective=dict.fromkeys(parts, 1.0),
        training={"epochs": 20, "learning_rate": 2e-2},
    )
    assert set(result.history[0]) == {*parts, "labels", "step", "epoch", "learning_rate", "loss"}
    first, last = result.history[0], result.losses(last=8)
    for part in parts:
        assert last[part] < 0.7 * first[part], part
    assert [entry["step"] for entry in result.history] == list(range(1, 161))
    assert result.history[-1]["epoch"] == 20
    assert (result.steps, result.best_step, result.best_metric) == (160, 160, None)
    assert not result.student.training


def test_the_loss_is_the_weighted_sum() -> None:
    aims = {"soft": 2.0, "labels": 0.25, "hidden": 3.0, "cosine": 0.5}
    for entry in distilled(objective=aims).history:
        total = sum(weight * entry[part] for part, weight in aims.items())
        assert entry["loss"] == pytest.approx(total, rel=1e-5)


def test_the_teacher_stays_as_it_was() -> None:
    teacher, student = models()
    teacher.train()
    teacher.dropout.eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    ot.distill(teacher, student, batches(), training=FAST)
    assert teacher.training
    assert not teacher.dropout.training
    assert all(torch.equal(before[name], t) for name, t in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_labels_where_there_are() -> None:
    """A batch without labels learns from the rest; without any other part it is an error."""
    data = [*batches(2), *batches(2, labels=False)]
    training = {"epochs": 1}
    has = ["labels" in entry for entry in distilled(data, training=training).history]
    assert has == [True, True, False, False]
    with pytest.raises(ValueError, match="labels in every batch"):
        distilled(data, objective={"soft": 0, "hidden": 0, "labels": 1.0}, training=training)
    with pytest.raises(ValueError, match="labels: expected labels in the first batch"):
        distilled(batches(labels=False), objective={"labels": 1.0})


def test_forms_of_data() -> None:
    expected = distilled(training={"epochs": 1}).history
    dicts = batches()
    unlabelled = [{k: v for k, v in b.items() if k != "labels"} for b in dicts]
    for data in (
        [(b["input_ids"], b["attention_mask"], b["labels"]) for b in dicts],
        [((b["input_ids"], b["attention_mask"]), b["labels"]) for b in dicts],
        [(u, b["labels"].tolist()) for u, b in zip(unlabelled, dicts, strict=True)],
        [{k: v.numpy() for k, v in b.items()} for b in dicts],
    ):
        assert distilled(data, training={"epochs": 1}).history == expected
    once = distilled((b for b in dicts), training={"steps": 8})
    assert once.history == expected
    assert distilled((b for b in dicts), training={"steps": 9}).steps == 8


def test_sentences() -> None:
    texts = [("a b c", 0), ("d", 1), ("e f", 2), ("g h i j", 0), ("k", 1)]

    def tokenizer(sentences: list[str]) -> dict[str, Any]:
        ids = [[ord(word) % VOCABULARY for word in text.split()] for text in sentences]
        width = max(map(len, ids))
        return {
            "input_ids": [row + [0] * (width - len(row)) for row in ids],
            "attention_mask": [[1] * len(row) + [0] * (width - len(row)) for row in ids],
        }

    training = {"epochs": 3, "batch_size": 2}
    result = distilled(texts, tokenizer=tokenizer, training=training)
    assert result.steps == 9
    assert "labels" in result.history[0]
    assert "labels" not in distilled([t for t, _ in texts], tokenizer=tokenizer).history[0]
    with pytest.raises(TypeError, match="tokenizer: expected"):
        distilled(texts)
    with pytest.raises(TypeError, match="data: expected a list of sentences"):
        distilled(batches(), tokenizer=tokenizer)


def test_students_without_a_head_learn_sentence_vectors() -> None:
    torch.manual_seed(0)
    teacher, student = Tiny(head=False), Tiny(layers=2, width=8, head=False)
    training = {"epochs": 30, "learning_rate": 2e-2, "projection_learning_rate": 1e-2}
    result = ot.distill(teacher, student, batches(), training=training)
    assert set(result.losses()) == {"loss", "hidden", "vectors"}
    assert result.losses(8)["vectors"] < 0.5 * result.history[0]["vectors"]
    assert result.projections["vectors"].weight.shape == (16, 8)


def test_early_stop_keeps_the_best() -> None:
    values = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    seen: dict[float, Any] = {}

    def metric(student: Any) -> float:
        assert not student.training
        value = next(values)
        seen[value] = {k: v.clone() for k, v in student.state_dict().items()}
        return value

    training = {"epochs": 10, "evaluate_every": 3, "patience": 2}
    result = distilled(metric=metric, training=training)
    assert result.evaluations == [(3, 0.1), (6, 0.5), (9, 0.4), (12, 0.3)]
    assert (result.best_step, result.best_metric, result.steps) == (6, 0.5, 12)
    assert result.stopped_early
    assert all(torch.equal(seen[0.5][k], v) for k, v in result.student.state_dict().items())
    lower = iter([3.0, 2.0, 1.0])
    falling = distilled(metric=lambda _: next(lower), training={"maximize": False})
    assert [step for step, _ in falling.evaluations] == [8, 16, 24]
    assert falling.best_step == 24


def test_progress_is_told() -> None:
    told: list[tuple[str, float]] = []
    distilled(training={"steps": 4}, on_progress=lambda text, share: told.append((text, share)))
    assert [share for _, share in told] == [0.25, 0.5, 0.75, 1.0]
    assert told[0][0].startswith("step 1 of 4, loss ")


def test_quantize_prepares_the_student() -> None:
    config = ot.Int8Training(if_slower="quantize")
    result = distilled(quantize=lambda model: ot.prepare_qat_(model, config))
    linear = [part for part in result.student.modules() if isinstance(part, nn.Linear)]
    assert all(isinstance(part, ot.QatLinear) for part in linear)
    assert result.losses(8)["loss"] < result.history[0]["loss"]
    ids = batches()[0]["input_ids"]
    with torch.no_grad():
        before = result.student(ids)["logits"]
        ot.convert_qat_(result.student)
        torch.testing.assert_close(result.student(ids)["logits"], before, rtol=0, atol=2e-2)


def test_quantize_true_is_prepare_qat() -> None:
    teacher, student = nn.Linear(256, 256), nn.Linear(256, 256)
    data = list(torch.randn(3, 4, 256))
    result = ot.distill(teacher, student, data, quantize=True, training={"steps": 2})
    assert isinstance(result.student, ot.QatLinear)
    again = ot.distill(teacher, student, data, quantize=True, training={"steps": 2})
    assert isinstance(again.student, ot.QatLinear)


def test_losses_that_are_not_finite_name_the_step() -> None:
    data = [{"x": torch.randn(4, 8)} for _ in range(5)]
    data[2]["x"][1, 1] = torch.nan

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    student = Model()
    with pytest.raises(FloatingPointError, match=r"step 3: the loss is nan .*teacher's logits"):
        ot.distill(Model(), student, data)
    assert torch.isfinite(student.layer.weight).all()
    teacher, student = Model(), Model()
    with torch.no_grad():
        student.layer.weight.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match=r"step 1: .*student's logits are not finite"):
        ot.distill(teacher, student, [data[0]])


def test_students_of_layers() -> None:
    teacher = models()[0]
    teacher.requires_grad_(False)
    for layers, kept in (([0, 3], [0, 3]), (2, [1, 3]), ((1, 1, 2), [1, 1, 2]), (4, [0, 1, 2, 3])):
        student = ot.student_of(teacher, layers)
        assert len(student.layers) == len(kept)
        for ours, index in zip(student.layers, kept, strict=True):
            assert torch.equal(ours.weight, teacher.layers[index].weight)
        theirs = {p.data_ptr() for p in teacher.parameters()}
        pointers = [p.data_ptr() for p in student.parameters()]
        assert not theirs & set(pointers)
        assert len(set(pointers)) == len(pointers)
        assert all(p.requires_grad for p in student.parameters())
    assert len(teacher.layers) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "layers or config, got neither"),
        ({"layers": 2, "config": {}}, ValueError, "layers or config, got both"),
        ({"layers": []}, ValueError, "at least one layer"),
        ({"layers": [0, 4]}, ValueError, r"layers: expected a value in \[0, 3\], got 4"),
        ({"layers": 5}, ValueError, r"\[1, 4\], got 5"),
        ({"layers": "02"}, TypeError, "a number or a list"),
        ({"layers": [0.5]}, TypeError, "expected an integer, got float"),
        ({"layers": 2, "stack": "blocks"}, ValueError, r"\(layers\), got 'blocks'"),
        ({"config": {"hidden_size": 8}}, ValueError, "a teacher of transformers"),
    ],
)
def test_students_that_cannot_be_made(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        ot.student_of(models()[0], **arguments)
    with pytest.raises(ValueError, match="one list of like layers, found none"):
        ot.student_of(nn.Sequential(nn.Linear(2, 2)), 1)


def test_models_that_do_not_fit() -> None:
    teacher, student = models()
    with pytest.raises(TypeError, match=r"student: expected a .*Module, got str"):
        ot.distill(teacher, "student", batches())
    with pytest.raises(ValueError, match=r"weights of its own.*teacher's 'embed.weight'"):
        ot.distill(teacher, teacher, batches())
    student.head = nn.Linear(16, CLASSES + 1)
    with pytest.raises(ValueError, match=r"3 classes as the teacher has.*\(6, 4\)"):
        ot.distill(teacher, student, batches())
    student.requires_grad_(False)
    student.head = models()[1].head.requires_grad_(False)
    with pytest.raises(ValueError, match="require gradients, got none"):
        ot.distill(teacher, student, batches())
    with pytest.raises(ValueError, match="attention: expected attentions of both models"):
        distilled(objective={"attention": 1.0})
    with pytest.raises(ValueError, match="a part with a weight above 0"):
        distilled(objective={"soft": 0, "hidden": 0, "labels": 0})


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([], ValueError, "at least one batch, got none"),
        ("text", TypeError, "iterable of batches"),
        ({"input_ids": [[1]]}, TypeError, "iterable of batches, or a list of sentences, got dict"),
        (3, TypeError, "got int"),
        (iter([]), ValueError, "steps: expected a number of steps"),
        ([{"labels": [0]}], ValueError, "batch 0: expected inputs, got none"),
        ([{"input_ids": object()}], TypeError, "batch 0, 'input_ids': expected a tensor"),
        ([torch.zeros(0, 3, dtype=torch.int64)], ValueError, "at least one row"),
        ([{"input_ids": [[1], [2]], "labels": [0]}], ValueError, "2 rows in labels"),
        ([{"input_ids": [[1], [2]], "labels": [0, 3]}], ValueError, r"classes in \[0, 2\], got 3"),
        ([{"input_ids": [[1], [2]], "labels": [0.5, 1]}], TypeError, "labels: expected integers"),
    ],
)
def test_bad_data(data: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        distilled(data)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"objective": {"softness": 1}}, ValueError, "objective: expected the keys soft"),
        ({"objective": 3}, TypeError, "objective: expected Objective or a dict, got int"),
        ({"training": {"rate": 1}}, ValueError, "training: expected the keys epochs.*got 'rate'"),
        ({"training": {"patience": 2}}, ValueError, "patience: expected a metric"),
        ({"metric": 3}, TypeError, "metric: expected a function"),
        ({"metric": lambda _: float("nan")}, ValueError, "metric: expected a finite.*step 8"),
        ({"quantize": "int8"}, TypeError, "quantize: expected True or False"),
        ({"seed": -1}, ValueError, "seed"),
        ({"objective": {"layers": [0, 4]}}, ValueError, "teacher's layer"),
    ],
)
def test_bad_options(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        distilled(**options)
