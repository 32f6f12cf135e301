# SPDX-License-Identifier: Apache-2.0
"""The command line: results, exit codes, and nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import model_files
import octavo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


def test_compress(tmp_path: Path, run: Run) -> None:
    folder = model_files.write_random(tmp_path / "float")
    code, out, err = run("compress", folder, tmp_path / "int8", "--recipe", "int8")
    assert (code, err) == (0, "")
    assert str(tmp_path / "int8") in out
    assert "x smaller" in out
    assert octavo.models.load(tmp_path / "int8").encode([[1, 2, 3]]).shape == (1, 32)
    result = json.loads(run("compress", folder, tmp_path / "int8", "--json")[1])
    assert result["bytes_before"] == (folder / "model.safetensors").stat().st_size
    assert result["bytes_after"] == (tmp_path / "int8" / "model.safetensors").stat().st_size
    assert (result["recipe"], result["layers"]) == ("int8", 21)


def test_compress_replaces_and_refuses(tmp_path: Path, run: Run) -> None:
    folder = model_files.write_random(tmp_path / "float")
    for _ in range(2):
        assert run("compress", folder, tmp_path / "int8")[0] == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear", encoding="utf-8")
    code, out, err = run("compress", folder, other)
    assert (code, out) == (1, "")
    assert "octavo: error:" in err
    assert "is left as it is" in err
    assert (other / "letter.txt").read_text(encoding="utf-8") == "dear"
    code, _, err = run("compress", folder, folder)
    assert code == 1
    assert "OUT is the model to compress" in err


PRUNED = ["compress", "float", "out", "--recipe", "2:4-int8", "--calibration"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compress", "absent", "out"], "no such folder: absent"),
        (["report", "no/such/out.html"], "no such folder: "),
        (["report", "o.html", "--model", "absent"], "no such folder: absent"),
        (["report", "o.html", "--bench", "absent"], "absent: cannot be read"),
        (["report", "o.html", "--reference", "float"], "reference: it goes with a model"),
        (["compress", "float", "out", "--recipe", "int3"], "recipe: expected int8, int8-static"),
        (["compress", "float", "out", "--recipe", "no.yaml"], "no.yaml"),
        (["compress", "float", "out", "--calibration", "x.npz"], "calibration: expected none"),
        ([*PRUNED, "no.txt"], "no.txt"),
        ([*PRUNED, "x.csv"], "expected a .npz, .txt or .jsonl"),
        (["demo", "absent"], "no such folder: absent"),
        (["demo", "float"], "float: no tokenizer.json"),
    ],
)
def test_failures(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model_files.write_random(tmp_path / "float")
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert "octavo: error: " in err
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float"]


@pytest.mark.parametrize("words", [[], ["fold"], ["compress"], ["info", "--nope"]])
def test_wrong_usage(words: list[str], run: Run) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: octavo")


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"octavo {octavo.__version__}\n", "")


@pytest.mark.parametrize("command", ["", "compress", "info", "bench", "demo", "report"])
def test_help_has_examples(command: str, run: Run) -> None:
    code, out, err = run(*filter(None, [command]), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: octavo {command}".rstrip())
    examples = out[out.index("Examples:") :].splitlines()[1:]
    assert any(line.strip().startswith(f"octavo {command}".rstrip()) for line in examples)
    assert "\x1b" not in out


def test_info(run: Run) -> None:
    code, out, err = run("info")
    assert (code, err) == (0, "")
    info = octavo.runtime.cpu_info()
    labels = [line.split()[0] for line in out.splitlines()]
    expected = [
        "octavo",
        "backend",
        "tier",
        "threads",
        "memory",
        "cpu",
        "features",
        "compiler",
        "python",
    ]
    assert labels == expected
    for value in (info["backend_reason"], info["isa"], str(info["num_threads"]), info["cpu"]):
        assert value in out


def test_info_json(run: Run) -> None:
    code, out, _ = run("info", "--json")
    assert code == 0
    assert json.loads(out) == octavo.runtime.cpu_info()


def test_no_typer(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    for name in [name for name in sys.modules if name.startswith("octavo.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    code, out, err = run("info")
    assert (code, out) == (1, "")
    assert "the command line needs the package 'typer': pip install \"octavo[cli]\"" in err


def test_no_typer_as_a_module() -> None:
    code = (
        "import runpy, sys; sys.modules['typer'] = None; runpy.run_module('octavo', {}, '__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert 'pip install "octavo[cli]"' in done.stderr


def test_an_unexpected_error_is_a_line(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    def broken() -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(octavo.runtime, "cpu_info", broken)
    assert run("info") == (1, "", "octavo: error: RuntimeError: two\nlines\n")
    code, _, err = run("--traceback", "info")
    assert code == 1
    assert "in broken" in err


def test_completion() -> None:
    settings = {"_OCTAVO_COMPLETE": "complete_bash", "COMP_WORDS": "octavo com", "COMP_CWORD": "1"}
    done = subprocess.run(
        [*COMMAND], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["compress"], done.stderr


COMMAND = [sys.executable, "-c", "import sys; from octavo.cli import main; sys.exit(main())"]


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_of_a_real_process(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("needs POSIX signals")
    config = model_files.BERT | {"vocab_size": 60_000, "hidden_size": 512}
    config |= {"num_hidden_layers": 1}
    folder = model_files.write_folder(
        tmp_path / "float", config, model_files.random_tensors(config)
    )
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    slow = (
        "import sys, time; import octavo.models.save as save\n"
        "def copy(*args):\n    print('copying', flush=True); time.sleep(30)\n"
        "save.write_files = copy\n"
        "from octavo.cli import main; sys.exit(main())"
    )
    words = ["compress", str(folder), str(tmp_path / "int8")]
    command = [sys.executable, "-c", slow, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"copying\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"interrupted" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float"]


def test_reader_that_goes_away() -> None:
    if os.name != "posix":
        pytest.skip("needs POSIX pipes")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "info"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""
