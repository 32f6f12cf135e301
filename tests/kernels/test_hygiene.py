# SPDX-License-Identifier: Apache-2.0
"""Rules about the sources and the built objects that no compiler checks."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import octavo
from native import core, needs_core
from octavo import _numpy

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
SOURCE_DIRS = ["csrc", "cmake", "python", "tests", "bench", "fuzz", ".ci"]
SUFFIXES = {".cpp", ".h", ".inc", ".cmake", ".py", ".pyi", ".sh"}
MAX_LINES, MAX_MODULE_LINES = 400, 300
C_HEADERS = {"stdint.h", "string.h", "math.h", "float.h"}

# Folder of csrc/ -> what its includes may start with; a header without a folder is the system's.
MAY_INCLUDE = {
    "kernels": ("kernels/",),
    "memory": ("memory/",),
    "threads": ("threads/",),
    "dispatch": ("dispatch/", "kernels/"),
    "weights": ("weights/", "memory/", "dispatch/", "kernels/", "threads/interrupt.h"),
    "ops": ("ops/", "weights/", "memory/", "dispatch/", "threads/", "kernels/"),
    "bindings": (
        *("bindings/", "ops/", "weights/", "memory/", "dispatch/", "threads/", "kernels/"),
        *("nanobind/", "numpy/"),
    ),
}


def sources() -> list[Path]:
    files = [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", ROOT / "noxfile.py"]
    for name in SOURCE_DIRS:
        files += [path for path in (ROOT / name).rglob("*") if path.suffix in SUFFIXES]
        files += (ROOT / name).rglob("CMakeLists.txt")
    files += (ROOT / ".ci").glob("*")
    hidden = {"__pycache__", ".mypy_cache", ".ruff_cache"}
    return [path for path in files if path.is_file() and not hidden & set(path.parts)]


def includes(path: Path) -> list[str]:
    return re.findall(
        r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(encoding="utf-8"), re.MULTILINE
    )


def c_sources(folder: str) -> list[Path]:
    return [p for p in (CSRC / folder).rglob("*") if p.suffix in {".cpp", ".h", ".inc"}]


def test_licence_lines() -> None:
    for path in sources():
        top = path.read_text(encoding="utf-8").splitlines()[:2]
        assert any("SPDX-License-Identifier: Apache-2.0" in line for line in top), path


def test_file_lengths() -> None:
    for path in sources():
        module = path.suffix == ".py" and path.is_relative_to(ROOT / "python")
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= (MAX_MODULE_LINES if module else MAX_LINES), f"{path}: {lines}"


def test_include_arrows() -> None:
    assert {path.name for path in CSRC.iterdir() if path.is_dir()} == set(MAY_INCLUDE)
    for folder, allowed in MAY_INCLUDE.items():
        for path in c_sources(folder):
            for name in includes(path):
                if "/" in name and not name.startswith("sys/"):
                    assert name.startswith(allowed), f"{path} includes {name}"


def test_kernels_include_only_kernels_and_c_headers() -> None:
    common = CSRC / "kernels" / "common"
    doors = {
        common / "x86.h": {"emulated_x86.h", "immintrin.h"},
        common / "neon.h": {"arm_neon.h"},
    }
    for door, wanted in doors.items():
        assert set(includes(door)) == wanted
    for path in c_sources("kernels"):
        for name in includes(path) if path not in doors else []:
            assert name.startswith("kernels/") or name in C_HEADERS, f"{path} includes {name}"


def test_only_kernels_know_the_architecture() -> None:
    intrinsic = re.compile(r"\b(_mm\d*_\w+|_tile_\w+|v(ld|st|add|mul|dot)\w*q_[a-z]\d+)\b")
    macro = re.compile(r"\b(__AVX\w*|__x86_64__|__aarch64__|__ARM_\w+|_M_X64|_M_ARM64)\b")
    for folder in ("ops", "weights", "memory", "bindings"):
        for path in c_sources(folder):
            text = path.read_text(encoding="utf-8")
            assert not intrinsic.search(text), path
            assert not macro.search(text), path
            assert "immintrin.h" not in text, path


def test_only_bindings_know_python() -> None:
    for folder in set(MAY_INCLUDE) - {"bindings"}:
        for path in c_sources(folder):
            known = ("nanobind", "numpy", "Python.h")
            assert not any(name.startswith(known) for name in includes(path)), path


def kernel_objects() -> list[Path]:
    """Objects of the newest build under build/, one per kernel file."""
    newest: dict[str, Path] = {}
    found = (ROOT / "build").glob("**/octavo_core.dir/*/kernels/*/*.o")  # csrc's, and CMake's
    for path in sorted(found, key=lambda p: p.stat().st_mtime):
        newest["/".join(path.parts[-2:])] = path
    if not newest or shutil.which("nm") is None:
        pytest.skip("needs nm and the objects of a build under build/")
    return list(newest.values())


def symbols(paths: list[Path], which: str) -> dict[Path, list[tuple[str, str]]]:
    """(type letter, name) of the objects' external symbols."""
    command = [
        "nm",
        "--extern-only",
        "--print-file-name",
        "--format=posix",
        which,
        *map(str, paths),
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[Path, list[tuple[str, str]]] = {path: [] for path in paths}
    for line in text.splitlines():
        path, _, rest = line.partition(": ")
        name, kind = rest.split()[:2]
        found[Path(path)].append((kind, name))
    return found


def test_kernel_objects_export_only_their_kernels() -> None:
    for path, defined in symbols(kernel_objects(), "--defined-only").items():
        listed = (CSRC / "kernels" / path.parent.name / "kernels.inc").read_text(encoding="utf-8")
        token = path.name.split(".")[0]
        wanted = set(re.findall(rf"\b(\w+_{token})\b", listed))
        exported = set()
        for kind, name in defined:
            assert kind == "T", f"{path}: {kind} {name}"
            match = re.match(r"_ZN6octavo\d+([a-z0-9_]+)E", name)
            assert match, f"{path}: {name}"
            exported.add(match[1])
        assert exported == wanted, path


def test_kernel_objects_call_no_cpp_function() -> None:
    for path, undefined in symbols(kernel_objects(), "--undefined-only").items():
        for _, name in undefined:
            assert not name.startswith("_Z"), f"{path}: {name}"


@needs_core
def test_stub_names_equal_the_module() -> None:
    stub = ast.parse((ROOT / "python" / "octavo" / "_core.pyi").read_text(encoding="utf-8"))
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    values = {ast.unparse(node.target) for node in stub.body if isinstance(node, ast.AnnAssign)}
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    # The stub of a class with twenty methods of ten arguments is its twin, which is annotated.
    twins = {
        name.name
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.asname
    }
    public = {name for name in dir(core) if not name.startswith("_")}
    assert public == functions | values | set(classes) | twins
    for name in twins:
        twin, own = (dir(getattr(module, name)) for module in (_numpy, core))
        assert {item for item in own if item[0] != "_"} == {item for item in twin if item[0] != "_"}
    for name, node in classes.items():
        wanted = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        actual = {item for item in dir(getattr(core, name)) if not item.startswith("_")}
        assert actual == wanted - {"__init__"}, name


def test_one_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", octavo.__version__)
    if core is not None:
        assert core.version() == octavo.__version__
    try:
        installed = importlib.metadata.version("octavo")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("octavo runs from its sources")
    assert octavo.__version__ == installed
