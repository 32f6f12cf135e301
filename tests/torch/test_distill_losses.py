# SPDX-License-Identifier: Apache-2.0
"""The losses of distillation against NumPy, and which layer learns from which."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
distillation = pytest.importorskip("octavo.torch.distillation", reason="needs PyTorch")


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_soft_targets(rng: np.random.Generator) -> None:
    student, teacher = rng.standard_normal((2, 5, 4))
    for temperature in (1.0, 3.0):
        p, q = softmax(teacher / temperature), softmax(student / temperature)
        expected = temperature**2 * (p * np.log(p / q)).sum(-1).mean()
        loss = distillation.soft_target_loss(
            torch.tensor(student), torch.tensor(teacher), temperature
        )
        assert loss.item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"one shape.*\(5, 4\) and \(5, 3\)"):
        distillation.soft_target_loss(torch.tensor(student[:, :3]), torch.tensor(teacher))


def test_soft_targets_per_token_and_of_one_output(rng: np.random.Generator) -> None:
    student, teacher = rng.standard_normal((2, 2, 3, 4))
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    kept = mask.bool().numpy()
    whole = distillation.soft_target_loss(torch.tensor(student), torch.tensor(teacher), 2.0, mask)
    part = distillation.soft_target_loss(torch.tensor(student[kept]), torch.tensor(teacher[kept]))
    assert whole.item() == pytest.approx(part.item(), rel=1e-12)
    one = distillation.soft_target_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]]))
    assert one.item() == 2.0


def test_labels(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((6, 3))
    labels = np.array([0, 2, 1, -100, 2, -100])
    kept = labels >= 0
    expected = -np.log(softmax(logits)[kept, labels[kept]]).mean()
    loss = distillation.label_loss(torch.tensor(logits), torch.tensor(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    nothing = distillation.label_loss(torch.tensor(logits), torch.full((6,), -100))
    assert nothing.item() == 0.0
    assert distillation.label_loss(torch.zeros(2, 1), torch.tensor([1.0, 3.0])).item() == 5.0


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 3], ValueError, r"classes in \[0, 2\], got 3"),
        ([0, -1], ValueError, r"classes in \[0, 2\], got -1"),
        ([0.0, 1.0], TypeError, "expected integers, got torch.float32"),
        ([[0], [1]], ValueError, r"expected shape \(2,\), got \(2, 1\)"),
        ([0, 1, 2], ValueError, r"expected shape \(2,\), got \(3,\)"),
    ],
)
def test_labels_that_do_not_fit(labels: list, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        distillation.label_loss(torch.zeros(2, 3), torch.tensor(labels))


def test_hidden_states_and_cosines(rng: np.random.Generator) -> None:
    student, teacher = rng.standard_normal((2, 2, 3, 4))
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    a, b = student[mask > 0], teacher[mask > 0]
    tensors = torch.tensor(student), torch.tensor(teacher), torch.tensor(mask)
    assert distillation.hidden_loss(*tensors).item() == pytest.approx(np.square(a - b).mean())
    cosines = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    assert distillation.cosine_loss(*tensors).item() == pytest.approx(1 - cosines.mean())
    pooled = distillation.pool(tensors[0], tensors[2])
    np.testing.assert_allclose(pooled[0].numpy(), student[0, :2].mean(0))
    np.testing.assert_array_equal(distillation.pool(tensors[0], how="first").numpy(), student[:, 0])


def test_attention_scores(rng: np.random.Generator) -> None:
    """What stands in front of the softmax, up to a constant a row, over tokens that count."""
    scores = rng.standard_normal((2, 2, 3, 4, 4))
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    seen = np.where(mask[:, None, None, :] > 0, scores, -np.inf)
    maps = [torch.tensor(softmax(part)) for part in seen]
    squares, count = 0.0, 0
    for row, tokens in enumerate(mask.sum(1)):
        part = scores[:, row, :, :tokens, :tokens]
        part = part - part.mean(-1, keepdims=True)
        squares += np.square(part[0] - part[1]).sum()
        count += part[0].size
    loss = distillation.attention_loss(*maps, torch.tensor(mask))
    assert loss.item() == pytest.approx(squares / count, rel=1e-9)
    shares = distillation.attention_loss(*maps, torch.tensor(mask), scores=False)
    both = (mask[:, None, None, :] * mask[:, None, :, None]) > 0
    differences = (maps[0] - maps[1]).numpy()[np.broadcast_to(both, maps[0].shape)]
    assert shares.item() == pytest.approx(np.square(differences).mean())


def test_dropout_in_attention_maps_does_not_count() -> None:
    teacher = torch.softmax(torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0)), -1)
    dropped = teacher * 2
    dropped[:, :, :, ::2] = 0
    assert distillation.attention_loss(dropped, teacher).item() == pytest.approx(0, abs=1e-12)


def test_heads_that_differ() -> None:
    with pytest.raises(ValueError, match=r"attention maps.*\(1, 4, 3, 3\) and \(1, 2, 3, 3\)"):
        distillation.attention_loss(torch.ones(1, 2, 3, 3), torch.ones(1, 4, 3, 3))


def test_layers_are_spread_evenly() -> None:
    pairs = distillation.layer_pairs
    assert pairs(3, 6) == [(0, 1), (1, 3), (2, 5)]
    assert pairs(4, 12) == [(0, 2), (1, 5), (2, 8), (3, 11)]
    assert pairs(5, 6) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert pairs(1, 6) == [(0, 5)]
    for teacher in range(1, 14):
        for student in range(1, teacher + 1):
            taken = [theirs for _, theirs in pairs(student, teacher)]
            assert taken == sorted(set(taken))
            assert taken[-1] == teacher - 1
    assert pairs(3, 6, [0, 2, 5]) == [(0, 0), (1, 2), (2, 5)]
    assert pairs(3, 6, {2: 5}) == [(2, 5)]


@pytest.mark.parametrize(
    ("student", "layers", "error", "message"),
    [
        (7, None, ValueError, "at most 6 layers in the student.*got 7"),
        (3, [0, 1], ValueError, "each of the student's 3, got 2"),
        (3, [0, 1, 6], ValueError, r"teacher's layer: expected a value in \[0, 5\], got 6"),
        (3, {3: 0}, ValueError, r"student's layer: expected a value in \[0, 2\], got 3"),
        (3, {0: -1}, ValueError, "got -1"),
        (3, {"0": 1}, TypeError, "student's layer: expected an integer, got str"),
        (3, {}, ValueError, "at least one pair"),
        (3, "uniform", TypeError, "got str"),
    ],
)
def test_mappings_that_do_not_fit(student: int, layers: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        distillation.layer_pairs(student, 6, layers)


@pytest.mark.parametrize(
    ("kind", "field", "value", "error"),
    [
        ("Objective", "soft", -1.0, ValueError),
        ("Objective", "hidden", math.nan, ValueError),
        ("Objective", "cosine", None, TypeError),
        ("Objective", "temperature", 0, ValueError),
        ("Objective", "pooling", "max", ValueError),
        ("Training", "epochs", 0, ValueError),
        ("Training", "learning_rate", 0.0, ValueError),
        ("Training", "warmup", 1.0, ValueError),
        ("Training", "patience", 1.5, TypeError),
        ("Training", "maximize", 1, TypeError),
    ],
)
def test_settings_are_checked(kind: str, field: str, value: object, error: type) -> None:
    with pytest.raises(error, match=f"^{field}: expected"):
        getattr(distillation, kind)(**{field: value})
