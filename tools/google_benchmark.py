# SPDX-License-Identifier: Apache-2.0
"""Build Google Benchmark as a static library: ``python tools/google_benchmark.py aarch64``.

The source is that of Debian's package, whose own library is a shared one; a program that is
carried to a phone must not need it.  What is made stays in ``build/google-benchmark/ARCHITECTURE``,
and the preset ``aarch64-bench`` looks there.  Needs Debian or Ubuntu, CMake, Ninja, and g++ for the
architecture.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "google-benchmark"
ARCHITECTURES = ("aarch64", "x86_64")

# All files at once, without checks that would have to run what they compile: 10 s instead of 30.
SETTINGS = {
    "BENCHMARK_ENABLE_TESTING": "OFF",
    "BENCHMARK_INSTALL_DOCS": "OFF",
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_SYSTEM_NAME": "Linux",
    "CMAKE_UNITY_BUILD": "ON",
    "CMAKE_UNITY_BUILD_BATCH_SIZE": "0",
    "HAVE_GNU_POSIX_REGEX": "0",
    "HAVE_POSIX_REGEX": "0",
    "HAVE_STD_REGEX": "1",
    "HAVE_STEADY_CLOCK": "1",
}


def run(*command: object, **options: Any) -> None:
    """Run a command; a failure ends all."""
    subprocess.run([str(part) for part in command], check=True, **options)


def distribution() -> tuple[str, str]:
    """Return this system's mirror of sources and its release's name."""
    text = Path("/etc/os-release").read_text("utf-8")
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    if fields.get("ID") == "ubuntu":
        return "http://archive.ubuntu.com/ubuntu", f"{fields['VERSION_CODENAME']} main universe"
    return "http://deb.debian.org/debian", f"{fields['VERSION_CODENAME']} main"


def fetch_source(folder: Path) -> Path:
    """Download and unpack the source into a folder; apt gets lists and a state of its own."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    mirror, release = distribution()
    (folder / "sources.list").write_text(f"deb-src {mirror} {release}\n", "utf-8")
    settings = {
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::Cache": folder,
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    run("apt-get", *options, "-qq", "update")
    source = ("source", "--download-only", "--tar-only", "benchmark")
    run("apt-get", *options, "-qq", *source, cwd=folder)
    (archive,) = folder.glob("benchmark_*.orig.tar.*")
    tree = folder / "source"
    tree.mkdir()
    run("tar", "-xf", archive, "-C", tree, "--strip-components=1")
    return tree


def build(architecture: str) -> Path:
    """Build and install the library unless an earlier run did; return where it is."""
    installed = FOLDER / architecture
    if installed.exists():
        return installed
    with tempfile.TemporaryDirectory(prefix="octavo-benchmark-") as name:
        folder = Path(name)
        settings = {
            **SETTINGS,
            "CMAKE_CXX_COMPILER": f"{architecture}-linux-gnu-g++",
            "CMAKE_INSTALL_PREFIX": folder / "installed",
            "CMAKE_SYSTEM_PROCESSOR": architecture,
        }
        options = [f"-D{key}={value}" for key, value in settings.items()]
        tree = fetch_source(folder / "fetched")
        made = folder / "build"
        quiet = {"stdout": subprocess.DEVNULL}
        run("cmake", "-S", tree, "-B", made, "-G", "Ninja", *options, **quiet)
        run("cmake", "--build", made, "--target", "install", **quiet)
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder / "installed", installed)
    return installed


def main() -> None:
    """Build for the architecture asked for."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("architecture", choices=ARCHITECTURES)
    print(build(parser.parse_args().architecture))


if __name__ == "__main__":
    main()
