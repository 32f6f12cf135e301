# SPDX-License-Identifier: Apache-2.0
"""A folder that takes another's place: modes, and what saves leave beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from octavo.io import replaced_folder, replacing
from octavo.lora import Adapter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs modes and locks of POSIX")

MODEL = {"config.json": '{"model_type": "bert"}', "model.safetensors": "", "vocab.txt": ""}


def save(folder: Path, files: dict[str, str]) -> None:
    with replaced_folder(folder) as fresh:
        for name, content in files.items():
            (fresh / name).parent.mkdir(exist_ok=True)
            (fresh / name).write_text(content)


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture(autouse=True)
def _usual_umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("swaps", [True, False])
def test_modes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool) -> None:
    if not swaps:
        monkeypatch.setattr(replacing, "_swap_names", lambda first, second: False)
    out = tmp_path / "out"
    save(out, {**MODEL, "1_Pooling/config.json": "{}"})
    assert modes(out)["."] == modes(out)["1_Pooling"] == 0o755
    assert modes(out)["vocab.txt"] == 0o644
    for name, mode in (("model.safetensors", 0o600), ("vocab.txt", 0o664), ("1_Pooling", 0o700)):
        (out / name).chmod(mode)
    out.chmod(0o2750)
    before = modes(out)
    save(out, {**MODEL, "1_Pooling/config.json": "{}"})
    assert modes(out) == before
    # What is new is as private as the most private file was.
    save(out, {"config.json": MODEL["config.json"], "model.safetensors.zst": ""})
    assert modes(out) == {".": 0o2750, "config.json": 0o644, "model.safetensors.zst": 0o600}


def test_what_replaces_something_private_is_private_at_once(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(0o700)
    with replaced_folder(tmp_path / "out") as fresh:
        assert modes(fresh)["."] == 0o700
        (tmp_path / "out").chmod(0o711)
    assert modes(tmp_path / "out")["."] == 0o711


def test_what_killed_saves_left_goes_and_nothing_else(tmp_path: Path) -> None:
    out, host = tmp_path / "out", replacing._host()
    gone = [f".out.{host}01234567.tmp", f".out.{host}89abcdef.old"]
    kept = [
        f".out.{int(host, 16) ^ 1:08x}01234567.tmp",  # of another host
        f".other.{host}01234567.tmp",
        f".out.{host}0123456.tmp",
        ".out.tmp",
    ]
    for name in (*gone, *kept):
        (tmp_path / name / "1_Pooling").mkdir(parents=True)
        (tmp_path / name / "model.safetensors").write_bytes(b"x")
    link = tmp_path / f".out.{host}00000000.tmp"
    link.symlink_to(tmp_path / kept[1])
    with replaced_folder(out) as alive:
        (alive / "config.json").write_text(MODEL["config.json"])
        assert not (tmp_path / gone[0]).exists()
        # There is nothing in its place: it may be the only copy.
        assert (tmp_path / gone[1]).exists()
        save(out, MODEL)
        assert alive.exists()
    save(out, MODEL)
    assert {path.name for path in tmp_path.iterdir()} == {"out", link.name, *kept}
    assert (tmp_path / kept[1] / "model.safetensors").exists()


def test_a_save_that_was_taken_for_abandoned_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = replacing._locked, []

    def late(folder: Path) -> int:
        if len(taken) < 2:
            taken.append(folder)
            if len(taken) == 1:
                folder.rmdir()
            else:
                handle = os.open(folder, os.O_RDONLY)
                replacing.fcntl.flock(handle, replacing.fcntl.LOCK_EX)
                try:
                    return lock(folder)
                finally:
                    folder.rmdir()
                    os.close(handle)
        return lock(folder)

    monkeypatch.setattr(replacing, "_locked", late)
    save(tmp_path / "out", MODEL)
    assert len(taken) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_locks_it_is_saved_and_nothing_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "fcntl", None)
    left = tmp_path / f".out.{replacing._host()}01234567.tmp"
    left.mkdir()
    save(tmp_path / "out", MODEL)
    assert sorted(tmp_path.iterdir()) == [left, tmp_path / "out"]


@pytest.mark.parametrize("inside", [".", "1_Pooling"])
def test_the_current_folder_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    out = tmp_path / "out"
    save(out, {**MODEL, "1_Pooling/config.json": "{}"})
    monkeypatch.chdir(out / inside)
    with pytest.raises(FileExistsError, match="is or holds the current folder"):
        save(Path("..") if inside == "1_Pooling" else Path(), MODEL)
    save(tmp_path / "other", MODEL)
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["x"]}
    with pytest.raises(FileExistsError, match="is or holds the current folder"):
        Adapter(config, {}).save(out)
