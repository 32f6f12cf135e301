# SPDX-License-Identifier: Apache-2.0
"""Weights in memory that processes share: the same results, once in memory, whoever dies."""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from encoders import assert_same_encoder
from native import needs_core
from octavo import _backend, nn
from octavo.io import segment
from octavo.models import load, sharing
from octavo.nn.tree import map_layers
from sparse_files import pruned_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    needs_core,
    pytest.mark.skipif(segment.missing() is not None, reason=str(segment.missing())),
]

IDS = np.arange(24).reshape(2, 12)

# Loads a model with its weights shared, counts those that it packed itself, and waits.
HOLDER = """
import sys
import numpy as np
from octavo.models import load, sharing

made, make = [], sharing.make
sharing.make = lambda *arguments: made.append(make(*arguments)) or made[0]

def private():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024

before = private()
model = load(sys.argv[1], shared=True)
vectors = model(np.arange(24).reshape(2, 12))
print(len(made), private() - before, vectors.astype(float).sum(), flush=True)
sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def answer(process: subprocess.Popen[str]) -> tuple[int, int, float]:
    assert process.stdout is not None
    made, memory, total = process.stdout.readline().split()
    return int(made), int(memory), float(total)


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An int8 model that no other test, or process, has."""
    return saved(octavo.compress(load(written(tmp_path / "float"))), tmp_path / "int8")


def written(place: Path, tensors: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
    config = {**model_files.BERT, **changes}
    tensors = tensors or model_files.random_tensors(config)
    return unique(model_files.write_folder(place, config, tensors))


def saved(model: Any, place: Path) -> Path:
    model.save(place)
    return unique(place)


def unique(place: Path) -> Path:
    path = place / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "test": uuid.uuid4().hex}), encoding="utf-8")
    return place


def entries(name: str) -> list[str]:
    with segment._folder() as place:
        return [entry for entry in os.listdir(place) if entry.startswith(name)]  # noqa: PTH208


@pytest.fixture
def packs_nothing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        monkeypatch.setattr(sharing, "make", lambda *_: pytest.fail("packed again"))

    return forbid


def sparse(model: Any) -> Any:
    def form(_: str, layer: Any) -> Any:
        return layer.with_format("bitmap") if nn.is_linear(layer) else layer

    return map_layers(octavo.compress(model), form)


def of_kind(kind: str) -> Callable[[Any], Any]:
    def convert(_: str, layer: Any) -> Any:
        if not isinstance(layer, (nn.Linear, nn.Embedding)):
            return layer
        if kind == "int4" and not isinstance(layer, nn.Linear):
            return layer
        weight = nn.weights.weight_class(kind).from_float(layer.weight)
        if isinstance(layer, nn.Linear):
            return layer.replace(weight=weight)
        return nn.Embedding.of(weight)

    return lambda model: map_layers(model, convert)


@pytest.mark.parametrize(
    "made_of",
    [None, octavo.compress, sparse, *map(of_kind, ("int4", "float16", "bfloat16"))],
    ids=["float32", "int8", "sparse", "int4", "float16", "bfloat16"],
)
def test_the_same_model_from_memory_of_all(
    made_of: Callable[[Any], Any] | None, tmp_path: Path, packs_nothing: Callable[[], None]
) -> None:
    folder = written(tmp_path / "float", pruned_tensors(0.9))
    if made_of is not None:
        model = made_of(load(folder))
        model.recipe = model.recipe or {}
        folder = saved(model, tmp_path / "made")
    plain, first = load(folder), load(folder, shared=True)
    packs_nothing()
    second = load(folder, shared=True)
    assert first.segment is not None
    assert second.segment is not None
    assert first.segment.name == second.segment.name
    for name, layer in plain.named_modules():
        if isinstance(layer, (nn.Linear, nn.Embedding)):
            twin = second.get_submodule(name)
            assert second.segment.arrays(name).keys() == layer.held_weight.shareable().keys()
            assert (twin.kind, twin.format, twin.nbytes) == (layer.kind, layer.format, layer.nbytes)
    for model in (first, second):
        assert_same_encoder(model, plain)


def test_two_at_once_pack_once(folder: Path) -> None:
    both = [holder(folder) for _ in range(2)]
    (made, _, total), (made_too, _, total_too) = map(answer, both)
    assert made + made_too == 1
    assert total == total_too == float(load(folder)(IDS).astype(float).sum())
    end(*both)


def test_whoever_is_left_is_enough(folder: Path, packs_nothing: Callable[[], None]) -> None:
    first = holder(folder)
    assert answer(first)[0] == 1
    second = holder(folder)
    assert answer(second)[0] == 0
    kill(first)
    packs_nothing()
    model = load(folder, shared=True)
    kill(second)
    name = model.segment.name
    load(folder, shared=True)
    gc.collect()
    assert len(entries(name)) == 1
    del model
    gc.collect()
    assert entries(name) == []


def test_nothing_is_left_when_all_were_killed(folder: Path) -> None:
    process = holder(folder)
    answer(process)
    kill(process)
    model = load(folder, shared=True)
    assert [int(entry.split(".")[1]) for entry in entries(model.segment.name)] == [os.getpid()]


