# SPDX-License-Identifier: Apache-2.0
"""``octavo bench --device`` from its children to its file, whatever happens to them."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from device_files import three_clusters, write_tree
from octavo import cli
from octavo.bench import children
from octavo.bench.children import Child, ChildError
from octavo.bench.device import clusters, kernels, run, sensors, sustained, worker
from octavo.bench.device.clusters import Cluster
from octavo.bench.device.document import check
from octavo.bench.device.files import SystemFiles
from octavo.bench.machine import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHORT = run.Plan(seconds=4.0, repetitions=1, most_seconds=0.001, sustained=0.1)
RESULT = {
    "threads": 1,
    "kind": "read",
    "case": "L1",
    "tier": "scalar",
    "unit": "GB/s",
    **dict.fromkeys(("value", "least", "most", "first", "last"), 5.0),
    "repetitions": 3,
    "share": None,
}
LOAD = {
    "threads": 1,
    "seconds": 1.0,
    "first": 10.0,
    "last": 5.0,
    "unit": "GOP/s",
    **dict.fromkeys(("mhz", "celsius", "sensor")),
}
STEPS: tuple[dict[str, Any], ...] = ({"steps": 2}, {"result": RESULT, "disturbed": "it was busy"})
END: tuple[dict[str, Any], ...] = ({"throttling": LOAD, "energy": None}, {"done": True})


def nothing(*_: Any) -> None:
    pass


class FakeChild:
    """Says what it is told to; an exception among that is raised."""

    def __init__(self, said: tuple[Any, ...]) -> None:
        self._said = said

    def answers(self, seconds: float) -> Iterator[dict[str, Any]]:
        assert seconds > 0
        for one in self._said:
            if isinstance(one, BaseException):
                raise one
            yield one

    def __enter__(self) -> FakeChild:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Phone:
    """A phone of three kinds of CPUs; `said` is what the child of each says, by its name."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.files = SystemFiles(write_tree(root, three_clusters()))
        self.said: dict[str, tuple[Any, ...]] = {}
        self.started: list[tuple[str, tuple[int, ...]]] = []
        self.refused: dict[int, OSError] = {}
        self._held = set(range(8))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(self._held), raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", self._hold, raising=False)
        monkeypatch.setattr(run, "Child", self._start)

    def _hold(self, _: int, cpus: Any) -> None:
        for cpu in cpus:
            if cpu in self.refused and len(cpus) < 8:
                raise self.refused[cpu]
        self._held = set(cpus)

    def _start(self, _: str, request: Any, env: dict[str, str]) -> FakeChild:
        cluster = request["cluster"]
        self.started.append((cluster["name"], tuple(sorted(self._held))))
        assert env["OMP_NUM_THREADS"] == "1"
        return FakeChild(self.said.get(cluster["name"], (*STEPS, *END)))

    def measure(self) -> dict[str, Any]:
        made = run.Measurement(run.QUICK, self.files)
        made.run(nothing)
        found = json.loads(json.dumps(made.document()))
        check(found, "phone.json")
        return dict(found)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    return Phone(tmp_path, monkeypatch)


def test_a_child_for_each_kind_held_to_its_cpus(phone: Phone) -> None:
    found = phone.measure()
    assert phone.started == [
        ("cortex-x2", (7,)),
        ("cortex-a710", (4, 5, 6)),
        ("cortex-a510", (0, 1, 2, 3)),
    ]
    assert os.sched_getaffinity(0) == set(range(8))
    assert found["complete"]
    assert all(cluster["pinned"] for cluster in found["clusters"])
    assert [one["cluster"] for one in found["results"]] == [0, 1, 2]
    assert found["throttling"]["seen"]
    for note in (
        "cortex-x2 (CPU 7): slowed down to 50% under load, or other programs took its time",
        "the machine was busy: 3 of 3 rows disturbed (it was busy); time them again",
        "no temperature can be read",
    ):
        assert note in found["notes"]
    assert len(found["notes"]) == len(set(found["notes"]))


def test_without_a_name_a_machine_is_its_cores(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "describe", lambda: {**describe(), "cpu": "arm", "arch": "arm"})
    assert phone.measure()["machine"]["cpu"] == "cortex-x2 + cortex-a710 + cortex-a510"
    write_tree(phone.root, {"proc/device-tree/model": b"A\x1b\xffBoard\0"})
    assert phone.measure()["machine"]["cpu"] == "A \ufffdBoard"


