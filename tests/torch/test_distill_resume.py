# SPDX-License-Identifier: Apache-2.0
"""Distillation that is interrupted and goes on: the bits of a run that was not."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
if TYPE_CHECKING:
    from pathlib import Path

import distill_models  # noqa: E402  (needs PyTorch)
from distill_models import TRAINING, batches, models  # noqa: E402


class StopError(Exception):
    """Stands for a crash."""


def crash_after(step: int) -> Any:
    def say(text: str, share: float) -> None:
        if text.startswith(f"step {step} "):
            raise StopError

    return say


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(data: Any = None, student: Any = None, training: Any = None, **options: Any) -> Any:
    teacher, made = models()
    data = batches() if data is None else data
    made = made if student is None else student
    return ot.distill(teacher, made, data, training={**TRAINING, **(training or {})}, **options)


def assert_same(first: Any, second: Any) -> None:
    assert first.history == second.history
    assert first.evaluations == second.evaluations
    assert first.best_step == second.best_step
    ours, theirs = first.student.state_dict(), second.student.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    for name, tensor in first.projections.state_dict().items():
        assert torch.equal(tensor, second.projections.state_dict()[name]), name


def metric(student: Any) -> float:
    """Something that depends on weights, and draws random numbers of its own."""
    torch.rand(3)
    with torch.no_grad():
        return -float(student(batches()[0]["input_ids"])["logits"].square().mean())


@pytest.mark.parametrize("step", [3, 8, 9, 16, 23])
def test_resumed_is_uninterrupted(step: int, tmp_path: Path) -> None:
    """Also at the end of an epoch (8, 16), and with an evaluation and the best weights kept."""
    whole = run(metric=metric)
    path = tmp_path / "run.pt"
    every = {"checkpoint_every": 1}
    with pytest.raises(StopError):
        run(metric=metric, checkpoint=path, training=every, on_progress=crash_after(step))
    assert_same(run(metric=metric, checkpoint=path), whole)
    assert_same(run(metric=metric, checkpoint=path), whole)


def test_projections_are_resumed(tmp_path: Path) -> None:
    narrow = models(layers=2, width=8)[1]
    aims = {"embeddings": 1.0, "cosine": 0.5}
    whole = run(student=copy.deepcopy(narrow), objective=aims)
    assert list(whole.projections) == ["hidden_0_1", "hidden_1_3", "embeddings", "cosine"]
    with pytest.raises(StopError):
        run(
            student=copy.deepcopy(narrow),
            objective=aims,
            checkpoint=tmp_path / "run.pt",
            on_progress=crash_after(10),
        )
    for _ in range(2):
        student = copy.deepcopy(narrow)
        assert_same(run(student=student, objective=aims, checkpoint=tmp_path / "run.pt"), whole)


def test_a_shuffling_loader_is_resumed(tmp_path: Path) -> None:
    ids = torch.randint(0, 50, (40, 5), generator=torch.Generator().manual_seed(1))
    for own in (None, torch.Generator().manual_seed(3)):
        data = torch.utils.data.TensorDataset(ids, torch.ones_like(ids), ids[:, 0] % 3)
        loader = torch.utils.data.DataLoader(data, 8, shuffle=True, generator=own)
        kept = None if own is None else own.get_state()
        whole = run(loader)
        with pytest.raises(StopError):
            run(loader, checkpoint=tmp_path / f"{own}.pt", on_progress=crash_after(7))
        assert_same(run(loader, checkpoint=tmp_path / f"{own}.pt"), whole)
        assert own is None or torch.equal(own.get_state(), kept)
        losses = [entry["loss"] for entry in whole.history]
        assert len(set(losses)) == len(losses)


def test_a_killed_process_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    program = [sys.executable, distill_models.__file__, str(path), "0.05"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("step 11 "):
                child.kill()
                break
        child.stdout.read()
    assert child.returncode == -signal.SIGKILL
    assert torch.load(path, weights_only=True)["progress"]["step"] in (10, 12)
    assert_same(run(checkpoint=path), run())
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.pt"]


@pytest.mark.usefixtures("interruptible")
def test_interrupts_leave_a_checkpoint(tmp_path: Path) -> None:
    """The same process may go on with the same student."""

    def interrupt(text: str, share: float) -> None:
        if text.startswith("step 5 "):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    path = tmp_path / "run.pt"
    student = models()[1]
    with pytest.raises(KeyboardInterrupt):
        run(
            student=student,
            checkpoint=path,
            training={"checkpoint_every": 100},
            on_progress=interrupt,
        )
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(path, weights_only=True)["progress"]["step"] == 5
    assert_same(run(student=student, checkpoint=path), run())


def test_other_runs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(StopError):
        run(checkpoint=path, on_progress=crash_after(4))
    content = path.read_bytes()
    other = models()[1]
    with torch.no_grad():
        other.head.bias += 1
    for options, message in (
        ({"training": {"learning_rate": 1e-3}}, "training.learning_rate: 0.003 there, 0.001 now"),
        ({"objective": {"layers": [0, 1]}}, r"objective.layers: None there, \[0, 1\] now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"data": batches(7)}, "data.batches: 8 there, 7 now"),
        ({"student": other}, "student: its weights are not those"),
        ({"student": models(layers=3)[1]}, "student: .*Tiny of .* tensors' now"),
        ({"metric": metric}, "metric: False there, True now"),
    ):
        with pytest.raises(ValueError, match=message):
            run(checkpoint=path, **options)
    assert path.read_bytes() == content
    run(checkpoint=path, training={"checkpoint_every": 7})


def test_paths_and_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    run(checkpoint=path, training={"steps": 2})
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint: .*run\.pt cannot be read"):
            run(checkpoint=path)
        assert path.read_bytes() == content
    if hasattr(os, "mkfifo"):
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ValueError, match=r"run\.pt cannot be read \(.*is a pipe or a device"):
            run(checkpoint=path)
        path.unlink()
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no checkpoint of a distillation"):
        run(checkpoint=path)
    with pytest.raises(ValueError, match="expected a file, got the folder"):
        run(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="folder that exists"):
        run(checkpoint=tmp_path / "none" / "run.pt")
    with pytest.raises(TypeError, match="checkpoint: expected a path, got int"):
        run(checkpoint=3)


def test_the_same_seed_gives_the_same_student_and_leaves_the_generators_alone() -> None:
    def states() -> tuple[Any, ...]:
        numpy_state = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), random.getstate(), numpy_state[1].tolist()

    before = states()
    first = run()
    assert states() == before
    torch.rand(7), random.random()
    assert_same(run(), first)
    assert run(seed=1).history != first.history
