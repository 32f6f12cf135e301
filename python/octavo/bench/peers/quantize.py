# SPDX-License-Identifier: Apache-2.0
"""Our conversions between float32 and int8 against the peers' and the copy speed."""

from __future__ import annotations

from functools import partial
from typing import Any

from octavo.bench import machine, roofline
from octavo.bench import quantize as ours
from octavo.bench.blas import limited
from octavo.bench.cases import time_case
from octavo.bench.peers import conversions
from octavo.bench.peers.worker import Request, Tell
from octavo.bench.report import Row


def check_codes(expected: Any, name: str, result: Any) -> None:
    """Check any engine's result; quantized torch tensors are opened first."""
    if hasattr(result, "int_repr") and getattr(result, "is_quantized", False):
        result = result.int_repr()
    if hasattr(result, "numpy"):
        result = result.numpy()
    ours.check_against(expected, name, result, 1e-6 if name.startswith("octavo") else 1 / 126)


def _measure_shape(
    shape: tuple[int, ...], request: Request
) -> tuple[list[list[Row]], dict[str, str]]:
    """Time every job of one array; return the rows of each and the peers that are absent."""
    rows, columns = shape
    jobs = {job.name: job for job in ours.jobs(rows, columns)}
    x = ours.make_array(rows, columns)
    codes = {
        "tensor": (jobs["quantize tensor"].numpy(), ours.tensor_scale(x)),
        "axis 0": (jobs["quantize axis 0"].numpy(), ours.row_scale(x)),
    }
    peers, absent = conversions.find(x, codes, request.threads)
    peers = {name: calls for name, calls in peers.items() if request.wants(name)}
    made = []
    for job in jobs.values():
        rivals = {name: calls[job.name] for name, calls in peers.items() if job.name in calls}
        calls = {"octavo": job.ours, "octavo out": job.into, "numpy": job.numpy, **rivals}
        kinds = {"octavo": "ours", "octavo out": "ours", "numpy": "float"}
        large = x.nbytes > machine.l2_bytes()
        made.append(
            time_case(
                ("quantize", f"{rows}x{columns} {job.name}", request.threads),
                calls,
                (x.size, job.nbytes),
                "numpy",
                probes={"copy": partial(roofline.copy_speed, job.nbytes // 2)},
                extra={
                    name: {
                        "kind": kinds.get(name, "int8"),
                        "large": large,
                        "faults": machine.page_faults(call),
                    }
                    for name, call in calls.items()
                },
                rounds=3 if request.quick else 9,
                seconds=0.05 if request.quick else 0.6,
                check=partial(check_codes, job.numpy()),
            )
        )
    return made, absent


def measure(request: Request, tell: Tell) -> dict[str, Any]:
    """Measure all arrays of `request` in this process; see the module ``linear``."""
    absent: dict[str, str] = {}
    with limited(request.threads):
        for shape in request.shapes:
            jobs, absent = _measure_shape(shape, request)
            for rows in jobs:
                tell(rows)
    return {"absent": absent, "failed": []}
