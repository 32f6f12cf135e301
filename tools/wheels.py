# SPDX-License-Identifier: Apache-2.0
"""What a release file must be: ``check`` looks into wheels and sdists, ``test`` runs one installed.

``python tools/wheels.py check dist/*`` fails on a file that is too large or holds the wrong things.
``python tools/wheels.py test`` wants a wheel, pytest and hypothesis installed, and no compiler; it
runs the tests that need nothing else.  Both are used by ``nox -s wheels`` and by cibuildwheel.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tarfile
import zipfile
from pathlib import Path

LARGEST_WHEEL = {"arm": 1_600_000, "other": 1_700_000}
ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
TIERS = ROOT / "csrc" / "dispatch" / "isa.inc"

X86, ARM = ("amd64", "x86_64"), ("aarch64", "arm64")

# They need NumPy, pytest and hypothesis, and neither the repository's files nor another package.
PORTABLE = (
    "functional/test_*.py",
    "kernels/test_dispatch.py",
    "kernels/test_guard_pages.py",
    "kernels/test_invariance.py",
    "kernels/test_recorded.py",
    "nn/test_*.py",
    "runtime/test_runtime.py",
    "runtime/test_threads.py",
    "sparse/test_spmm.py",
)

WHEEL_NEEDS = ("octavo/__init__.py", "octavo/_core.pyi", "octavo/py.typed", "LICENSE")
SDIST_NEEDS = (
    "CMakeLists.txt",
    "LICENSE",
    "README.md",
    "cmake/octavo_isa.cmake",
    "csrc/bindings/module.cpp",
    "csrc/kernels/gemm_s8/kernels.inc",
    "pyproject.toml",
    "python/octavo/__init__.py",
    "tests/conftest.py",
    "tools/wheels.py",
)
FORBIDDEN = re.compile(r"(^|/)(\.git|\.ci|\.github|__pycache__|build)/|\.(a|o|obj|pyc)$")


def problems(path: Path) -> list[str]:
    """Return what is wrong with a wheel or an sdist."""
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            names = [member.name.partition("/")[2] for member in archive if member.isfile()]
        found = [f"lacks {name}" for name in SDIST_NEEDS if name not in names]
        found += [f"holds a binary: {name}" for name in names if name.endswith((".so", ".pyd"))]
    elif path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        found = [f"lacks {n}" for n in WHEEL_NEEDS if not any(name.endswith(n) for name in names)]
        found += _wheel_problems(path, names)
    else:
        return ["neither a wheel nor an sdist"]
    return found + [f"holds {name}" for name in names if FORBIDDEN.search(name)]


def _wheel_problems(path: Path, names: list[str]) -> list[str]:
    cores = [name for name in names if name.startswith("octavo/_core.") and name[-3:] != "pyi"]
    expected = 0 if path.name.endswith("-py3-none-any.whl") else 1
    found = []
    if len(cores) != expected:
        found.append(f"expected {expected} native modules, got {cores}")
    size = path.stat().st_size
    largest = LARGEST_WHEEL["arm" if path.stem.endswith(ARM) else "other"]
    if size > largest:
        found.append(f"{size:,} bytes, more than {largest:,}")
    tops = {name.partition("/")[0] for name in names}
    # Repair tools add octavo.libs (or octavo/.dylibs) where a shared library had to come along.
    strangers = [top for top in tops if not top.startswith("octavo")]
    return found + [f"holds {name}" for name in strangers]


def check(paths: list[Path]) -> int:
    """Print each file with its size and its problems; return the exit code."""
    failed = not paths
    for path in paths:
        found = problems(path)
        failed = failed or bool(found)
        print(f"{path.name}: {path.stat().st_size:,} bytes: {'; '.join(found) or 'fine'}")
    return int(failed)


def test(arguments: list[str]) -> int:
    """Run the portable tests on the installed wheel; return the exit code."""
    import pytest

    from octavo import runtime

    info = runtime.cpu_info()
    expected = {"scalar"}
    if (machine := platform.machine().lower()) in X86 + ARM:
        tiers = re.findall(r"^OCTAVO_ISA\(\w+, (\w+),", TIERS.read_text("utf-8"), re.MULTILINE)
        expected |= {tier for tier in tiers if tier.startswith("neon") == (machine in ARM)}
    if info["backend"] != "native" or set(info["compiled_isa_tiers"]) != expected:
        print(f"expected a native module with {sorted(expected)}, got {info}")
        return 1
    with_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    if with_lock and "free-threading" in sys.version:
        print("importing octavo switched the global lock on")
        return 1
    print(
        f"{info['isa']} of {info['compiled_isa_tiers']}, {info['compiler']}, Python {sys.version}"
    )
    files = sorted({str(path) for pattern in PORTABLE for path in TESTS.glob(pattern)})
    options = ["-q", "-p", "no:cacheprovider", "-c", str(TESTS.parent / "pyproject.toml")]
    return int(pytest.main([*options, *arguments, *files]))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Check or test release files.")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="look into wheels and sdists")
    checking.add_argument("paths", nargs="+", type=Path)
    commands.add_parser("test", help="run the portable tests on the installed wheel")
    arguments, rest = parser.parse_known_args()
    if arguments.command == "check":
        if rest:
            parser.error(f"unknown arguments: {rest}")
        return check(arguments.paths)
    return test(rest)


if __name__ == "__main__":
    raise SystemExit(main())
