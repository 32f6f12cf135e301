# SPDX-License-Identifier: Apache-2.0
"""``octavo bench --device``: what a phone, a board or a computer does, for each kind of its CPUs.

The parent (`run`) finds the kinds of CPUs (`clusters`) and starts a child process (`worker`) for
each, which is held to these CPUs before it loads anything. `document` is the file they make
together, which a C++ program writes too; ``docs/device.md`` describes it.

Examples
--------
>>> from octavo.bench.device.files import parse_cpus
>>> parse_cpus("0-3,6")
(0, 1, 2, 3, 6)
"""

from __future__ import annotations