def test_a_child_that_dies_leaves_what_it_said(phone: Phone) -> None:
    phone.said["cortex-a710"] = (*STEPS, ChildError("exit code -9"))
    phone.said["cortex-a510"] = STEPS
    found = phone.measure()
    assert not found["complete"]
    assert [one["cluster"] for one in found["results"]] == [0, 1, 2]
    assert [one["cluster"] for one in found["throttling"]["clusters"]] == [0]
    assert "cortex-a710 (CPU 4-6): its process failed: exit code -9" in found["notes"]


def test_what_is_missing_is_said(phone: Phone) -> None:
    phone.said["cortex-x2"] = (*STEPS, {"missing": "the sums are wrong"}, *END)
    found = phone.measure()
    assert not found["complete"]
    assert "the sums are wrong" in found["notes"]


def test_without_permission_all_cpus_are_one(phone: Phone) -> None:
    phone.refused[7] = PermissionError(errno.EPERM, "Operation not permitted")
    found = phone.measure()
    assert phone.started == [("cpu", tuple(range(8)))]
    (only,) = found["clusters"]
    assert (only["name"], only["cpus"], only["pinned"]) == ("cpu", list(range(8)), False)
    assert (
        "threads cannot be held to CPUs (Operation not permitted): all are taken together"
        in found["notes"]
    )


@pytest.mark.parametrize("cpu", [7, 5])
def test_a_core_that_goes_off_is_skipped(phone: Phone, cpu: int) -> None:
    phone.refused[cpu] = OSError(errno.EINVAL, "Invalid argument")
    found = phone.measure()
    left = {one["cluster"] for one in found["results"]}
    assert left == ({1, 2} if cpu == 7 else {0, 2})
    assert not found["complete"]
    assert [cluster["pinned"] for cluster in found["clusters"]].count(False) == 1
    assert any(note.endswith("skipped (Invalid argument)") for note in found["notes"])


