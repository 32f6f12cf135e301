# SPDX-License-Identifier: Apache-2.0
"""What is read of a folder is of one save, whatever becomes of the folder meanwhile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from octavo.io import replaced_folder, snapshot
from octavo.io.folder import check_replaceable
from octavo.io.side_files import side_files, weight_bytes
from octavo.io.snapshot import OpenFolder, read_consistently

NAMES = ("a", "b", "c")


def save(folder: Path, content: str, names: tuple[str, ...] = NAMES) -> None:
    with replaced_folder(folder, lambda target: Path(target).absolute()) as fresh:
        for name in names:
            (fresh / name).write_text(content, encoding="utf-8")


@pytest.fixture(params=["relative", "by path"], autouse=True)
def _door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without opening files relative to the folder."""
    if request.param == "by path":
        monkeypatch.setattr(snapshot, "_RELATIVE", False)
    elif not snapshot._RELATIVE:
        pytest.skip("files cannot be opened relative to a folder here")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save(tmp_path / "place", "old")
    return tmp_path / "place"


@pytest.mark.parametrize("before", NAMES)
def test_a_save_between_two_files(place: Path, before: str) -> None:
    calls = []

    def read(folder: OpenFolder) -> list[bytes]:
        calls.append(folder)
        found = []
        for name in NAMES:
            if name == before and len(calls) == 1:
                save(place, "new and longer")
            found.append(folder.read(name))
        return found

    assert read_consistently(place, read) == [b"new and longer"] * 3
    assert len(calls) == 2


def test_one_file_that_is_replaced_or_written_to(place: Path) -> None:
    calls = []

    def read(folder: OpenFolder) -> list[bytes]:
        calls.append(folder)
        first = folder.read("a")
        if len(calls) == 1:
            (place / "fresh").write_text("new", encoding="utf-8")
            (place / "fresh").replace(place / "a")
        if len(calls) == 2:
            (place / "a").write_text("written to", encoding="utf-8")
        return [first, folder.read("b")]

    assert read_consistently(place, read) == [b"written to", b"old"]
    assert len(calls) == 3


def test_a_file_that_comes_late(place: Path) -> None:
    calls = []

    def read(folder: OpenFolder) -> bool:
        calls.append(folder)
        found = folder.is_file("d")
        if not found:
            (place / "d").touch()
        return found

    assert read_consistently(place, read)
    assert len(calls) == 2


def test_a_broken_folder_is_read_once(place: Path) -> None:
    calls = []

    def read(folder: OpenFolder) -> bytes:
        calls.append(folder)
        return folder.read("absent")

    with pytest.raises(FileNotFoundError) as caught:
        read_consistently(place, read)
    assert caught.value.filename == str(place / "absent")
    assert len(calls) == 1
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*nowhere"):
        read_consistently(place / "nowhere", read)
    with pytest.raises(NotADirectoryError, match="a is a file; expected a folder"):
        read_consistently(place / "a", read)
    (place / "d").mkdir()
    with pytest.raises(OSError, match="d"):
        read_consistently(place, lambda folder: folder.read("d"))
    assert not OpenFolder(place).is_file("d")


def test_the_attempts_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_ATTEMPTS", 3)
    calls = []

    def read(folder: OpenFolder) -> None:
        calls.append(folder.read("a"))
        save(place, f"number {len(calls)}")

    with pytest.raises(OSError, match=r"place: another save took its place each of the 3 times"):
        read_consistently(place, read)
    assert calls == [b"old", b"number 1", b"number 2"]

    def fail(folder: OpenFolder) -> None:
        read(folder)
        raise ValueError(f"a: bad {len(calls)}")

    with pytest.raises(ValueError, match="a: bad 6"):
        read_consistently(place, fail)


def test_between_two_renames(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where two folders cannot be exchanged in one step, there is none for a moment.
    aside = place.with_name(f".{place.name}.0123456789abcdef.old")
    place.rename(aside)
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            aside.rename(place)

    monkeypatch.setattr(snapshot.time, "sleep", wait)
    assert read_consistently(place, lambda folder: folder.read("a")) == b"old"
    assert len(waits) == 3
    place.rename(aside)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_consistently(place, lambda folder: folder.read("a"))
    assert sum(waits) < 1


def test_a_link_that_is_turned(place: Path, tmp_path: Path) -> None:
    save(tmp_path / "other", "new")
    link = tmp_path / "link"
    try:
        link.symlink_to(place, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    calls = []

    def read(folder: OpenFolder) -> list[bytes]:
        calls.append(folder)
        first = folder.read("a")
        if len(calls) == 1:
            link.unlink()
            link.symlink_to(tmp_path / "other", target_is_directory=True)
        return [first, folder.read("b")]

    assert read_consistently(str(link), read) == [b"new", b"new"]


def test_a_pipe_is_not_waited_for(place: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(place / "pipe")
    with pytest.raises(OSError, match="pipe is a pipe or a device; expected a file"):
        read_consistently(place, lambda folder: folder.read("pipe"))


def test_nothing_stays_open(place: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("no list of open files here")
    before = len(list(handles.iterdir()))
    for _ in range(20):
        read_consistently(place, lambda folder: folder.read("a"))
        with pytest.raises(FileNotFoundError):
            read_consistently(place, lambda folder: folder.read("absent"))
    assert len(list(handles.iterdir())) == before


def test_side_files_and_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    travelling = {
        **dict.fromkeys(("tokenizer.json", "vocab.json", "merges.txt", "unigram.json"), b"{}"),
        **dict.fromkeys(("sentencepiece.bpe.model", "spiece.model", "tokenizer.model"), b"\n\1x"),
        **dict.fromkeys(("chat_template.jinja", "additional_chat_templates/tool.jinja"), b"{{ }}"),
        **dict.fromkeys(("1_Pooling/config.json", "2_Dense/model.safetensors"), b"{}"),
        "3_LSTM/lstm_config.json": b"{}",
    }
    others = ("README.md", "model_x.bin", "0_Transformer/model.safetensors", "2_Dense/notes.txt")
    for name, content in {**travelling, **dict.fromkeys(others, b"other")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "model.safetensors").write_bytes(bytes(50))
    assert side_files(folder) == travelling
    assert weight_bytes(folder) == 50
    (folder / "vocab.txt").mkdir()
    with pytest.raises(IsADirectoryError, match=r"vocab\.txt is a folder; expected a file"):
        side_files(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        weight_bytes(folder)


def test_only_what_travels_may_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "2_Dense").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    for name in ("spiece.model", "2_Dense/model.safetensors"):
        (folder / name).write_bytes(b"x")
    assert check_replaceable(folder) == folder.resolve()
    (folder / "2_Dense" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="2_Dense"):
        check_replaceable(folder)
