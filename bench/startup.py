# SPDX-License-Identifier: Apache-2.0
"""Import time after NumPy, size of the wheel, resident memory of a layer."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import workers
from common.targets import Target, at_most, format_table
from octavo.bench import report
from octavo.bench.peers.worker import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

IMPORT_MILLISECONDS = 50.0
WHEEL_MEGABYTES = 1.5
RESIDENT_RATIO = 1.1

IMPORT_CODE = """
import time, numpy
start = time.perf_counter()
import octavo
print(time.perf_counter() - start)
"""

RESIDENT_CODE = """
import ctypes, gc, json, os, sys
import numpy as np
import octavo

def resident():
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

def make(seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(-127, 128, (n, k), dtype=np.int8)
    return octavo.Linear.from_quantized(codes, np.ones(n, np.float32), np.zeros(n, np.float32))

n, k, count = (int(value) for value in sys.argv[1:])
x = np.ones((1, k), np.float32)
make(0)(x)
before = resident()
layers = [make(seed) for seed in range(count)]
for layer in layers:
    layer(x)
grown = resident() - before
print(json.dumps({"ratio": grown / (count * n * k), "reported": layers[0].nbytes / (n * k)}))
"""


def python(code: str, *arguments: object) -> str:
    """Run code in a fresh interpreter with one thread; return what it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


def import_seconds(repeats: int) -> list[float]:
    """Return the seconds of ``import octavo`` after NumPy, in fresh interpreters."""
    python(IMPORT_CODE)
    return [float(python(IMPORT_CODE)) for _ in range(repeats)]


def package_bytes() -> int:
    """Return the bytes of the package as it lies on disk, without compiled Python files."""
    found = util.find_spec("octavo")
    if found is None or found.origin is None:
        return 0
    files = Path(found.origin).parent.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file() and "__pycache__" not in f.parts)


def wheel_sizes(paths: Sequence[str]) -> list[tuple[float, str]]:
    """Return (megabytes, name) of each wheel given, or of those in the folder ``dist``."""
    found = [Path(path) for path in paths] or sorted(Path("dist").glob("octavo*.whl"))
    for path in found:
        if not path.is_file():
            sys.exit(f"--wheel: expected a wheel file, got {path}")
    return [(path.stat().st_size / 1e6, path.name) for path in found]


def resident_ratios(quick: bool) -> list[tuple[float, str]]:
    """Return (resident bytes / int8 bytes, layer) for a few layers; empty where unknown."""
    cases = ((768, 768, 16),) if quick else ((384, 384, 128), (768, 768, 48), (4096, 4096, 4))
    if not Path("/proc/self/statm").exists():
        workers.say("resident memory: this system does not tell it, left out")
        return []
    ratios = []
    for n, k, count in cases:
        result: dict[str, Any] = json.loads(python(RESIDENT_CODE, n, k, count))
        name = f"{n}x{k} (nbytes says {result['reported']:.2f}x)"
        ratios.append((float(result["ratio"]), name))
    return ratios


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--json", metavar="FILE", help="write the results to FILE")
    made.add_argument("--quick", action="store_true", help="few repeats, one layer")
    made.add_argument("--wheel", metavar="FILE", action="append", default=[], help="wheel to weigh")
    arguments = made.parse_args(argv)
    seconds = import_seconds(3 if arguments.quick else 9)
    wheels = wheel_sizes(arguments.wheel)
    ratios = resident_ratios(arguments.quick)
    median = statistics.median(seconds)
    spread = f"{min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f} ms"
    targets: list[Target] = [
        at_most("import", IMPORT_MILLISECONDS, [(median * 1e3, spread)], "{:.1f} ms".format),
        at_most("wheel", WHEEL_MEGABYTES, wheels, "{:.2f} MB".format),
        at_most("resident / int8 bytes", RESIDENT_RATIO, ratios, "{:.2f}x".format),
    ]
    if not wheels:
        workers.say(f"no wheel in dist/ and no --wheel; package: {package_bytes() / 1e6:.2f} MB")
    workers.say(format_table(targets))
    row = report.Row(
        "startup", "import", "octavo", "-", 1, median, min(seconds), max(seconds), 0, 0
    )
    more = {
        "targets": [target.to_json() for target in targets],
        "wheels": [list(item) for item in wheels],
        "resident": [list(item) for item in ratios],
        "package_bytes": package_bytes(),
        "installed": installed_version(),
    }
    document = report.document("startup", [row], {"quick": arguments.quick}, **more)
    workers.finish(arguments.json, document)
    return 0


def installed_version() -> str | None:
    try:
        return metadata.version("octavo")
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
