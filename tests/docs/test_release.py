# SPDX-License-Identifier: Apache-2.0
"""What guards a release: pinned workflows, and the check of wheels and sdists."""

from __future__ import annotations

import importlib.util
import io
import re
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from doc_blocks import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EVERY_WORKFLOW = pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])

if not WORKFLOWS:
    pytest.skip("the sdist leaves the workflows out", allow_module_level=True)


@pytest.fixture(scope="module")
def wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheels", ROOT / "tools" / "wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def jobs(text: str) -> dict[str, str]:
    """Name -> text of each job."""
    parts = re.split(r"^  ([\w-]+):\n", text.partition("\njobs:\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@EVERY_WORKFLOW
def test_actions_are_pinned_to_commits(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert uses
    for line in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@EVERY_WORKFLOW
def test_one_pin_for_one_action(path: Path) -> None:
    pins = {
        re.sub(r" #.*", "", line)
        for each in WORKFLOWS
        for line in re.findall(r"uses: (.*)", each.read_text(encoding="utf-8"))
    }
    names = [pin.partition("@")[0] for pin in pins]
    assert len(names) == len(set(names)), path.name


@EVERY_WORKFLOW
def test_pass_waits_for_every_job(path: Path) -> None:
    found = jobs(path.read_text(encoding="utf-8"))
    needs = re.search(r"needs: \[(.*)\]", found["pass"])
    assert needs is not None
    assert set(needs[1].split(", ")) == set(found) - {"pass", "publish"}
    assert "if: always()" in found["pass"]
    if "publish" in found:
        assert "needs: [pass]" in found["publish"]
        assert "startsWith(github.ref, 'refs/tags/v')" in found["publish"]


@EVERY_WORKFLOW
def test_only_publishing_may_write(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\npermissions:\n  contents: read\n" in text
    for name, job in jobs(text).items():
        assert ": write" not in job or name == "publish", name
    assert "secrets." not in text


def write_wheel(folder: Path, names: list[str], filler: int = 0) -> Path:
    path = folder / "octavo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * filler)
    return path


GOOD = [
    "octavo/__init__.py",
    "octavo/_core.cpython-312-x86_64-linux-gnu.so",
    "octavo/_core.pyi",
    "octavo/py.typed",
    "octavo-1.0.dist-info/licenses/LICENSE",
]


def test_a_good_wheel(wheels: ModuleType, tmp_path: Path) -> None:
    path = write_wheel(tmp_path, GOOD)
    assert wheels.problems(path) == []
    assert wheels.check([path]) == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (GOOD[1:], "lacks octavo/__init__.py"),
        ([*GOOD[:1], *GOOD[2:]], "expected 1 native modules"),
        ([*GOOD, "tests/conftest.py"], "holds tests"),
        ([*GOOD, "octavo/__pycache__/cli.pyc"], "holds octavo/__pycache__"),
        ([*GOOD, "octavo/gemm.o"], "holds octavo/gemm.o"),
    ],
)
def test_a_bad_wheel(wheels: ModuleType, tmp_path: Path, names: list[str], message: str) -> None:
    path = write_wheel(tmp_path, names)
    assert any(message in problem for problem in wheels.problems(path))
    assert wheels.check([path]) == 1


def test_a_wheel_that_is_too_large(wheels: ModuleType, tmp_path: Path) -> None:
    path = write_wheel(tmp_path, GOOD, filler=400_000)
    assert any("more than 1,700,000" in problem for problem in wheels.problems(path))


def test_sdists(wheels: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "octavo-1.0.tar.gz"

    def write(names: list[str]) -> list[str]:
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(f"octavo-1.0/{name}"), io.BytesIO())
        found: list[str] = wheels.problems(path)
        return found

    assert write(list(wheels.SDIST_NEEDS)) == []
    assert write(list(wheels.SDIST_NEEDS[1:])) == [f"lacks {wheels.SDIST_NEEDS[0]}"]
    assert "holds .ci/run" in write([*wheels.SDIST_NEEDS, ".ci/run"])
    assert "holds a binary: octavo/_core.so" in write([*wheels.SDIST_NEEDS, "octavo/_core.so"])


def test_the_portable_tests_exist(wheels: ModuleType) -> None:
    for pattern in wheels.PORTABLE:
        assert list((ROOT / "tests").glob(pattern)), pattern