def test_a_second_process_takes_little_memory(tmp_path: Path) -> None:
    config = {"vocab_size": 40_000, "hidden_size": 384, "intermediate_size": 1536}
    tensors = model_files.random_tensors({**model_files.BERT, **config})
    folder = written(tmp_path / "float", tensors, **config)
    first = holder(folder)
    answer(first)
    second = holder(folder)
    made, memory, _ = answer(second)
    assert made == 0
    assert memory < 0.25 * load(folder).nbytes
    end(first, second)


def test_nobody_can_write(folder: Path) -> None:
    model = load(folder, shared=True)
    with segment._folder() as place:
        (entry,) = entries(model.segment.name)
        handle = os.open(entry, os.O_RDWR, dir_fd=place)
    with pytest.raises(PermissionError):
        os.write(handle, b"x")
    for size in (0, model.segment.nbytes - 1, model.segment.nbytes + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(handle, size)
    os.close(handle)
    for arrays in map(model.segment.arrays, ("embeddings.word_embeddings", "pooler.dense")):
        assert not any(array.flags.writeable for array in arrays.values())


def test_another_model_in_the_same_place(folder: Path, tmp_path: Path) -> None:
    before = load(folder, shared=True)
    tensors = model_files.random_tensors(model_files.BERT, seed=1)
    octavo.compress(load(written(tmp_path / "other", tensors))).save(folder)
    after = load(folder, shared=True)
    assert after.segment.name != before.segment.name
    assert_same_encoder(after, load(folder))
    # What only looks the same is another one too.
    file = folder / "model.safetensors"
    content, info = bytearray(file.read_bytes()), file.stat()
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert load(folder, shared=True).segment.name != after.segment.name


def forge(name: str, content: bytes, *, seal: bool = True) -> int:
    writer = segment.SegmentWriter()
    file = writer._file
    file.write(content)
    file.flush()
    if seal:
        segment.fcntl.fcntl(file.fileno(), segment.fcntl.F_ADD_SEALS, segment._seals())
    handle = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
    writer.close()
    with segment._folder() as place:
        os.symlink(f"/proc/self/fd/{handle}", f"{name}.{os.getpid()}.{handle}", dir_fd=place)
    return handle


@pytest.mark.parametrize("kind", ["cut", "unsealed", "other", "codes", "forms", "file", "dangling"])
def test_a_forged_segment_is_passed_over(kind: str, folder: Path) -> None:
    honest = load(folder, shared=True)
    name, memory = honest.segment.name, bytes(honest.segment._memory)
    plain = load(folder)
    del honest
    gc.collect()
    assert entries(name) == []
    content = {
        "cut": memory[: len(memory) // 2],
        "other": memory.replace(name.encode(), name[::-1].encode()),
        "codes": memory.replace(b"weight_scale", b"weight_skale"),
        "forms": memory.replace(b'\\"kind\\"', b'\\"mind\\"'),
    }.get(kind, memory)
    assert (content == memory) == (kind in ("unsealed", "file", "dangling"))
    if kind in ("file", "dangling"):
        target = folder / "config.json" if kind == "file" else folder / "nothing"
        with segment._folder() as place:
            os.symlink(target, f"{name}.1.1", dir_fd=place)
    else:
        handle = forge(name, content, seal=kind != "unsealed")
    model = load(folder, shared=True)
    assert_same_encoder(model, plain)
    assert entries(name) == [f"{name}.{os.getpid()}.{max(segment._held)}"]
    if kind not in ("file", "dangling"):
        os.close(handle)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_outlives_its_parent_is_found(folder: Path) -> None:
    model = load(folder, shared=True)
    vectors, (reader, writer) = model(IDS), os.pipe()
    child = os.fork()
    if child == 0:
        same = np.array_equal(model(IDS), vectors)
        listed = [e for e in entries(model.segment.name) if f".{os.getpid()}." in e]
        os.write(writer, b"yes" if same and len(listed) == 1 else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 3) == b"yes"
    os.close(reader)
    os.close(writer)


def test_a_copy_has_memory_of_its_own(folder: Path) -> None:
    model = load(folder, shared=True)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.segment is None
    assert_same_encoder(copy, model)
    layer = model.encoder.layer[0].output.dense
    assert layer.replace(bias=None).held_weight is layer.held_weight


def test_threads_and_one_segment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], sharing.make

    def counted(*arguments: Any) -> Any:
        made.append(make(*arguments))
        return made[-1]

    monkeypatch.setattr(sharing, "make", counted)
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: load(folder, shared=True), range(4)))
    assert len(made) == 1
    assert len({model.segment.name for model in models}) == 1


@pytest.mark.parametrize("reason", ["system", "backend", "folder"])
def test_where_nothing_can_be_shared(
    reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load(folder)
    if reason == "system":
        monkeypatch.delattr(os, "memfd_create")
    elif reason == "folder":
        monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000 - 1)
        monkeypatch.setattr(os, "mkdir", lambda *_: None)
    with (
        _backend.use("numpy" if reason == "backend" else "native"),
        pytest.warns(UserWarning, match="no other process shares the weights"),
    ):
        model = load(folder, shared=True)
    assert model.segment is None
    np.testing.assert_array_equal(model(IDS), plain(IDS))
