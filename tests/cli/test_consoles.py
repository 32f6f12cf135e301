# SPDX-License-Identifier: Apache-2.0
"""Consoles and systems whose encoding is not UTF-8, and names that they cannot write."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import model_files
from octavo import cli

NAMES = {"ascii": "모델", "cp1252": "모델", "cp949": "modèle", "utf-8": "\udcff"}


@pytest.mark.parametrize("encoding", NAMES)
def test_what_a_console_lacks_is_escaped(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if encoding == "utf-8" and sys.platform != "linux":
        pytest.skip("names that are not UTF-8 are a thing of Linux")
    source = model_files.write_random(tmp_path / NAMES[encoding])
    name = NAMES[encoding].encode(encoding, "backslashreplace").decode(encoding)
    for words, code in (
        (("compress", source, f"{source} int8"), 0),
        (("compress", source, f"{source} json", "--json"), 0),
        (("compress", f"{source}?", f"{source} int8"), 1),
    ):
        for stream in ("stdout", "stderr"):
            monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        assert cli.main([str(word) for word in words]) == code
        target = sys.stderr if code else sys.stdout
        assert isinstance(target, io.TextIOWrapper)
        assert target.errors == "strict"
        target.seek(0)
        shown = target.read()
        if "--json" in words:
            assert json.loads(shown)["model"] == str(source)
        else:
            assert name in shown
    assert (tmp_path / f"{source} int8" / "config.json").is_file()


PROGRAM = """
import sys, warnings
warnings.filterwarnings("error", category=EncodingWarning, module="octavo")
from octavo import cli
folder, data = sys.argv[1:]
out = folder + "-int8"
codes = [
    cli.main(["compress", folder, out]),
    cli.main(["evaluate", out, "--data", data, "--reference", folder]),
    cli.main(["bench", "linear", "--shapes", "1x8x8", "--json", out + ".json"]),
    cli.main(["info"]),
]
sys.exit(max(codes))
"""


def test_no_file_is_read_or_written_as_the_system_likes(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="reading sentences needs it")
    folder = model_files.write_random(tmp_path / "float")
    model_files.write_tokenizer(folder)
    data = tmp_path / "data.txt"
    data.write_text("문장\na – b\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-X", "warn_default_encoding", "-c", PROGRAM, str(folder), str(data)]
    done = subprocess.run(command, env={**os.environ, **plain}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
