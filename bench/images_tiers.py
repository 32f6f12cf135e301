# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite files by octavo and by LiteRT with XNNPACK, both held to the same instructions.

LiteRT has no setting for that: its library is told that the CPU has no more (held_cpuid.c). So a
machine with AVX-512 also says how the two compare on one that has AVX2, or AVX-VNNI, at most.
Needs Linux on x86-64, a C compiler and objdump.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import octavo.tflite
from octavo import runtime
from octavo.bench import tflite

HELD = ("avx2", "avxvnni")
ROUNDS, CALLS = 8, 12


def hold_litert(tier: str) -> None:
    """Have LiteRT's library, which is loaded but has not asked yet, find no more than a tier."""
    maps = Path("/proc/self/maps").read_text("utf-8")
    places = [line.split() for line in maps.splitlines() if "pywrap_litert_common" in line]
    base, library = min(int(place[0].partition("-")[0], 16) for place in places), places[0][-1]
    code = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    )
    found = [int(at, 16) + base for at in re.findall(r"^\s*(\w+):\s+cpuid", code.stdout, re.M)]
    with tempfile.TemporaryDirectory() as folder:
        built, source = str(Path(folder, "held.so")), str(Path(__file__).with_name("held_cpuid.c"))
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", built], check=True)
        sites = (ctypes.c_uint64 * len(found))(*found)
        if ctypes.CDLL(built).hold(sites, len(found), tier == "avxvnni") != len(found):
            raise SystemExit("LiteRT: expected to hold all of its questions for the CPU")


def measure(path: str, tier: str, threads: int) -> dict[str, float]:
    """Return the median seconds of a call of each, which take turns."""
    from ai_edge_litert.interpreter import Interpreter

    if tier in HELD:
        hold_litert(tier)
    runtime.set_num_threads(threads)
    model = octavo.tflite.load(path)
    inputs = tflite.make_inputs(octavo.tflite.read(path))
    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    details = [one["index"] for one in interpreter.get_input_details()]
    outputs = [one["index"] for one in interpreter.get_output_details()]

    def ours() -> None:
        model(*inputs)

    def litert() -> None:
        for index, x in zip(details, inputs, strict=True):
            interpreter.set_tensor(index, x)
        interpreter.invoke()
        for index in outputs:
            interpreter.get_tensor(index)

    times: dict[str, list[float]] = {"octavo": [], "LiteRT": []}
    for _ in range(ROUNDS):
        for name, call in (("octavo", ours), ("LiteRT", litert)):
            time.sleep(0.06)  # until the threads of the other sleep: XNNPACK's spin for some 20 ms
            call()
            for _ in range(CALLS):
                begin = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--tiers", nargs="+", help="default: the best, avxvnni and avx2, if here")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.files[0], given.tiers[0], given.threads[0])))
        return 0
    here = runtime.isa_tiers()
    best = [name for name in HELD[::-1] if name in here]
    for path in given.files:
        for tier in given.tiers or dict.fromkeys([here[0], *best]):
            for threads in given.threads:
                command = [sys.executable, __file__, path, "--one", "--tiers", tier, "--threads"]
                child = subprocess.run(
                    [*command, str(threads)],
                    env=os.environ | {"OCTAVO_ISA": tier},
                    stdout=subprocess.PIPE,
                    check=True,
                )
                times = json.loads(child.stdout)
                ours, peer = times["octavo"] * 1e3, times["LiteRT"] * 1e3
                print(
                    f"{Path(path).name}  {tier}  {threads} threads  octavo {ours:.2f} ms  "
                    f"LiteRT {peer:.2f} ms  {peer / ours:.2f}x",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
