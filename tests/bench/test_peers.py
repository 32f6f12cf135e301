# SPDX-License-Identifier: Apache-2.0
"""Peers, their workers, "when int8 pays", comparing runs. Nothing here depends on a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
from bench_rows import row_json
from octavo import cli, runtime
from octavo.bench import compare, files, layers, linear, pays
from octavo.bench.peers import base, worker

if TYPE_CHECKING:
    from pathlib import Path


def row(engine: str, seconds: float, case: str = "1x8x8", **more: Any) -> dict[str, Any]:
    return row_json(case, engine, seconds, **more)


def test_failing_peers_are_reported_not_fatal() -> None:
    layer = base.Layer(*linear.make_layer(8, 8), 1)

    def refuse(_: Any) -> Any:
        raise RuntimeError("no\nmore")

    def wrong(_: Any) -> Any:
        return lambda x: lambda: np.zeros((len(x), 8))

    def right(given: Any) -> Any:
        return lambda x: lambda: x @ given.weight.T + given.bias

    listed = [base.Peer(f.__name__, "int8", f) for f in (refuse, wrong, right)]
    ready, refused = base.prepare_all(listed, layer)
    assert refused == {"refuse": "no"}
    problem = linear.make_problem(2, 8, 8)
    calls, failed = base.bind_all(ready, problem.x, linear.checker(problem))
    assert set(calls) == {"right"}
    assert "relative error" in failed["wrong"]


def test_absent_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "onnxruntime", "openvino", "deepsparse"):
        monkeypatch.setitem(sys.modules, name, None)
    found, absent = base.find()
    assert found == []
    assert set(absent) == {"torch", "onnx", "openvino", "deepsparse"}
    assert "onnxruntime" in absent["onnx"] or "onnx" in absent["onnx"]


def test_every_installed_peer_computes_the_layer() -> None:
    code = (
        "import json; from octavo.bench import linear; from octavo.bench.peers import base\n"
        "from octavo.bench.peers.linear import MAX_PEER_ERROR\n"
        "problem = linear.make_problem(3, 32, 64)\n"
        "peers, absent = base.find()\n"
        "ready, refused = base.prepare_all(peers, base.Layer(problem.weight, problem.bias, 1))\n"
        "check = linear.checker(problem, MAX_PEER_ERROR)\n"
        "calls, failed = base.bind_all(ready, problem.x, check)\n"
        "print(json.dumps([[p.name for p in peers], list(calls), {**refused, **failed}, absent]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=worker.environment(1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, computed, failed, absent = json.loads(done.stdout.splitlines()[-1])
    if not names:
        pytest.skip(f"no peer is installed: {absent}")
    assert failed == {}
    assert computed == names
    assert len(names) >= 1 + 3 * ("torch" not in absent)


def test_environment_and_merge() -> None:
    made = worker.environment(3, {"X": "y"})
    assert (made["OMP_NUM_THREADS"], made["OCTAVO_NUM_THREADS"], made["X"]) == ("3", "3", "y")
    roof = {"threads": 1}
    one = {"bench": "linear", "machine": {"threads": 1}, "rows": [1], "failed": ["a"]}
    two = {"bench": "linear", "machine": {"threads": 2}, "rows": [2]}
    merged = worker.merge([{**one, "roofline": roof}, two], targets=[])
    assert (merged["rows"], merged["failed"], merged["targets"]) == ([1, 2], ["a"], [])
    assert [entry["threads"] for entry in merged["workers"]] == [1, 2]
    assert merged["rooflines"] == [roof]
    assert set(worker.thread_counts()) <= {1, 2}


def test_a_request_chooses_peers() -> None:
    request = worker.Request("linear", ((1, 8, 8),), 1, ("ort", ""))
    assert request.wants("ort dynamic int8")
    assert not request.wants("torch float32")
    assert worker.Request("linear", (), 1, ("",)).wants("torch float32")


def test_a_worker_measures_and_answers(tmp_path: Path) -> None:
    for name in ("torch", "onnx", "openvino", "deepsparse"):
        text = "print('noise on standard output'); raise ImportError('not in this test')"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    tier = runtime.isa_tiers()[-1]
    request = worker.Request("linear", ((1, 8, 8), (2, 8, 8)), 1, quick=True)
    told: list[list[str]] = []
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    more = {"PYTHONPATH": path} | ({} if tier == "numpy" else {"OCTAVO_ISA": tier})
    document = worker.launch(request, lambda rows: told.append([r.case for r in rows]), more)
    engines = ["octavo", "octavo float32", "numpy float32"]
    assert told == [["1x8x8"] * 3, ["2x8x8"] * 3]
    assert [r["engine"] for r in document["rows"]] == engines * 2
    assert document["rows"][0]["isa"] == tier
    assert document["machine"]["threads"] == 1
    assert document["settings"] == {"quick": True, "peers": True}
    absent = ("torch", "onnx", "openvino", "deepsparse")
    assert document["absent"] == dict.fromkeys(absent, "not in this test")


def test_a_worker_that_fails_says_why() -> None:
    request = worker.Request("model", ((1, 4),), 1, quick=True, model="no/such/model")
    with pytest.raises(worker.WorkerError, match="FileNotFoundError: no such folder"):
        worker.launch(request, lambda rows: None)
    with pytest.raises(worker.WorkerError, match=r"exit code|OCTAVO_ISA"):
        worker.launch(request, lambda rows: None, {"OCTAVO_ISA": "sse17"})


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_worker_too(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("needs POSIX signals")
    words = ["bench", "--peers", "--only", "nobody", "--shapes", "2048x4096x4096"]
    command = [sys.executable, "-m", "octavo", *words, "--json", str(tmp_path / "out.json")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_command_with_peers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, Any]] = []

    def launch(request: Any, tell: Any, more: Any) -> Any:
        asked.append((request, more))
        return worker.work(request, tell)

    monkeypatch.setattr("octavo.bench.run.launch", launch)
    monkeypatch.setattr(base, "MODULES", ())
    target = tmp_path / "out.json"
    words = [
        "bench",
        "--peers",
        "--only",
        "a,b",
        "--shapes",
        "1x8x8",
        "--threads",
        "1,2",
        "--quick",
    ]
    before = runtime.get_num_threads()
    assert cli.main([*words, "--isa", runtime.isa_tiers()[0], "--json", str(target)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    document = json.loads(target.read_text(encoding="utf-8"))
    rivals = [pair["rival"] for pair in document["int8_pays"]]
    assert len(rivals) == 2
    assert set(rivals) <= {"octavo float32", "numpy float32"}
    assert len(document["rooflines"]) == 2
    assert "against the fastest float32 of those above" in captured.out
    assert [(r.threads, r.only, m) for r, m in asked] == [
        (threads, ("a", "b"), {"OCTAVO_ISA": runtime.isa_tiers()[0]}) for threads in (1, 2)
    ]
    assert cli.main([*words, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]
    runtime.set_num_threads(before)


@pytest.mark.parametrize("kind", ["quantize", "model"])
def test_the_other_kinds_with_peers(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "octavo.bench.run.launch", lambda request, tell, more: worker.work(request, tell)
    )
    monkeypatch.setattr("octavo.bench.peers.conversions.torch_calls", refuse)
    monkeypatch.setattr("octavo.bench.peers.encoders.MAKERS", {"torch": refuse})
    folder = model_files.write_random(tmp_path / "float")
    before = runtime.get_num_threads()
    words = ["bench", kind, *([str(folder)] if kind == "model" else [])]
    assert cli.main([*words, "--peers", "--shapes", "2x8", "--threads", "1", "--quick"]) == 0
    printed = capsys.readouterr().out
    assert "torch: left out (not today)" in printed
    wanted = ["octavo int8", "octavo float32"] if kind == "model" else ["octavo", "numpy"]
    for engine in wanted:
        assert f" {engine} " in printed
    runtime.set_num_threads(before)


def refuse(*_: Any) -> Any:
    raise RuntimeError("not today")


def test_when_int8_pays() -> None:
    rows = [
        row("octavo", 1.0),
        row("numpy float32", 4.0),
        row("torch float32", 2.0),
        row("torch int8 x86", 0.5),
        row("octavo", 1.0, "2x8x8"),
        row("numpy float32", 1.05, "2x8x8"),
        row("octavo", 1.0, "3x8x8"),
        row("numpy float32", 0.5, "3x8x8"),
        row("octavo", 1.0, "4x8x8"),
    ]
    found = pays.verdicts(rows)
    assert [(v.case, v.rival, v.verdict) for v in found] == [
        ("1x8x8", "torch float32", "pays"),
        ("2x8x8", "numpy float32", "even"),
        ("3x8x8", "numpy float32", "loses"),
    ]
    assert found[0].ratio == 2.0
    assert (found[0].low, found[0].high) == pytest.approx((1.8 / 1.1, 2.2 / 0.9))
    assert pays.summary(found) == (
        "int8 pays on 1 of 3 cases; about even: 2x8x8 (T=1); float32 is faster: 3x8x8 (T=1)"
    )


def test_each_tier_is_held_against_the_run_it_was_in() -> None:
    rows = [
        row("octavo", 1.0, isa="avx2"),
        row("numpy float32", 4.0),
        row("octavo", 2.0, isa="scalar"),
        row("numpy float32", 6.0),
    ]
    assert [(v.isa, v.ratio) for v in pays.verdicts(rows)] == [("avx2", 4.0), ("scalar", 3.0)]


def write(path: Path, seconds: float, **machine: str) -> Path:
    content = {"machine": machine, "rows": [row("octavo", seconds)]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_compare_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base_file = write(tmp_path / "a.json", 1.0, cpu="A")
    head_file = write(tmp_path / "b.json", 2.0, cpu="B")
    words = ["bench", "--compare", str(base_file), str(head_file)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "cpu: A -> B" in printed
    assert "2.000" in printed
    assert "1.64 .. 2.44" in printed
    assert "slower" in printed
    assert cli.main([*words, "--fail-above", "1.5"]) == 1
    assert cli.main([*words, "--fail-above", "2.5"]) == 0
    assert (
        cli.main(["bench", "--compare", str(head_file), str(base_file), "--fail-above", "1"]) == 0
    )
    capsys.readouterr()
    assert cli.main([*words, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["verdict"] == "slower"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x.json: cannot be read"),
        ("{", "x.json: not a result file"),
        ("[]", "x.json: not a result file: no list 'rows'"),
        ('{"rows": []}', "no rows in common"),
        ('{"rows": [{"case": "1x8x8"}]}', "base: row 0 has no"),
    ],
)
def test_files_that_are_no_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    good, bad = write(tmp_path / "good.json", 1.0), tmp_path / "x.json"
    if content is not None:
        bad.write_text(content, encoding="utf-8")
    assert cli.main(["bench", "--compare", str(bad), str(good)]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_only_changed_rows_and_one_engine() -> None:
    old = {"rows": [row("octavo", 1.0), row("numpy", 1.0)]}
    new = {"rows": [row("octavo", 1.01), row("numpy", 3.0), row("torch", 1.0)]}
    result = compare.compare(old, new)
    text = compare.text(result, changed_only=True)
    assert "octavo" not in text
    assert "only in head: 1 rows" in text
    assert "over 1 rows" in compare.text(result, engine="octavo")
    assert compare.slower(result, 1.1, "octavo") == []
    assert [c.key[2] for c in compare.slower(result, 1.1)] == ["numpy"]


def test_shapes_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model_files.write_random(tmp_path / "float")
    assert set(layers.layer_shapes(folder, (1, 7))) == {
        (m, n, k) for m in (1, 7) for n, k in ((32, 32), (48, 32), (32, 48))
    }
    assert cli.main(["bench", "--quick", "--layers-of", str(folder), "--rows", "2"]) == 0
    assert "2x48x32" in capsys.readouterr().out
    assert cli.main(["bench", "--layers-of", str(tmp_path / "none")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_files_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.json"
    target.touch(0o600)
    files.write_text(target, "old")
    assert target.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        files.write_text(target, "new")
    monkeypatch.undo()
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    target.chmod(0o444)
    with pytest.raises(PermissionError, match=r"a\.json is read-only"):
        files.write_text(target, "new")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.write_text(tmp_path, "new")
    (tmp_path / "null").symlink_to(os.devnull)
    with pytest.raises(OSError, match="null is a pipe or a device"):
        files.write_text(tmp_path / "null", "new")
    with pytest.raises(OSError, match=r"cannot write .*b\.json"):
        files.write_text(tmp_path / "none" / "b.json", "new")


def test_a_place_is_checked_before_the_work(tmp_path: Path) -> None:
    files.check_target(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="no such folder"):
        files.check_target(tmp_path / "none" / "a.json")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.check_target(tmp_path)
    if sys.platform.startswith("linux"):
        # Not even root can make a file there.
        with pytest.raises(OSError, match=r"cannot write /proc/a\.json .*; name another place"):
            files.check_target("/proc/a.json")


def test_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    words = ["bench", "--quick", "--shapes", "1x8x8", "--plot"]
    for name, start in (("out.png", b"\x89PNG"), ("out.svg", b"<?xml")):
        assert cli.main([*words, str(tmp_path / name)]) == 0
        content = (tmp_path / name).read_bytes()
        assert content.startswith(start)
        assert len(content) > 3000
    capsys.readouterr()
    assert cli.main([*words, str(tmp_path / "none" / "out.svg")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_no_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["bench", "--quick", "--plot", str(tmp_path / "x.png")]) == 1
    captured = capsys.readouterr()
    assert 'pip install "octavo[report]"' in captured.err
    assert captured.out == ""  # said before anything is timed
