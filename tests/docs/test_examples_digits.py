# SPDX-License-Identifier: Apache-2.0
"""The scikit-learn example: what it promises about accuracy, size and brevity."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo

if TYPE_CHECKING:
    from types import ModuleType

pytest.importorskip("sklearn", reason="the example trains with scikit-learn")

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "digits_mlp.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_mlp", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(example: ModuleType) -> Any:
    return example.train()


@pytest.fixture(scope="module")
def scores(example: ModuleType, trained: Any) -> Any:
    """Scores of all images at once, on this machine's best tier."""
    return example.int8_network(trained[0])(trained[1])


def test_int8_costs_less_than_half_a_point(example: ModuleType, trained: Any, scores: Any) -> None:
    layers, images, labels = trained
    before = example.float_network(layers, images).argmax(axis=1)
    after = scores.argmax(axis=1)
    assert (before == labels).mean() > 0.96
    assert (after == labels).mean() >= (before == labels).mean() - 0.005
    assert (before == after).mean() >= 0.99


def test_every_tier_gives_the_same_scores(
    example: ModuleType, trained: Any, scores: Any, isa: str
) -> None:
    layers, images, _ = trained
    network = example.int8_network(layers)
    one_by_one = np.concatenate([network(row[None]) for row in images[:20]])
    np.testing.assert_array_equal(one_by_one, scores[:20])


def test_it_is_three_lines(example: ModuleType) -> None:
    lines = inspect.getsource(example.int8_network).splitlines()
    assert len([line for line in lines[2:] if line.strip()]) == 3


def test_the_printed_table(
    example: ModuleType, trained: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = example.run
    monkeypatch.setattr(example, "train", lambda: trained)
    monkeypatch.setattr(example, "run", lambda: run(rounds=2))
    example.main()
    printed = capsys.readouterr().out
    weights = sum(weight.size for weight, _ in trained[0])
    assert f"{4 * weights:,}" in printed
    assert f"{weights:,}" in printed
    for row in ("accuracy", "1 row ", "600 rows", octavo.runtime.get_isa()):
        assert row in printed
