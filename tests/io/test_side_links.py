# SPDX-License-Identifier: Apache-2.0
"""Side files that are something else than files: links are followed, those that lead out told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from octavo.io.side_files import side_files

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")


def test_links_that_stay_are_followed_without_a_word(tmp_path: Path) -> None:
    """In the folder, and in the hub's cache: snapshots/COMMIT/FILE leads to blobs/HASH."""
    blob = tmp_path / "models--a--b" / "blobs" / "0123"
    snapshot = tmp_path / "models--a--b" / "snapshots" / "4567"
    for folder in (blob.parent, snapshot / "1_Pooling"):
        folder.mkdir(parents=True)
    blob.write_bytes(b"{}")
    (snapshot / "tokenizer.json").symlink_to("../../blobs/0123")
    (snapshot / "1_Pooling" / "config.json").symlink_to("../../../blobs/0123")
    (snapshot / "merges.txt").symlink_to("tokenizer.json")
    (tmp_path / "link").symlink_to(snapshot)
    for place in (snapshot, tmp_path / "link"):
        found = side_files(place)
        assert found == dict.fromkeys(
            ("tokenizer.json", "merges.txt", "1_Pooling/config.json"), b"{}"
        )


@pytest.mark.parametrize("name", ["vocab.txt", "1_Pooling/config.json"])
def test_a_link_that_leads_out_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "blobs").mkdir()
    secret = tmp_path / "blobs" / "config.json"
    secret.write_bytes(b"secret")
    link = tmp_path / "model" / name
    if name == "vocab.txt":
        link.parent.mkdir()
        link.symlink_to(secret)
    else:  # the folder is the link
        link.parent.parent.mkdir()
        link.parent.symlink_to(secret.parent)
    with pytest.warns(UserWarning, match=rf"{name} is a link out of the folder, to {secret}"):
        assert side_files(tmp_path / "model") == {name: b"secret"}


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt"):
        side_files(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    os.mkfifo(tmp_path / "vocab.txt")
    with pytest.raises(OSError, match=r"vocab\.txt is a pipe or a device"):
        side_files(tmp_path)