def test_ctrl_c_keeps_what_was_measured(
    phone: Phone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    phone.said["cortex-a710"] = (*STEPS, KeyboardInterrupt())
    monkeypatch.setattr("octavo.cli.device.SystemFiles", lambda: phone.files)
    target = tmp_path / "part.json"
    assert cli.main(["bench", "--device", "--json", str(target)]) == 130
    found = json.loads(target.read_text(encoding="utf-8"))
    check(found, "part.json")
    assert not found["complete"]
    assert [one["cluster"] for one in found["results"]] == [0, 1]
    assert "interrupted: what is here was measured until then" in found["notes"]
    captured = capsys.readouterr()
    assert captured.out.count("read L1") == 2
    assert "note: interrupted" in captured.out


def test_nothing_measured_is_a_failure(
    phone: Phone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phone.said = dict.fromkeys(
        ("cortex-x2", "cortex-a710", "cortex-a510"), (ChildError("exit code 1"),)
    )
    monkeypatch.setattr("octavo.cli.device.SystemFiles", lambda: phone.files)
    assert cli.main(["bench", "--device"]) == 1
    assert capsys.readouterr().out.count("its process failed") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "--device"], "--device takes --quick, --json and --plot alone"),
        (["--device", "--threads", "1"], "--device takes --quick"),
        (["--device", "--peers"], "--device takes --quick"),
        (["--device", "--plot", "x.gif"], "expected FILE.png or FILE.svg"),
    ],
)
def test_options_that_do_not_belong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], Child]:
    """Start a child of a few lines."""

    def start(code: str) -> Child:
        (tmp_path / "some_child.py").write_text(code, encoding="utf-8")
        return Child("some_child", {}, {**os.environ, "PYTHONPATH": str(tmp_path)})

    return start


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{\"a\": 1}'); raise SystemExit(3)", "exit code 3"),
        ("print('hello')", "it said b'hello"),
        ("print('[1]')", "which is no answer"),
        ('print(\'{"error": "no memory"}\')', "no memory"),
        ("import time; time.sleep(60)", "no end after"),
        ("import os, time; os.close(1); time.sleep(60)", "it said all and does not end"),
    ],
)
def test_children_that_fail(
    child: Callable[[str], Child], code: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_LAST_SECONDS", 0.5)
    start = time.monotonic()
    seconds = 1.0 if "sleep" in code and "close" not in code else 30.0
    with child(code) as running, pytest.raises(ChildError, match=message):
        list(running.answers(seconds))
    assert time.monotonic() - start < 30


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_child_that_is_killed(child: Callable[[str], Child]) -> None:
    code = f"import os; print('{{}}', flush=True); os.kill(os.getpid(), {int(signal.SIGKILL)})"
    with child(code) as running:
        answers = running.answers(30)
        assert next(answers) == {}
        with pytest.raises(ChildError, match=f"exit code -{int(signal.SIGKILL)}"):
            next(answers)


def test_who_stops_listening_ends_the_child(child: Callable[[str], Child]) -> None:
    code = "import time; print('{\"a\": 1}', flush=True); time.sleep(60)"
    with child(code) as running:
        assert next(running.answers()) == {"a": 1}
    assert running._process.poll() is not None


def test_a_wrong_result_is_none() -> None:
    case = next(kernels.cases())
    assert "x768" in case.name
    with pytest.raises(ArithmeticError, match="the sums are wrong"):
        case.check(case.name, case.call() + 1)


def test_kernels_are_right_and_counted() -> None:
    names = []
    for case in kernels.cases():
        case.check(case.name, case.call())
        names.append(case.name)
        assert case.nbytes > 0
    assert len(set(names)) == len(names) == kernels.KERNELS


def test_a_sustained_load(tmp_path: Path) -> None:
    one = Cluster("cpu", (0,))
    load = sustained.run(SystemFiles(tmp_path), one, 0.1, None)
    assert load.throttling["first"] > 0
    assert load.energy is None
    assert load.throttling["mhz"] is load.throttling["celsius"] is load.throttling["sensor"] is None
    zone, supply = "sys/class/thermal/thermal_zone0", "sys/class/power_supply/bms"
    tree = three_clusters() | {f"{zone}/type": "soc", f"{zone}/temp": "40500"}
    tree |= {f"{supply}/type": "Battery", f"{supply}/status": "Discharging"}
    tree |= {f"{supply}/current_now": "1500000", f"{supply}/voltage_now": "4000000"}
    files = SystemFiles(write_tree(tmp_path, tree))
    meter, _ = sensors.find_meter(files)
    load = sustained.run(files, one, 0.1, meter)
    assert load.throttling["mhz"] == [900, 900]
    assert (load.throttling["celsius"], load.throttling["sensor"]) == ([40.5, 40.5], "soc")
    assert load.energy is not None
    assert load.energy["watts"] == load.energy["idle_watts"] == pytest.approx(6.0)
    write_tree(tmp_path, {f"{supply}/current_now": "1500"})  # as if it counted mA
    assert sustained.run(files, one, 0.1, meter).energy is None


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_this_machine(
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All of it, with one repetition of each."""
    monkeypatch.setenv("OCTAVO_BACKEND", backend)
    monkeypatch.setattr(run, "QUICK", SHORT)
    first = (clusters.usable_cpus() or (0,))[:1]
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(clusters, "usable_cpus", lambda: first)
    assert cli.main(["bench", "--device", "--quick", "--json", "-"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    check(found, "here.json")
    (only,) = found["clusters"]
    assert only["pinned"] == hasattr(os, "sched_setaffinity")
    if hasattr(os, "sched_getaffinity"):
        assert only["cpus"] == list(first)
    seen = {(one["kind"], one["case"]) for one in found["results"]}
    assert {("dot_peak", "int8"), ("read", "L1"), ("copy", "DRAM")} <= seen
    if found["complete"]:
        assert {("model", "encoder 1x16"), ("kernel", "attention_s8 128x384")} <= seen
    for case in sorted(case for kind, case in seen if kind == "kernel"):
        assert case in captured.err
    assert {one["tier"] for one in found["results"]} != {"numpy"} or backend == "numpy"


def test_no_time_and_other_cpus_are_said() -> None:
    said: list[dict[str, Any]] = []
    request = {
        "cluster": asdict(Cluster("cpu", (0,))),
        "started": time.monotonic() - 60,
        "seconds": 1.0,
        "repetitions": 1,
        "most_seconds": 0.1,
        "sustained": 0.1,
    }
    worker.work(json.loads(json.dumps(request)), lambda answer: said.append(dict(answer)))
    missing = [answer["missing"] for answer in said if "missing" in answer]
    assert missing == ["cpu (CPU 0): no time was left after the start"]
    assert said[-1] == {"done": True}
    assert not any("result" in answer for answer in said)
    if hasattr(os, "sched_getaffinity"):
        said.clear()
        request["cluster"] = asdict(Cluster("cpu", (4000,), pinned=True))
        worker.work(json.loads(json.dumps(request)), lambda answer: said.append(dict(answer)))
        assert "the system moved it to CPU" in [a["missing"] for a in said if "missing" in a][-1]
