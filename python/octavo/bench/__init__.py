# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that hold every figure against the machine's own limit.

``octavo bench linear``, ``octavo bench quantize`` and ``octavo bench model`` run from here, with
``--peers`` against the other libraries that are installed (:mod:`octavo.bench.peers`). The
repository's ``bench/`` folder holds the same measurements against the project's own targets.

Examples
--------
>>> from octavo.bench import roofline
>>> round(roofline.limit_seconds(2e9, 1e6, dot_gops=100.0, read_gbs=10.0), 6)
0.02
"""

from __future__ import annotations
